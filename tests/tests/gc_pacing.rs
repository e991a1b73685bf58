//! The heap keeps to its goal, and the process to its memory limit, however fast the program allocates.
//!
//! Each test runs a program in a process of its own, in which as much lives all the time, and reads of every collection how large the heap was when it was over, and how large
//! it should have been (`GODEBUG=gctrace=1`). The promise: at most a tenth above the goal; and at most 3 % more resident memory than the limit, files not counted.

#![cfg(not(feature = "system-allocator"))]

use goruntime::gc::{Array, Gc, GcPtr, Trace};
use goruntime_tests::{child, is_child};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::Duration;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// What a program does.
#[derive(Clone, Copy)]
struct Program {
    /// Threads that allocate at the same time.
    mutators: usize,
    /// Objects that live, of all of them together.
    live: usize,
    /// Objects that take the place of those, as many times over.
    turns: usize,
    /// In so many bursts for each turn, all mutators at once, with a rest after each. None: without a rest.
    bursts: Option<usize>,
    object: Object,
}

/// What is allocated.
#[derive(Clone, Copy)]
enum Object {
    /// A node and a leaf that it leads to.
    Node,
    /// A buffer of so many bytes that nothing leads from.
    Buffer(usize),
    /// An object that owns as many bytes of the Rust heap.
    Owner(usize),
}

#[derive(Trace)]
struct Node {
    leaf: GcPtr<Leaf>,
    words: [usize; 4],
}

#[derive(Trace)]
struct Leaf {
    number: usize,
}

#[derive(Trace)]
struct Owner {
    owned: Vec<u8>,
}

/// A place of an object that lives.
#[derive(Trace)]
struct Place {
    node: GcPtr<Node>,
    buffer: GcPtr<Array<u8>>,
    owner: GcPtr<Owner>,
}

impl Object {
    fn put(self, place: &Place, number: usize) {
        match self {
            Object::Node => {
                let leaf = GcPtr::new(Some(Gc::new(Leaf { number })));
                let words = [number; 4];
                place.node.store(Some(Gc::new(Node { leaf, words })));
            }
            Object::Buffer(len) => {
                let buffer = Gc::from_vec(vec![number as u8; len]);
                place.buffer.store(Some(buffer));
            }
            Object::Owner(len) => {
                let owned = vec![number as u8; len];
                place.owner.store(Some(Gc::new(Owner { owned })));
            }
        }
    }

    fn check(self, place: &Place, number: usize) {
        let found = match self {
            Object::Node => {
                let node = place.node.load().expect("a node");
                let leaf = node.leaf.load().expect("a leaf");
                assert_eq!(node.words, [number; 4]);
                leaf.number
            }
            Object::Buffer(_) => place.buffer.load().expect("a buffer")[0].into(),
            Object::Owner(_) => place.owner.load().expect("an owner").owned[0].into(),
        };
        assert_eq!(found as u8, number as u8);
    }
}

impl Program {
    fn run(self) {
        let together = Barrier::new(self.mutators);
        std::thread::scope(|scope| {
            for _ in 0..self.mutators {
                scope.spawn(|| self.mutate(&together));
            }
        });
    }

    fn mutate(self, together: &Barrier) {
        let places = Gc::array(self.live / self.mutators, |_| Place {
            node: GcPtr::new(None),
            buffer: GcPtr::new(None),
            owner: GcPtr::new(None),
        });
        let len = places.len();
        (0..len).for_each(|n| self.object.put(&places[n], n));
        let burst = self.bursts.map_or(usize::MAX, |bursts| len / bursts);
        let (mut random, mut left) = (0x2545_f491_4f6c_dd1d_u64, burst);
        for _ in 0..self.turns * len {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let n = random as usize % len;
            self.object.put(&places[n], n);
            left -= 1;
            if left == 0 {
                left = burst;
                std::thread::sleep(Duration::from_millis(20));
                together.wait();
            }
        }
        (0..len).for_each(|n| self.object.check(&places[n], n));
    }
}

/// A collection as its line tells, in MiB.
#[derive(Debug)]
struct Cycle {
    at_end: f64,
    goal: f64,
}

/// The cycles that a program's trace tells of.
fn cycles(trace: &str) -> Vec<Cycle> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let lines = trace.lines().filter(|line| line.starts_with("gc "));
    lines
        .map(|line| {
            let mut parts = line.split(", ");
            let heap = parts.nth(2)?.strip_suffix(" MB")?;
            let goal = parts.next()?.strip_suffix(" MB goal")?;
            Some(Cycle {
                at_end: number(heap.split("->").nth(1)?)?,
                goal: number(goal)?,
            })
        })
        .map(|cycle| cycle.expect("a line of the trace has the heap and the goal"))
        .collect()
}

/// Runs the test `name` as a child, and holds it to the promise about the goal.
fn keeps_to_the_goal(name: &str) {
    let out = child(name, &[("GODEBUG", "gctrace=1"), ("GOGC", "100")]);
    let trace = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{:?}: {trace}", out.status);
    let cycles = cycles(&trace);
    // The first ones, while what lives is being made, have a goal of a few MiB.
    let large: Vec<&Cycle> = cycles.iter().filter(|cycle| cycle.goal >= 32.0).collect();
    assert!(large.len() >= 3, "hardly anything was collected: {trace}");
    let over = |cycle: &&Cycle| cycle.at_end > cycle.goal * 1.1 + 1.0;
    let worst = large.iter().map(|c| c.at_end / c.goal).fold(0.0, f64::max);
    println!("{name}: {} cycles, worst {worst:.3}", large.len());
    let broken: Vec<_> = large.into_iter().filter(over).collect();
    assert!(broken.is_empty(), "over the goal: {broken:?}\n{trace}");
}

/// The most resident memory that this process had, without files, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the process's own status");
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let number = number.and_then(|number| number.parse().ok());
        number.expect("a number of kB")
    };
    kib("VmHWM:") - kib("RssFile:")
}

/// MiB.
const LIMIT: u64 = 256;

/// The same for the promise about the memory limit.
fn keeps_to_the_limit(name: &str) {
    let limit = format!("{LIMIT}MiB");
    let envs = [
        ("GODEBUG", "gctrace=1"),
        ("GOGC", "off"),
        ("GOMEMLIMIT", &limit),
    ];
    let out = child(name, &envs);
    let trace = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{:?}: {trace}", out.status);
    assert!(cycles(&trace).len() >= 3, "hardly any collection: {trace}");
    let said = String::from_utf8_lossy(&out.stdout);
    let peak = said.lines().find_map(|line| line.split("peak ").nth(1));
    let peak: u64 = peak.and_then(|kib| kib.parse().ok()).expect("a peak");
    let part = peak as f64 / (LIMIT << 10) as f64;
    println!(
        "{name}: {} cycles, worst {part:.3} of the limit",
        cycles(&trace).len()
    );
    assert!(part <= 1.03, "{peak} KiB, more than {limit}: {trace}");
}

/// About 64 MiB that live.
const NODES: Program = Program {
    mutators: 1,
    live: 600_000,
    turns: 5,
    bursts: None,
    object: Object::Node,
};

const BUFFERS: Program = Program {
    live: 2048,
    turns: 20,
    object: Object::Buffer(32 << 10),
    ..NODES
};

const OWNERS: Program = Program {
    object: Object::Owner(32 << 10),
    ..BUFFERS
};

/// About 150 MiB that live.
const LARGE: Program = Program {
    live: 1_500_000,
    turns: 5,
    ..NODES
};

impl Program {
    /// On eight threads, in bursts.
    const fn bursty(self) -> Program {
        Program {
            mutators: 8,
            bursts: Some(4),
            ..self
        }
    }

    const fn on(self, mutators: usize) -> Program {
        Program { mutators, ..self }
    }

    /// So many times as long.
    const fn for_long(self) -> Program {
        Program {
            turns: self.turns * 10,
            ..self
        }
    }
}

/// Programs run one at a time: each is about who gets the processors, its mutators or its collector.
static ALONE: Mutex<()> = Mutex::new(());

/// A test that runs the program in a child process and has it checked.
macro_rules! programs {
    ($check:ident: $($(#[$attribute:meta])* $name:ident: $program:expr;)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $name() {
                if is_child() {
                    $program.run();
                    return println!("peak {}", peak());
                }
                let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
                $check(stringify!($name));
            }
        )*
    };
}

programs! {
    keeps_to_the_goal:
    one_thread_keeps_to_the_goal: NODES;
    eight_threads_keep_to_the_goal: NODES.on(8);
    bursts_keep_to_the_goal: NODES.bursty();
    bursts_of_buffers_keep_to_the_goal: BUFFERS.bursty();
    owners_of_blocks_keep_to_the_goal: OWNERS.bursty();
    #[ignore = "takes a while"]
    one_thread_keeps_to_the_goal_for_long: NODES.for_long();
    #[ignore = "takes a while"]
    eight_threads_keep_to_the_goal_for_long: NODES.on(8).for_long();
    #[ignore = "takes a while"]
    bursts_of_one_keep_to_the_goal_for_long: NODES.bursty().on(1).for_long();
    #[ignore = "takes a while"]
    bursts_keep_to_the_goal_for_long: NODES.bursty().for_long();
    #[ignore = "takes a while"]
    large_buffers_keep_to_the_goal_for_long: Program { live: 64, object: Object::Buffer(1 << 20), ..BUFFERS }.for_long();
    #[ignore = "takes a while"]
    owners_of_blocks_keep_to_the_goal_for_long: OWNERS.for_long();
}

programs! {
    keeps_to_the_limit:
    one_thread_keeps_to_the_limit: LARGE;
    bursts_keep_to_the_limit: LARGE.bursty();
    eight_owners_of_blocks_keep_to_the_limit: Program { live: 4800, ..OWNERS }.on(8);
    #[ignore = "takes a while"]
    eight_threads_keep_to_the_limit_for_long: LARGE.on(8).for_long();
    #[ignore = "takes a while"]
    bursts_keep_to_the_limit_for_long: LARGE.bursty().for_long();
    #[ignore = "takes a while"]
    an_owner_of_blocks_keeps_to_the_limit_for_long: Program { live: 4800, ..OWNERS }.for_long();
    #[ignore = "takes a while"]
    eight_owners_of_blocks_keep_to_the_limit_for_long: Program { live: 4800, ..OWNERS }.on(8).for_long();
}
