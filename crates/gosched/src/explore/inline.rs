//! A scheduler whose goroutines run on its threads' own stacks: they may do anything but wait.
//!
//! So a model has no more threads than the scheduler makes, and what is explored is the scheduler's own coming and going. Such a scheduler is ended by
//! unwinding its threads from where they sleep, and then freed.

use crate::atomic::{AtomicBool, Ordering};
use crate::env::{
    Engine, EngineError, Entry, Env, Hooks, Poller, Readiness, StackSpec, ThreadLocals, Token,
};
use crate::join::JoinHandle;
use crate::sched::{Config, Scheduler};
use crate::time::Nanos;
use goexplore::thread;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;

/// A goroutine that has not run, or nothing.
pub(super) struct Inline(Option<(Entry<Inline>, *mut ())>);

// SAFETY: the engine's contract lets an entry be called on any thread.
unsafe impl Send for Inline {}

pub(super) struct InlineEngine;

// SAFETY: 1 to 4: goroutines are only ever entered from the M's own context and never left before their end, so their code is a call, and the context
// entered is a fresh one or the M's own. 5: there is one set of thread-locals to a thread. 6: no stack pointers are given out. 7: by inspection.
unsafe impl Engine for InlineEngine {
    type Context = Inline;

    const THREAD_LOCALS: ThreadLocals = ThreadLocals::Shared;

    fn create(
        &self,
        _: StackSpec,
        entry: Entry<Inline>,
        arg: *mut (),
    ) -> Result<Inline, EngineError> {
        Ok(Inline(Some((entry, arg))))
    }

    unsafe fn rearm(
        &self,
        context: &mut Inline,
        entry: Entry<Inline>,
        arg: *mut (),
    ) -> Result<(), EngineError> {
        context.0 = Some((entry, arg));
        Ok(())
    }

    fn adopt_thread(&self) -> Result<Inline, EngineError> {
        Ok(Inline(None))
    }

    unsafe fn switch(&self, from: *mut Inline, mut to: *mut Inline) {
        // SAFETY: obligations of `switch`: `to` is ours until its entry returns the next.
        unsafe {
            while let Some((entry, arg)) = (*to).0.take() {
                to = entry(arg);
            }
        }
        assert!(ptr::eq(from, to), "a goroutine of an inline engine waits");
    }

    unsafe fn finish(&self) {}

    unsafe fn retire(&self, _: Inline) {}

    fn stack_range(&self, _: &Inline) -> Option<Range<usize>> {
        None
    }

    fn saved_sp(&self, _: &Inline) -> Option<usize> {
        None
    }
}

/// No descriptors.
pub(super) struct NoPoller;

impl Poller for NoPoller {
    fn register(&self, _: RawFd, _: Token) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn deregister(&self, _: RawFd) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn wait(&self, _: Option<Nanos>, _: &mut [Readiness]) -> io::Result<usize> {
        Ok(0)
    }

    fn wake(&self) {}
}

/// There always is a thread that may wake somebody: the model's own.
pub(super) struct Listener;

impl Hooks for Listener {
    fn foreign_threads(&self, _: usize) -> usize {
        1
    }
}

pub(super) struct InlineEnv;

impl Env for InlineEnv {
    type Engine = InlineEngine;
    type Poller = NoPoller;
    type Hooks = Listener;
}

/// Makes a scheduler, lets `model` use it, and ends it.
pub(super) fn with_scheduler(procs: usize, model: impl FnOnce(&'static Scheduler<InlineEnv>)) {
    let config = Config {
        procs,
        stack: StackSpec::default(),
    };
    run(
        Scheduler::new(config, InlineEngine, NoPoller, Listener),
        model,
    );
}

/// Lets `model` use a scheduler that was made for it, and ends that.
pub(super) fn run<V: Env>(
    scheduler: &'static Scheduler<V>,
    model: impl FnOnce(&'static Scheduler<V>),
) {
    model(scheduler);
    thread::end_sleepers();
    // SAFETY: it was leaked by `new`; its threads have ended, and the model keeps nothing of it.
    drop(unsafe { Box::from_raw(ptr::from_ref(scheduler).cast_mut()) });
}

/// Starts two goroutines that each wait for the other to have begun: both end only if two Ps run them.
pub(super) fn two_that_meet(scheduler: &'static Scheduler<InlineEnv>) -> [JoinHandle<()>; 2] {
    let begun = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
    [0, 1].map(|me| {
        let begun = begun.clone();
        let body = move || {
            begun[me].store(true, Ordering::Release);
            while !begun[1 - me].load(Ordering::Acquire) {
                thread::yield_now();
            }
        };
        scheduler.spawn(body).unwrap()
    })
}
