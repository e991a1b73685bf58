//! gogc on another heap than gomem's and in another world than goruntime's: a table of pairs, and one thread whose roots are a list.
//!
//! It is what a small interpreter needs. [`Pairs`] implements `HeapView` and [`OneThread`] implements `World`; the rest is gogc's: marking, the pacer that says when to collect, `gctrace`.

use gogc::{
    Background, Bytes, Collector, Config, Event, HeapUsage, HeapView, Hooks, MarkSweep, Method,
    Nanos, ObjectAddr, Processor, Reason, RootKind, RootSink, Roots, Stop, SweepStep, WordSink,
    World,
};
use std::alloc::Layout;
use std::convert::Infallible;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// An object: two words, either of which may be the address of another, or any number.
#[repr(C)]
struct Pair {
    words: [AtomicUsize; 2],
}

const SIZE: usize = size_of::<Pair>();

/// What the table knows of one pair.
#[derive(Default)]
struct State {
    used: AtomicBool,
    marked: AtomicBool,
}

/// The heap.
struct Pairs {
    pairs: Box<[Pair]>,
    states: Box<[State]>,
    used: AtomicUsize,
    /// Unmarked pairs are still to be made free. With the world stopped, or by the one thread.
    unswept: AtomicBool,
}

impl Pairs {
    fn new(capacity: usize) -> Pairs {
        let pair = || Pair {
            words: Default::default(),
        };
        Pairs {
            pairs: std::iter::repeat_with(pair).take(capacity).collect(),
            states: std::iter::repeat_with(State::default)
                .take(capacity)
                .collect(),
            used: AtomicUsize::new(0),
            unswept: AtomicBool::new(false),
        }
    }

    fn base(&self) -> usize {
        self.pairs.as_ptr().addr()
    }

    /// A new pair's address; `None` if all are in use.
    fn allocate(&self, words: [usize; 2]) -> Option<usize> {
        let free = |state: &State| !state.used.load(Relaxed);
        let index = self.states.iter().position(free)?;
        for (to, word) in self.pairs[index].words.iter().zip(words) {
            to.store(word, Relaxed);
        }
        self.states[index].used.store(true, Relaxed);
        self.used.fetch_add(1, Relaxed);
        Some(self.base() + index * SIZE)
    }

    /// A word of the pair at `address`.
    fn word(&self, address: usize, at: usize) -> usize {
        self.pairs[(address - self.base()) / SIZE].words[at].load(Relaxed)
    }
}

// SAFETY: (1) `resolve` looks an index up, and a pair in use is initialised; (2) the bounds are the table's; (3) the mark is a swap; (4), (5) both words are
// visited, whole; (6) nothing is allocated while marking, for the world stands still; (7) `sweep` frees what is unmarked once and nothing else;
// (8) there are no locks; (9) objects wait alone.
unsafe impl HeapView for Pairs {
    type Object = usize;

    fn bounds(&self) -> Range<usize> {
        self.base()..self.base() + self.pairs.len() * SIZE
    }

    fn resolve(&self, word: usize) -> Option<usize> {
        let index = word.checked_sub(self.base())? / SIZE;
        self.states.get(index)?.used.load(Relaxed).then_some(index)
    }

    fn try_mark(&self, index: usize) -> bool {
        !self.states[index].marked.swap(true, Relaxed)
    }

    fn is_marked(&self, index: usize) -> bool {
        self.states[index].marked.load(Relaxed)
    }

    fn start(&self, index: usize) -> ObjectAddr {
        ObjectAddr(self.base() + index * SIZE)
    }

    fn size(&self, _: usize) -> usize {
        SIZE
    }

    fn pointer_free(&self, _: usize) -> bool {
        false
    }

    fn scannable(&self, _: ObjectAddr) -> usize {
        SIZE
    }

    fn scan(&self, object: ObjectAddr, range: Range<usize>, sink: &mut impl WordSink) {
        let word = size_of::<usize>();
        for at in range.start / word..range.end / word {
            sink.word(self.word(object.0, at));
        }
    }

    fn for_each_marked(&self, visit: &mut impl FnMut(usize)) {
        (0..self.states.len())
            .filter(|&index| self.is_marked(index))
            .for_each(visit);
    }

    fn start_mark(&self) {
        self.states
            .iter()
            .for_each(|state| state.marked.store(false, Relaxed));
    }

    fn before_sweep(&self, _: &mut impl FnMut(usize)) {}

    fn start_sweep(&self, _: Bytes) {
        self.unswept.store(true, Relaxed);
    }

    fn sweep(&self, _: Bytes) -> SweepStep {
        let swept = if self.unswept.swap(false, Relaxed) {
            let dead = |state: &&State| state.used.load(Relaxed) && !state.marked.load(Relaxed);
            for state in self.states.iter().filter(dead) {
                state.used.store(false, Relaxed);
                self.used.fetch_sub(1, Relaxed);
            }
            self.pairs.len() * SIZE
        } else {
            0
        };
        SweepStep {
            swept: Bytes(swept as u64),
            done: true,
        }
    }

    fn usage(&self) -> HeapUsage {
        HeapUsage {
            collected: Bytes((self.used.load(Relaxed) * SIZE) as u64),
            ..HeapUsage::default()
        }
    }
}

/// The world: one mutator, which is stopped when it collects.
struct OneThread {
    roots: Mutex<Vec<usize>>,
    begin: Instant,
}

impl OneThread {
    fn roots(&self) -> MutexGuard<'_, Vec<usize>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy of the roots.
struct List(Vec<usize>);

// SAFETY: one job, which presents all of them and takes no lock.
unsafe impl Roots for List {
    fn jobs(&self) -> usize {
        1
    }

    fn scan(&self, _: usize, sink: &mut impl RootSink) {
        self.0
            .iter()
            .for_each(|word| sink.word(RootKind::Handle, *word));
    }
}

impl Hooks for OneThread {
    fn event(&self, event: &Event) {
        if let Event::CycleEnd(cycle) = event {
            println!("{}", gogc::GcTrace(cycle));
        }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 64).expect("a size")
}

// SAFETY: the caller is the only mutator (1), (2), (8), and all its roots are presented (5), (6); memory has the alignment (3); the body and the step are run by the caller (4), (7).
unsafe impl World for OneThread {
    type Roots = List;
    type Error = Infallible;

    fn with_stopped<R>(&self, _: Stop, f: impl FnOnce(&List) -> R) -> Result<R, Infallible> {
        let roots = List(self.roots().clone());
        Ok(f(&roots))
    }

    fn with_running<R>(&self, _: u32, f: impl FnOnce(&List, Bytes) -> R) -> R {
        f(&List(Vec::new()), Bytes(0))
    }

    fn mark_in_background(&self, step: &(impl Fn(Bytes, Processor) -> Background + Sync)) {
        while !matches!(step(Bytes::kib(64), Processor::Dedicated), Background::Over) {}
    }

    fn run_workers(&self, body: &(impl Fn() + Sync)) {
        body();
    }

    fn procs(&self) -> usize {
        1
    }

    fn now(&self) -> Nanos {
        Nanos(self.begin.elapsed().as_nanos() as u64)
    }

    fn acquire(&self, bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: never called with zero.
        NonNull::new(unsafe { std::alloc::alloc(layout(bytes)) })
    }

    unsafe fn release(&self, memory: NonNull<u8>, bytes: usize) {
        // SAFETY: acquired with the same layout, by the caller's obligation.
        unsafe { std::alloc::dealloc(memory.as_ptr(), layout(bytes)) };
    }
}

#[test]
fn gogc_collects_a_heap_that_is_a_table() {
    let world = OneThread {
        roots: Mutex::default(),
        begin: Instant::now(),
    };
    let config = Config::default();
    let gc = MarkSweep::new(Pairs::new(1000), world, config, Method::StopTheWorld).unwrap();
    let collect = || {
        gc.collect(Reason::Forced).unwrap();
        gc.heap().sweep(Bytes(u64::MAX));
    };
    // A list that is rooted, a cycle that was, and pairs that nobody has seen.
    let mut list = 0;
    for n in 0..100 {
        list = gc.heap().allocate([n, list]).unwrap();
        gc.heap().allocate([n, n]).unwrap();
    }
    let a = gc.heap().allocate([1, 0]).unwrap();
    let b = gc.heap().allocate([2, a]).unwrap();
    gc.heap().pairs[(a - gc.heap().base()) / SIZE].words[1].store(b, Relaxed);
    gc.world().roots().extend([list, b + SIZE / 2]);
    collect();
    assert_eq!(gc.heap().used.load(Relaxed), 102);
    gc.world().roots().pop();
    collect();
    assert_eq!(gc.heap().used.load(Relaxed), 100, "the cycle is gone");
    let mut sum = 0;
    while list != 0 {
        sum += gc.heap().word(list, 0);
        list = gc.heap().word(list, 1);
    }
    assert_eq!(sum, 99 * 50);
    gc.world().roots().clear();
    collect();
    assert_eq!(gc.heap().used.load(Relaxed), 0);
    assert!((0..1000).all(|n| gc.heap().allocate([n, n]).is_some()));
    assert!(gc.heap().allocate([0, 0]).is_none());
}
