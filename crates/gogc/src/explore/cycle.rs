//! A whole cycle beside a mutator: the barrier going on and off, marking, the stops, the second look at roots; and a store that a stop interrupts.
//!
//! The collector is the real one, on the simulated heap. The world is a small one of the explorer's primitives: a mutex that the mutator holds where it must
//! not be stopped, and root words that remember whether they have changed.
//!
//! A mutator is a list of steps. They are explored in two ways: on a thread of their own, which reaches every interleaving of a few switches; and between the
//! collector's own steps, chosen at each of those, which reaches all interleavings of the two lists, however many switches they take.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::Arc;

use goexplore::{Exploration, Plant, planted, thread};

use crate::assist::{Account, LEAST};
use crate::atomic::{AtomicU64, Mutex, Ordering};
use crate::barrier::{BarrierBuffer, Recorded};
use crate::collector::Collector;
use crate::env::{
    Background, Event, Hooks, ObjectAddr, Processor, RootKind, RootSink, Roots, Stop, World,
};
use crate::mark_sweep::{MarkSweep, Method};
use crate::pacer::Config;
use crate::stats::Reason;
use crate::testing::{Shape, SimHeap};
use crate::units::{Bytes, Nanos};

/// Root words: statics or words of the Rust heap, which are looked at beside the mutator, and one register, which is looked at in the stops.
const WORDS: usize = 3;
pub(super) const LAST: usize = WORDS - 1;
const REGISTER: usize = WORDS;

#[derive(Clone, Copy, Default)]
struct Word {
    value: usize,
    changed: bool,
}

/// One step, in which the mutator is not stopped.
pub(super) type Step = Box<dyn FnMut() + Send>;

pub(super) struct Memory {
    roots: Mutex<[Word; WORDS + 1]>,
    /// Steps of a mutator that has no thread of its own.
    steps: Mutex<VecDeque<Step>>,
}

/// The world; one that presents all its roots in the beginning, and none later, if `SNAPSHOT`.
pub(super) struct Model<const SNAPSHOT: bool> {
    /// Held by the mutator where it must not be stopped.
    running: Mutex<()>,
    memory: Arc<Memory>,
    clock: AtomicU64,
}

/// Between two steps of the collector: those of the mutator that are due by choice.
fn mutate(memory: &Memory) {
    loop {
        let mut steps = memory.steps.lock().unwrap();
        if steps.is_empty() || goexplore::choose(2) == 0 {
            return;
        }
        let step = steps.pop_front();
        drop(steps);
        if let Some(mut step) = step {
            step();
        }
    }
}

pub(super) enum Words {
    /// As they were in a stop: those to be presented, and all.
    Copied(Vec<usize>, Vec<usize>),
    /// Each as it is when it is looked at.
    Live(Arc<Memory>),
}

// SAFETY: every word that is to be presented is a job of its own.
unsafe impl Roots for Words {
    fn jobs(&self) -> usize {
        match self {
            Words::Copied(presented, _) => presented.len(),
            Words::Live(_) => WORDS,
        }
    }

    fn scan(&self, job: usize, sink: &mut impl RootSink) {
        let word = match self {
            Words::Copied(presented, _) => presented[job],
            Words::Live(memory) => {
                mutate(memory);
                let word = &mut memory.roots.lock().unwrap()[job];
                word.changed = false;
                word.value
            }
        };
        sink.word(RootKind::Stack, word);
    }

    fn scan_all(&self, sink: &mut impl RootSink) {
        if let Words::Copied(_, all) = self {
            all.iter()
                .for_each(|word| sink.word(RootKind::Stack, *word));
        }
    }
}

impl<const SNAPSHOT: bool> Model<SNAPSHOT> {
    /// All root words.
    fn words(&self) -> [Word; WORDS + 1] {
        *self.memory.roots.lock().unwrap()
    }

    fn snapshot(&self, which: impl Fn(usize, &Word) -> bool) -> Words {
        let words = self.words();
        let presented = words.iter().enumerate().filter(|(i, word)| which(*i, word));
        Words::Copied(
            presented.map(|(_, word)| word.value).collect(),
            words.iter().map(|word| word.value).collect(),
        )
    }

    pub(super) fn get(&self, index: usize) -> usize {
        self.words()[index].value
    }

    pub(super) fn set(&self, index: usize, value: usize) {
        self.memory.roots.lock().unwrap()[index] = Word {
            value,
            changed: true,
        };
    }
}

impl<const SNAPSHOT: bool> Hooks for Model<SNAPSHOT> {
    fn event(&self, _: &Event) {}
}

// SAFETY: the mutator holds the mutex where it must not be stopped (1, 2, 8); memory comes from the allocator (3); the body runs here (4, 7); words say whether they have
// changed since they were presented (5), and what is presented is a copy (6). But for what is planted.
unsafe impl<const SNAPSHOT: bool> World for Model<SNAPSHOT> {
    type Roots = Words;
    type Error = ();
    const SNAPSHOT: bool = SNAPSHOT;

    fn with_stopped<R>(&self, stop: Stop, f: impl FnOnce(&Words) -> R) -> Result<R, ()> {
        mutate(&self.memory);
        let _stopped = self.running.lock().unwrap();
        let roots = match stop {
            Stop::Begin if SNAPSHOT && planted("a root is left out in the beginning") => {
                self.snapshot(|i, _| i != LAST)
            }
            Stop::Whole | Stop::Begin if SNAPSHOT => self.snapshot(|_, _| true),
            Stop::End if SNAPSHOT => self.snapshot(|_, _| false),
            Stop::Whole => self.snapshot(|_, _| true),
            Stop::Begin => {
                let mut roots = self.memory.roots.lock().unwrap();
                roots.iter_mut().for_each(|word| word.changed = true);
                drop(roots);
                self.snapshot(|i, _| i == REGISTER)
            }
            Stop::End if planted("what has changed is not looked at again") => {
                self.snapshot(|i, _| i == REGISTER)
            }
            Stop::End => self.snapshot(|i, word| i == REGISTER || word.changed),
        };
        Ok(f(&roots))
    }

    fn with_running<R>(&self, _: u32, f: impl FnOnce(&Words, Bytes) -> R) -> R {
        mutate(&self.memory);
        let roots = match SNAPSHOT {
            true => Words::Copied(Vec::new(), Vec::new()),
            false => Words::Live(self.memory.clone()),
        };
        f(&roots, Bytes(0))
    }

    fn mark_in_background(&self, step: &(impl Fn(Bytes, Processor) -> Background + Sync)) {
        while step(Bytes(8), Processor::Dedicated) != Background::Over {
            mutate(&self.memory);
        }
    }

    fn run_workers(&self, body: &(impl Fn() + Sync)) {
        body();
    }

    fn procs(&self) -> usize {
        1
    }

    fn now(&self) -> Nanos {
        Nanos(self.clock.fetch_add(1000, Ordering::Relaxed))
    }

    fn acquire(&self, bytes: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, 64).unwrap();
        // SAFETY: not of size 0.
        NonNull::new(unsafe { alloc(layout) })
    }

    unsafe fn release(&self, memory: NonNull<u8>, bytes: usize) {
        // SAFETY: from `acquire`.
        unsafe { dealloc(memory.as_ptr(), Layout::from_size_align(bytes, 64).unwrap()) }
    }
}

pub(super) type Sim<const SNAPSHOT: bool> = MarkSweep<SimHeap, Model<SNAPSHOT>>;

/// A collector whose heap is `root -> first -> second -> third`, the root being the last word.
pub(super) fn sim<const SNAPSHOT: bool>() -> (Arc<Sim<SNAPSHOT>>, [usize; 3]) {
    let heap = SimHeap::new(8);
    let objects = [(); 3].map(|()| heap.allocate(Shape::pointers(1)).unwrap());
    heap.store(objects[0], 0, objects[1]);
    heap.store(objects[1], 0, objects[2]);
    let world = Model {
        running: Mutex::new(()),
        memory: Arc::new(Memory {
            roots: Mutex::new([Word::default(); WORDS + 1]),
            steps: Mutex::default(),
        }),
        clock: AtomicU64::new(0),
    };
    world.set(LAST, objects[0]);
    let sim = MarkSweep::new(heap, world, Config::default(), Method::Concurrent).unwrap();
    sim.check_marks(true);
    (Arc::new(sim), objects)
}

/// A store by a mutator that is not stopped in the middle of it.
pub(super) fn store<const SNAPSHOT: bool>(sim: &Sim<SNAPSHOT>, object: usize, value: usize) {
    let mut buffer = BarrierBuffer::new();
    let (mut old, mut new) = (sim.heap().load(object, 0), value);
    if planted("neither value is shaded") {
        (old, new) = (0, 0);
    }
    let recorded = sim
        .barrier()
        .write(ObjectAddr(object), old, new, || &mut buffer);
    assert_eq!(recorded, Recorded::HasRoom);
    sim.flush_barrier(&mut buffer);
    sim.heap().store(object, 0, value);
}

/// How a mutator's steps come between the collector's.
#[derive(Clone, Copy)]
pub(super) enum How {
    OnThread,
    Between,
}

/// Collects beside a mutator with these steps. The check of the marks looks for what is lost, in the stop.
pub(super) fn collect<const SNAPSHOT: bool>(sim: &Arc<Sim<SNAPSHOT>>, how: How, steps: Vec<Step>) {
    match how {
        How::OnThread => {
            let theirs = sim.clone();
            let mutator = thread::spawn(move || {
                for mut step in steps {
                    let _running = theirs.world().running.lock().unwrap();
                    step();
                }
            });
            sim.collect(Reason::Forced).unwrap();
            mutator.join().unwrap();
        }
        How::Between => {
            *sim.world().memory.steps.lock().unwrap() = steps.into();
            sim.collect(Reason::Forced).unwrap();
            while let Some(mut step) = sim.world().memory.steps.lock().unwrap().pop_front() {
                step();
            }
        }
    }
    assert_whole(sim);
}

fn assert_whole<const SNAPSHOT: bool>(sim: &Sim<SNAPSHOT>) {
    let roots = sim.world().words().map(|word| word.value);
    let reachable = sim.heap().reachable(roots.iter().copied());
    assert!(
        reachable.is_subset(&sim.heap().objects()),
        "freed too early"
    );
    let named = roots.iter().filter(|word| **word != 0).count();
    assert!(reachable.len() >= named, "a root leads to nothing");
}

/// The mutator takes the end of the list to its stack, hides it in an object born meanwhile, and that in the first of the list. Invariant: what is reachable when
/// marking is over is marked, and is there when all is swept.
fn cycle<const SNAPSHOT: bool>(how: How) {
    let (sim, [first, second, third]) = sim::<SNAPSHOT>();
    let with = |f: fn(&Sim<SNAPSHOT>, [usize; 3])| -> Step {
        let sim = Arc::downgrade(&sim);
        Box::new(move || f(&sim.upgrade().unwrap(), [first, second, third]))
    };
    let steps = vec![
        with(|sim, [_, second, _]| {
            sim.world().set(1, sim.heap().load(second, 0));
            store(sim, second, 0);
        }),
        with(|sim, _| {
            let fresh = sim.heap().allocate(Shape::pointers(1)).unwrap();
            store(sim, fresh, sim.world().get(1));
            sim.world().set(1, 0);
            sim.world().set(0, fresh);
        }),
        with(|sim, [first, ..]| {
            store(sim, first, sim.world().get(0));
            sim.world().set(0, 0);
        }),
        // From one place without a barrier to another, away from where the collector looks.
        with(|sim, _| {
            sim.world().set(0, sim.world().get(LAST));
            sim.world().set(LAST, 0);
        }),
    ];
    collect(&sim, how, steps);
    assert_eq!(sim.world().get(0), first);
    let last = sim.heap().load(sim.heap().load(first, 0), 0);
    assert_eq!(last, third);
    assert!(!sim.barrier().is_on());
}

#[test]
fn explore_a_cycle() {
    explore(
        "gogc: a cycle beside a mutator",
        cycle::<false>,
        &[
            "what has changed is not looked at again",
            "neither value is shaded",
            "the barrier goes off while objects are marked",
            "the last stop leaves what is grey",
        ],
    );
}

#[test]
fn explore_a_snapshot() {
    explore(
        "gogc: a cycle that looks at roots once",
        cycle::<true>,
        &[
            "a root is left out in the beginning",
            "neither value is shaded",
            "the barrier goes off while objects are marked",
        ],
    );
}

pub(super) fn explore(name: &str, model: fn(How), plants: &[&'static str]) {
    let threads = Exploration::exhaustive().preemptions(2).stale_reads(0);
    threads
        .executions(10_000)
        .check(name, move || model(How::OnThread));
    let between = Exploration::exhaustive().stale_reads(0).executions(100_000);
    between.check(name, move || model(How::Between));
    let plants = plants.iter().map(|plant| Plant::named(plant)).collect();
    between.catches(name, plants, move || model(How::Between));
}

/// A store of a mutator that may be stopped anywhere in it, as by a signal: it takes the third object from a place without a barrier to a register, and puts it into the
/// first.
fn interrupted_store(how: How) {
    let (sim, [first, second, third]) = sim::<false>();
    sim.heap().store(second, 0, 0);
    sim.world().set(1, third);
    let on = Arc::new(Mutex::new(false));
    let with = |f: fn(&Sim<false>, &mut bool, [usize; 3])| -> Step {
        let (sim, on) = (Arc::downgrade(&sim), on.clone());
        Box::new(move || {
            f(
                &sim.upgrade().unwrap(),
                &mut on.lock().unwrap(),
                [first, second, third],
            )
        })
    };
    let look = || with(|sim, on, _| *on = sim.barrier().is_on());
    let forget = || with(|sim, _, _| sim.world().set(REGISTER, 0));
    let mut steps = vec![
        with(|sim, _, _| {
            sim.world().set(REGISTER, sim.world().get(1));
            sim.world().set(1, 0);
        }),
        with(|sim, _, [first, _, third]| sim.heap().store(first, 0, third)),
    ];
    if planted("the value is forgotten before it is reported") {
        steps.push(forget());
    }
    if planted("the flag is looked at before the store") {
        steps.insert(0, look());
    } else {
        steps.push(look());
    }
    steps.push(with(|sim, on, [_, _, third]| {
        let mut buffer = BarrierBuffer::new();
        if *on {
            let _ = buffer.record(0, third);
        }
        sim.flush_barrier(&mut buffer);
    }));
    steps.push(forget());
    collect(&sim, how, steps);
    assert!(sim.heap().objects().contains(&third));
}

#[test]
fn explore_an_interrupted_store() {
    explore(
        "gogc: an interrupted store",
        interrupted_store,
        &[
            "the flag is looked at before the store",
            "the value is forgotten before it is reported",
        ],
    );
}

/// Two mutators that allocate and pay, beside a worker that earns. Invariant: nothing is lost or made in the account, and who owes enough is told to work.
fn account() {
    let account = Arc::new(Account::default());
    account.open(1.0);
    let others = [(); 2].map(|()| {
        let account = account.clone();
        thread::spawn(move || {
            let mut done = 0;
            if let Some(work) = account.charge(Bytes(LEAST as u64)) {
                account.earn(work);
                done += work.0 as i64;
            }
            done
        })
    });
    account.earn(Bytes(100));
    let done: i64 = others.into_iter().map(|other| other.join().unwrap()).sum();
    assert_eq!(
        account.balance(),
        100 + done - 2 * LEAST,
        "work was lost or made"
    );
    assert!(done >= LEAST - 100, "nobody was told to work");
}

#[test]
fn explore_the_account() {
    let exploration = Exploration::exhaustive().preemptions(3);
    exploration.check("gogc: the account of assists", account);
    let plant = Plant::named("the account is read and then written");
    exploration.catches("gogc: the account of assists", vec![plant], account);
}
