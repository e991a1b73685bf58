//! A world with one thread, on which collector and mutator take turns: after each step of the marker the mutator runs for a while.
//!
//! So there is nothing random about which of them is where, but for the mutator's own choices. The mutator is some goroutines with a stack each. A stack is one root job: it is looked
//! at once in a cycle, at some moment between two of the mutator's turns, as Go looks at a stack.

use gogc::{
    Background, Bytes, Event, Hooks, Nanos, Processor, RootKind, RootSink, Roots, Stop, World,
};
use std::alloc::{Layout, alloc, dealloc};
use std::convert::Infallible;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What a step of the marker looks through.
const STEP: Bytes = Bytes(64);

/// Slots of a stack.
pub const SLOTS: usize = 8;

/// The stacks, by goroutine.
pub type Stacks = Arc<[[AtomicUsize; SLOTS]]>;

type Turn = Box<dyn FnMut() + Send>;

/// The world.
pub struct TurnWorld {
    stacks: Stacks,
    clock: AtomicU64,
    /// What the mutator does in its turn.
    turn: Mutex<Option<Turn>>,
}

impl TurnWorld {
    /// A world whose mutator does nothing yet.
    pub fn new(stacks: Stacks) -> TurnWorld {
        TurnWorld {
            stacks,
            clock: AtomicU64::new(0),
            turn: Mutex::new(None),
        }
    }

    /// Has the mutator do `turn` whenever it is its turn.
    pub fn take_turns(&self, turn: impl FnMut() + Send + 'static) {
        *self.turn.lock().expect("no turn panics") = Some(Box::new(turn));
    }

    fn turn(&self) {
        if let Some(turn) = &mut *self.turn.lock().expect("no turn panics") {
            turn();
        }
    }
}

/// All stacks, or no roots.
pub struct StackRoots(Option<Stacks>);

// SAFETY: every stack is a job, and no lock is taken.
unsafe impl Roots for StackRoots {
    fn jobs(&self) -> usize {
        self.0.as_ref().map_or(0, |stacks| stacks.len())
    }

    fn scan(&self, job: usize, sink: &mut impl RootSink) {
        if let Some(stacks) = &self.0 {
            // SAFETY: words, aligned as such, which live as long as `self`.
            unsafe { sink.range(RootKind::Stack, stacks[job].as_ptr().cast(), SLOTS) };
        }
    }
}

impl Hooks for TurnWorld {
    fn event(&self, _: &Event) {}
}

// SAFETY: there is one thread, so a mutator that is stopped is one that has no turn (1, 2, 8); memory is the allocator's, aligned as asked for (3); the body has
// returned when `run_workers` and `mark_in_background` do (4, 7); the stacks are shared (6). Obligation 5 is kept as Go keeps it and not as it is written: a stack is presented
// once, and not again in the last stop. What is lost by that is what the experiment is to show; nobody else is harmed, since the heap is a table of numbers.
unsafe impl World for TurnWorld {
    type Roots = StackRoots;
    type Error = Infallible;

    fn with_stopped<R>(
        &self,
        stop: Stop,
        f: impl FnOnce(&StackRoots) -> R,
    ) -> Result<R, Infallible> {
        let whole = stop == Stop::Whole;
        Ok(f(&StackRoots(whole.then(|| self.stacks.clone()))))
    }

    fn with_running<R>(&self, round: u32, f: impl FnOnce(&StackRoots, Bytes) -> R) -> R {
        let first = round == 0;
        let bytes = if first { size_of_val(&*self.stacks) } else { 0 };
        f(
            &StackRoots(first.then(|| self.stacks.clone())),
            Bytes(bytes as u64),
        )
    }

    fn mark_in_background(&self, step: &(impl Fn(Bytes, Processor) -> Background + Sync)) {
        while step(STEP, Processor::Dedicated) != Background::Over {
            self.turn();
        }
    }

    fn run_workers(&self, body: &(impl Fn() + Sync)) {
        body();
    }

    fn procs(&self) -> usize {
        1
    }

    fn now(&self) -> Nanos {
        Nanos(self.clock.fetch_add(1000, Relaxed))
    }

    fn acquire(&self, bytes: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, 64).ok()?;
        // SAFETY: collectors ask for more than nothing.
        NonNull::new(unsafe { alloc(layout) })
    }

    unsafe fn release(&self, memory: NonNull<u8>, bytes: usize) {
        let layout = Layout::from_size_align(bytes, 64).expect("it was acquired with this");
        // SAFETY: acquired with the same layout, by the caller's obligation.
        unsafe { dealloc(memory.as_ptr(), layout) };
    }
}
