//! The mutators as the collector sees them: threads that stop when they are asked to, at places of their own choice.
//!
//! There are no signals. Each interpreter looks at one flag when it calls a procedure and when it allocates, which is often enough, and if the flag is set it publishes
//! how far its stack reaches, and waits. A thread that is going to block otherwise, for another's result or for a collection, *leaves* before and *enters* after; meanwhile it
//! touches no object, and counts as stopped.
//!
//! # The protocol
//!
//! `running` is the number of mutators that are neither waiting nor away. It changes under the lock.
//!
//! - *Stop*: set `stopping` and the flag, wait until `running` is 0.
//! - *Wait*, and *leave*: take one off `running`; if that makes 0, tell who stops.
//! - *Resume*, and *enter*: wait until `stopping` is not set, add one to `running`. The one that sets and the ones that wait for it to be cleared do so under the lock, so none
//!   misses it.
//!
//! Who stops holds no lock while it works, and `stopping` keeps the mutators where they are. There is one at a time: the collector has turns. And it begins when those that waited
//! for the last stop to end have gone on, so that stops in quick succession leave the mutators a little time each.
//!
//! # Roots
//!
//! Stacks, which hold values and nothing else; symbols; results of threads nobody has asked for yet. A stop at the beginning presents all of them, and one at the end none
//! ([`World::SNAPSHOT`](gogc::World::SNAPSHOT)). What barriers record is handed over before a mutator waits.

use std::alloc::{Layout, alloc, dealloc};
use std::convert::Infallible;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gogc::{
    Background, Bytes, Event, GcTrace, Hooks, Nanos, Processor, RootKind, RootSink, Roots, Stop,
};

use crate::value::Value;

/// What is looked through at a stretch when marking beside mutators.
const STRETCH: Bytes = Bytes::kib(64);

/// Values that an interpreter works with. Its owner alone reads and writes them while it runs, the collector while it does not.
pub struct Stack {
    values: Box<[AtomicUsize]>,
    /// How many are in use. Right only while the owner does not run.
    top: AtomicUsize,
}

impl Stack {
    /// Room for so many values.
    pub fn new(values: usize) -> Stack {
        Stack {
            values: (0..values).map(|_| AtomicUsize::new(0)).collect(),
            top: AtomicUsize::new(0),
        }
    }

    /// How many values it has room for.
    pub fn room(&self) -> usize {
        self.values.len()
    }

    /// The value with this index, counting from the bottom.
    #[inline]
    pub fn get(&self, index: usize) -> Value {
        Value::from_word(self.values[index].load(Ordering::Relaxed))
    }

    /// Changes it.
    #[inline]
    pub fn set(&self, index: usize, value: Value) {
        self.values[index].store(value.word(), Ordering::Relaxed);
    }

    /// Says how many values are in use.
    pub fn publish(&self, top: usize) {
        self.top.store(top, Ordering::Relaxed);
    }
}

/// Why and for how long the world stood still.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// What for.
    pub stop: Stop,
    /// From the request until mutators could run again.
    pub length: Nanos,
    /// From the request until the last mutator had stopped.
    pub until_stopped: Nanos,
}

#[derive(Default)]
struct State {
    running: usize,
    stopping: bool,
    /// Mutators that wait for a stop to end.
    waiting: usize,
    stacks: Vec<Arc<Stack>>,
    symbols: Vec<Value>,
    /// Results of threads, by their number.
    results: Vec<(u64, Value)>,
    pauses: Vec<Pause>,
}

/// What handles share.
struct Inner {
    state: Mutex<State>,
    /// A mutator has stopped, or all may go on.
    changed: Condvar,
    /// What mutators look at.
    flag: AtomicBool,
    trace: AtomicBool,
    begin: Instant,
    procs: usize,
}

/// The world. A handle: the interpreter and its collector have one each.
#[derive(Clone)]
pub struct World(Arc<Inner>);

impl World {
    /// A world without mutators.
    pub fn new() -> World {
        World(Arc::new(Inner {
            state: Mutex::default(),
            changed: Condvar::new(),
            flag: AtomicBool::new(false),
            trace: AtomicBool::new(false),
            begin: Instant::now(),
            procs: std::thread::available_parallelism().map_or(1, |n| n.get()),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.0
            .changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints a line about every collection from now on.
    pub fn trace(&self) {
        self.0.trace.store(true, Ordering::Relaxed);
    }

    /// Whether a mutator should stop.
    #[inline]
    pub fn wants_to_stop(&self) -> bool {
        self.0.flag.load(Ordering::Relaxed)
    }

    /// Adds a mutator, which is away, with this stack.
    pub fn register(&self, stack: &Arc<Stack>) {
        self.lock().stacks.push(stack.clone());
    }

    /// Takes a mutator out, which is away. Its result, if it has one to be asked for, becomes a root.
    pub fn unregister(&self, stack: &Arc<Stack>, result: Option<(u64, Value)>) {
        let mut state = self.lock();
        state.stacks.retain(|other| !Arc::ptr_eq(other, stack));
        state.results.extend(result);
    }

    /// Takes the result of the thread with this number, if it is there. The caller runs.
    pub fn take_result(&self, thread: u64) -> Option<Value> {
        let mut state = self.lock();
        let at = state.results.iter().position(|(of, _)| *of == thread)?;
        Some(state.results.swap_remove(at).1)
    }

    /// A mutator that was away runs from now on.
    pub fn enter(&self) {
        let mut state = self.lock();
        state.waiting += 1;
        while state.stopping {
            state = self.wait(state);
        }
        state.waiting -= 1;
        state.running += 1;
        if state.waiting == 0 {
            self.0.changed.notify_all();
        }
    }

    /// A mutator that runs is away from now on. It has published its stack and handed over what its barrier has recorded.
    pub fn leave(&self) {
        let mut state = self.lock();
        state.running -= 1;
        if state.running == 0 && state.stopping {
            self.0.changed.notify_all();
        }
    }

    /// A symbol, which is a root from now on. The caller runs.
    pub fn add_symbol(&self, symbol: Value) {
        self.lock().symbols.push(symbol);
    }

    /// The stops so far.
    pub fn pauses(&self) -> Vec<Pause> {
        self.lock().pauses.clone()
    }
}

/// The roots of a stop: a job for each stack, and one for the rest.
pub struct AllRoots {
    world: World,
    stacks: Vec<Arc<Stack>>,
    presented: bool,
}

impl AllRoots {
    fn scan_job(&self, job: usize, sink: &mut impl RootSink) {
        let mut give = |kind, value: Value| {
            if value.pointer() != 0 {
                sink.word(kind, value.pointer());
            }
        };
        match self.stacks.get(job) {
            Some(stack) => {
                let top = stack.top.load(Ordering::Relaxed);
                (0..top).for_each(|index| give(RootKind::Stack, stack.get(index)));
            }
            None => {
                let state = self.world.lock();
                let results = state.results.iter().map(|(_, value)| value);
                for value in state.symbols.iter().chain(results) {
                    give(RootKind::Handle, *value);
                }
            }
        }
    }
}

// SAFETY: the stacks, symbols and results are all roots that there are (1); the lock is held by no mutator that has stopped (2).
unsafe impl Roots for AllRoots {
    fn jobs(&self) -> usize {
        if self.presented {
            self.stacks.len() + 1
        } else {
            0
        }
    }

    fn scan(&self, job: usize, sink: &mut impl RootSink) {
        self.scan_job(job, sink);
    }

    fn scan_all(&self, sink: &mut impl RootSink) {
        (0..=self.stacks.len()).for_each(|job| self.scan_job(job, sink));
    }
}

impl Hooks for World {
    fn event(&self, event: &Event) {
        if let Event::CycleEnd(stats) = event
            && self.0.trace.load(Ordering::Relaxed)
        {
            eprintln!("{}", GcTrace(stats));
        }
    }
}

// SAFETY: mutators that do not run are away or wait under the lock, which orders what they do (1, 2); memory comes from the allocator (3); what runs steps runs them
// here (4, 7); all roots are presented in `Stop::Begin`, and barriers' buffers are handed over before a mutator stops (5); nothing is presented beside mutators (6); and
// mutators stop where they look at the flag, which is outside of the collector's sections and never between an object's birth and its initialisation (8).
unsafe impl gogc::World for World {
    type Roots = AllRoots;
    type Error = Infallible;
    const SNAPSHOT: bool = true;

    fn with_stopped<R>(&self, stop: Stop, f: impl FnOnce(&AllRoots) -> R) -> Result<R, Infallible> {
        let mut state = self.lock();
        while state.waiting > 0 {
            state = self.wait(state);
        }
        let begin = self.now();
        state.stopping = true;
        self.0.flag.store(true, Ordering::Relaxed);
        while state.running > 0 {
            state = self.wait(state);
        }
        let stopped = self.now();
        let roots = AllRoots {
            world: self.clone(),
            stacks: state.stacks.clone(),
            presented: stop != Stop::End,
        };
        drop(state);
        let result = f(&roots);
        let mut state = self.lock();
        state.stopping = false;
        self.0.flag.store(false, Ordering::Relaxed);
        let length = self.now().saturating_sub(begin);
        state.pauses.push(Pause {
            stop,
            length,
            until_stopped: stopped.saturating_sub(begin),
        });
        drop(state);
        self.0.changed.notify_all();
        Ok(result)
    }

    fn with_running<R>(&self, _round: u32, f: impl FnOnce(&AllRoots, Bytes) -> R) -> R {
        let none = AllRoots {
            world: self.clone(),
            stacks: Vec::new(),
            presented: false,
        };
        f(&none, Bytes(0))
    }

    /// One thread marks, the one that collects; the system gives it its share beside the mutators.
    fn mark_in_background(&self, step: &(impl Fn(Bytes, Processor) -> Background + Sync)) {
        loop {
            match step(STRETCH, Processor::Dedicated) {
                Background::Marked(_) => {}
                Background::Dry(_) => std::thread::yield_now(),
                Background::Over => return,
            }
        }
    }

    /// With the world stopped there is little to do, or, by the other methods, one thread does it.
    fn run_workers(&self, body: &(impl Fn() + Sync)) {
        body();
    }

    fn procs(&self) -> usize {
        self.0.procs
    }

    fn now(&self) -> Nanos {
        Nanos(self.0.begin.elapsed().as_nanos() as u64)
    }

    fn acquire(&self, bytes: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, 64).ok()?;
        if bytes == 0 {
            return None;
        }
        // SAFETY: not of size zero.
        NonNull::new(unsafe { alloc(layout) })
    }

    unsafe fn release(&self, memory: NonNull<u8>, bytes: usize) {
        if let Ok(layout) = Layout::from_size_align(bytes, 64) {
            // SAFETY: from `acquire`, with the same layout.
            unsafe { dealloc(memory.as_ptr(), layout) };
        }
    }
}
