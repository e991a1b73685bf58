//! Mutators that move the only reference to an object from place to place while collections run back to back, with the memory of dead objects
//! overwritten, and with the marks of every collection compared with a second marking that the world stands still for.
//!
//! Each mutator owns one list at a time. What it does again and again is to take it from where it is and put it somewhere else, look whether every node is
//! what it was, and sometimes make a new one. A node that was freed too early reads as something else. So does one that a weak pointer leads to after its death;
//! and a cleanup that runs before finds that a weak pointer still leads there.
//!
//! Blocks are cleared when they are allocated: the second marking takes all words of a live block for pointers, also those that its owner has never written, and
//! of a block that became live after the first had looked these may lead to what is dead.

#![cfg(not(feature = "system-allocator"))]

use goruntime::gc::{self, Array, Gc, GcCell, GcPtr, Trace, Weak};
use goruntime::{chan, go, metrics, yield_now};
use goruntime_tests::{child, is_child};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: goruntime::ClearedMalloc = goruntime::ClearedMalloc::new();

#[derive(Trace)]
struct Node {
    number: usize,
    next: GcPtr<Node>,
    check: usize,
}

type List = Option<Gc<Node>>;

/// Length of a list.
const LENGTH: usize = 12;

#[inline(never)]
fn list(number: usize) -> List {
    let mut head = None;
    for _ in 0..LENGTH {
        let next = GcPtr::new(head);
        head = Some(Gc::new(Node {
            number,
            next,
            check: !number,
        }));
    }
    head
}

#[inline(never)]
fn check(mut list: List, number: usize) {
    for _ in 0..LENGTH {
        let node = list.expect("the list is whole");
        assert_eq!(
            (node.number, node.check),
            (number, !number),
            "freed too early"
        );
        list = node.next.load();
    }
    assert!(list.is_none());
}

/// Collected objects that hold the only reference.
#[derive(Trace)]
struct Holder {
    pointer: GcPtr<Node>,
    array: Gc<Array<GcPtr<Node>>>,
}

/// Lists of all mutators, each at the place of its number.
static PLACES: Mutex<Vec<List>> = Mutex::new(Vec::new());

/// Lists found dead.
static CLEANED: AtomicUsize = AtomicUsize::new(0);

fn clean((weak, number): (Weak<Node>, usize)) {
    assert!(weak.upgrade().is_none(), "cleaned up too early: {number}");
    CLEANED.fetch_add(1, Relaxed);
}

thread_local! {
    static LOCAL: Cell<List> = const { Cell::new(None) };
}

/// A collected cell that only one mutator uses.
#[derive(Trace)]
struct Private {
    cell: GcCell<List>,
    wide: GcCell<(usize, List, List)>,
}

struct Mutator {
    number: usize,
    random: u64,
    holder: Gc<Holder>,
    private: Gc<Private>,
    boxed: Box<[List]>,
    /// A channel whose two ends are this mutator's.
    channel: (chan::Sender<List>, chan::Receiver<List>),
}

impl Mutator {
    fn new(number: usize) -> Mutator {
        let array = Gc::array(300, |_| GcPtr::null());
        let pointer = GcPtr::null();
        Mutator {
            number,
            random: 0x9E37_79B9 ^ (number as u64) << 7,
            holder: Gc::new(Holder { pointer, array }),
            private: Gc::new(Private {
                cell: GcCell::new(None),
                wide: GcCell::new((0, None, None)),
            }),
            boxed: vec![None; 5].into_boxed_slice(),
            channel: chan::bounded(1),
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 33) as usize % below
    }

    /// Puts the list somewhere, does something else, and takes it out again.
    #[inline(never)]
    fn keep_elsewhere(&mut self, list: List) -> List {
        let place = self.random(14);
        let n = self.number;
        let i = self.random(300);
        match place {
            0 => {
                self.boxed[i % 5] = list;
                self.pass_time();
                self.boxed[i % 5].take()
            }
            1 => {
                self.channel.0.send(list).unwrap();
                self.pass_time();
                self.channel.1.recv().unwrap()
            }
            2 => {
                self.private.cell.set(list);
                self.pass_time();
                self.private.cell.take()
            }
            3 => {
                self.private.wide.set((7, None, list));
                self.pass_time();
                self.private.wide.replace((0, None, None)).2
            }
            4 => {
                self.holder.pointer.store(list);
                self.pass_time();
                self.holder.pointer.swap(None)
            }
            5 => {
                self.holder.array[i].store(list);
                self.pass_time();
                self.holder.array[i].swap(None)
            }
            6 => {
                PLACES.lock().unwrap()[n] = list;
                self.pass_time();
                PLACES.lock().unwrap()[n].take()
            }
            7 => {
                LOCAL.set(list);
                self.pass_time();
                LOCAL.take()
            }
            8 => {
                // Through the heap to the stack of another goroutine and back.
                let other = go(move || {
                    yield_now();
                    check(list, n);
                    list
                });
                self.pass_time();
                other.join().unwrap()
            }
            9 => {
                // Two ways to it, one of which counts.
                let weak = list.map(Gc::downgrade);
                self.holder.pointer.store(list);
                self.pass_time();
                let found = weak.and_then(Weak::upgrade);
                assert_eq!(weak, self.holder.pointer.swap(None).map(Gc::downgrade));
                found
            }
            10 => {
                // No way to it that counts: it may be lost.
                let weak = list.map(|head| {
                    let weak = head.downgrade();
                    gc::add_cleanup(head, clean, (weak, n));
                    weak
                });
                self.lose_or_find(weak.unwrap_or_default())
            }
            11 | 12 => {
                // A fresh block of the Rust heap, in pages that were another's a moment ago, and may have been objects'.
                let mut fresh = Vec::with_capacity(1 << self.random(16));
                fresh.push(list);
                self.pass_time();
                fresh[0].take()
            }
            _ => {
                // A fresh object takes it over, which moves it on: from object to object.
                let inner = Gc::new(GcPtr::new(list));
                self.pass_time();
                let outer = Gc::new(GcPtr::new(inner.swap(None)));
                self.pass_time();
                outer.load()
            }
        }
    }

    #[inline(never)]
    fn lose_or_find(&mut self, weak: Weak<Node>) -> List {
        self.pass_time();
        weak.upgrade().or_else(|| list(self.number))
    }

    fn pass_time(&mut self) {
        match self.random(40) {
            0..20 => {}
            20..30 => yield_now(),
            // Garbage, small and large.
            30..39 => drop(std::hint::black_box(list(usize::MAX))),
            _ => {
                std::hint::black_box(Gc::array(5000, |_| 1usize));
            }
        }
    }

    fn run(mut self, until: &AtomicBool) -> usize {
        let number = self.number;
        let mut list_now = list(number);
        let mut moves = 0;
        while !until.load(Relaxed) {
            list_now = self.keep_elsewhere(list_now);
            check(list_now, number);
            if self.random(20) == 0 {
                list_now = list(number);
            }
            moves += 1;
        }
        moves
    }
}

fn torture(goroutines: usize, threads: usize, time: Duration) {
    *PLACES.lock().unwrap() = vec![None; goroutines + threads];
    let until = Arc::new(AtomicBool::new(false));
    let moves = Arc::new(AtomicUsize::new(0));
    let mutator = |number| {
        let (until, moves) = (until.clone(), moves.clone());
        move || {
            moves.fetch_add(Mutator::new(number).run(&until), Relaxed);
        }
    };
    let on_goroutines: Vec<_> = (0..goroutines).map(|n| go(mutator(n))).collect();
    let on_threads: Vec<_> = (goroutines..goroutines + threads)
        .map(|n| std::thread::spawn(mutator(n)))
        .collect();
    let begin = Instant::now();
    let mut forced = 0;
    while begin.elapsed() < time {
        gc::collect();
        forced += 1;
    }
    until.store(true, Relaxed);
    on_goroutines.into_iter().for_each(|g| g.join().unwrap());
    on_threads.into_iter().for_each(|t| t.join().unwrap());
    let (moves, m) = (moves.load(Relaxed), metrics::snapshot());
    println!(
        "{moves} moves, {} collections, {forced} forced, longest stop {} us, {} cleanups",
        m.gc_cycles,
        m.gc_pause_max_ns / 1000,
        CLEANED.load(Relaxed)
    );
    assert!(forced > 5 && moves > goroutines);
}

/// Runs the test of this name in a process of its own under this `GODEBUG`.
fn under(name: &str, debug: &str) {
    let out = child(name, &[("GODEBUG", debug)]);
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(out.status.success(), "{debug}: {:?}: {text}", out.status);
    assert!(text.contains("moves,"), "it has not run: {text}");
    print!("{debug}: {text}");
}

const CONCURRENT: &str = "gccheckmark=1,clobberfree=1";
/// As where the system cannot tell which pages were written.
const UNTRACKED: &str = "gccheckmark=1,clobberfree=1,gctrackwrites=0";
const STOPPED: &str = "gccheckmark=1,clobberfree=1,gcstoptheworld=1";

#[test]
fn the_only_reference_moves_about() {
    const NAME: &str = "the_only_reference_moves_about";
    if is_child() {
        return torture(20, 4, Duration::from_secs(4));
    }
    for debug in [CONCURRENT, UNTRACKED, STOPPED] {
        under(NAME, debug);
    }
}

#[test]
#[ignore = "takes a minute"]
fn the_only_reference_moves_about_on_a_thousand_goroutines() {
    const NAME: &str = "the_only_reference_moves_about_on_a_thousand_goroutines";
    if is_child() {
        return torture(1000, 8, Duration::from_secs(25));
    }
    for debug in [CONCURRENT, UNTRACKED, STOPPED] {
        under(NAME, debug);
    }
}
