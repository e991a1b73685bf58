//! An engine that backs each context with an OS thread.
//!
//! A switch hands a baton on: it wakes the thread of the context entered and puts the one left to
//! sleep. Slow, and understood by every tool that understands threads: debuggers, ThreadSanitizer,
//! Miri, profilers. It is the second implementation that this crate's tests run on.
//!
//! Each goroutine gets a fresh thread, so its `thread_local!`s are its own from the start. They are
//! dropped when that thread ends, shortly after the goroutine has, and see a plain thread then.
//!
//! While a thread waits for its baton it is outside the scheduler's critical sections, so that it
//! can be stopped like any other sleeping thread.

use crate::atomic::{AtomicU32, AtomicUsize, Ordering, thread};
use std::ops::Range;
use std::sync::Arc;

use crate::critical;
use crate::env::{Engine, EngineError, Entry, StackSpec, ThreadLocals};
use crate::here::here;
use crate::sys;

/// Stack of a goroutine's thread when nothing else is asked for.
const DEFAULT_STACK: usize = 512 * 1024;

/// One word: 1 while it lies here.
struct Baton(AtomicU32);

impl Baton {
    fn pass(&self) {
        let word: *const AtomicU32 = &self.0;
        self.0.store(1, Ordering::Release);
        sys::futex_wake(word, 1);
    }

    fn wait(&self) {
        while self.0.swap(0, Ordering::Acquire) == 0 {
            sys::futex_wait(&self.0, 0, None);
        }
    }
}

/// An OS thread, waiting for its baton or running.
pub struct ThreadContext {
    baton: Arc<Baton>,
    spec: StackSpec,
}

/// See the module.
#[derive(Default)]
pub struct ThreadEngine {
    /// Threads that back contexts.
    threads: Arc<AtomicUsize>,
}

struct Start {
    entry: Entry<ThreadContext>,
    arg: *mut (),
}

// SAFETY: the engine's contract lets an entry be called on any thread.
unsafe impl Send for Start {}

impl Start {
    fn run(self) -> *mut ThreadContext {
        // SAFETY: the thread is what the context stands for, and calls its entry once.
        unsafe { (self.entry)(self.arg) }
    }
}

impl ThreadEngine {
    /// Without threads.
    pub fn new() -> ThreadEngine {
        ThreadEngine::default()
    }

    fn start(&self, spec: StackSpec, start: Start) -> Result<Arc<Baton>, EngineError> {
        let baton = Arc::new(Baton(AtomicU32::new(0)));
        let own = baton.clone();
        let threads = self.threads.clone();
        let spawned = thread::Builder::new()
            .name(crate::GOROUTINE_THREAD.into())
            .stack_size(spec.size.unwrap_or(DEFAULT_STACK))
            .spawn(move || {
                // Here and not before: a thread counted that is not there yet would hide another that is, from the deadlock check.
                threads.fetch_add(1, Ordering::SeqCst);
                own.wait();
                let successor = start.run();
                // SAFETY: the engine's contract: the entry returns a context that stays valid until
                // it is resumed. The section that the entry left open ends here; the successor's
                // thread has its own.
                unsafe {
                    let baton = (*successor).baton.clone();
                    critical::end(here());
                    threads.fetch_sub(1, Ordering::SeqCst);
                    baton.pass();
                }
            });
        match spawned {
            Ok(_) => Ok(baton),
            Err(source) => {
                Err(EngineError {
                    message: "the system refused a thread for a goroutine; raise the limit on processes (ulimit -u, \
                              or pids.max of the cgroup)"
                        .into(),
                    source: Some(source),
                })
            }
        }
    }
}

// SAFETY: 1, 2: a context's code stays on its own thread, which sleeps between `switch` away and
// the baton; who holds the M is the scheduler's business. The baton's release and acquire order the
// two sides. 3: after the baton is passed, the left thread touches only its own baton, of which it
// has a reference. 4: likewise, and it ends. 5: each context is a thread. 6: no stack pointers are
// given out. 7: by inspection.
unsafe impl Engine for ThreadEngine {
    type Context = ThreadContext;

    const THREAD_LOCALS: ThreadLocals = ThreadLocals::PerThread;

    fn create(
        &self,
        spec: StackSpec,
        entry: Entry<ThreadContext>,
        arg: *mut (),
    ) -> Result<ThreadContext, EngineError> {
        let baton = self.start(spec, Start { entry, arg })?;
        Ok(ThreadContext { baton, spec })
    }

    unsafe fn rearm(
        &self,
        context: &mut ThreadContext,
        entry: Entry<ThreadContext>,
        arg: *mut (),
    ) -> Result<(), EngineError> {
        context.baton = self.start(context.spec, Start { entry, arg })?;
        Ok(())
    }

    fn adopt_thread(&self) -> Result<ThreadContext, EngineError> {
        Ok(ThreadContext {
            baton: Arc::new(Baton(AtomicU32::new(0))),
            spec: StackSpec::default(),
        })
    }

    unsafe fn switch(&self, from: *mut ThreadContext, to: *mut ThreadContext) {
        // SAFETY: obligations 1 to 3 of `switch`. Both batons are cloned while the contexts are
        // still ours; the critical section is the one in which `switch` is called, no lock is held,
        // and nothing in the closure switches.
        unsafe {
            let own = (*from).baton.clone();
            let other = (*to).baton.clone();
            critical::suspended(|| {
                other.pass();
                own.wait();
            });
        }
    }

    unsafe fn finish(&self) {}

    unsafe fn retire(&self, _context: ThreadContext) {}

    fn stack_range(&self, _context: &ThreadContext) -> Option<Range<usize>> {
        None
    }

    fn saved_sp(&self, _context: &ThreadContext) -> Option<usize> {
        None
    }

    fn own_threads(&self) -> usize {
        self.threads.load(Ordering::SeqCst)
    }
}
