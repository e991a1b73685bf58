//! A coroutine over [`ExecutionContext`], small enough to see that what the tests find is the crate's doing.

use std::alloc::Layout;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use gostack::context::Context;
use gostack::execution::{ContextPool, ExecutionContext};
use gostack::os::Linux;
use gostack::stack::StackClass;
use gostack::tls::ThreadLocals;

/// A pool of contexts with thread-locals of their own.
pub fn pool() -> ContextPool<Linux> {
    pool_with(ThreadLocals::per_context().unwrap())
}

/// A pool of contexts with the given thread-locals.
pub fn pool_with(thread_locals: ThreadLocals) -> ContextPool<Linux> {
    ContextPool::new(
        Linux::default(),
        StackClass::DEFAULT,
        thread_locals,
        Layout::new::<[u64; 2]>(),
    )
    .unwrap()
}

type Body<'p> = Box<dyn FnOnce(&Suspender) + Send + 'p>;

/// Runs a closure that can stop in the middle, and be resumed on any thread.
pub struct Task<'p> {
    pool: &'p ContextPool<Linux>,
    context: Option<ExecutionContext>,
    shared: Box<Shared<'p>>,
}

struct Shared<'p> {
    body: Cell<Option<Body<'p>>>,
    pool: &'p ContextPool<Linux>,
    suspender: Suspender,
    outcome: Cell<Option<Result<(), Box<dyn Any + Send>>>>,
}

// SAFETY: the cells are used by the context while it runs and by the holder of the task while it does not, and a task
// has one holder.
unsafe impl Send for Task<'_> {}

/// Inside a task: how to stop for now.
pub struct Suspender {
    own: Cell<*const Context>,
    resumer: Cell<*const Context>,
    switcher: gostack::switch::Switcher,
}

impl Suspender {
    /// Goes back to whoever resumed the task.
    pub fn suspend(&self) {
        // SAFETY: called on the task's context; the resumer's context is parked in `Task::resume`, on this thread.
        unsafe { self.switcher.switch(self.own.get(), self.resumer.get()) };
    }
}

impl<'p> Task<'p> {
    /// Makes a task that has not begun.
    pub fn new(pool: &'p ContextPool<Linux>, body: impl FnOnce(&Suspender) + Send + 'p) -> Self {
        let shared = Box::new(Shared {
            body: Cell::new(Some(Box::new(body))),
            pool,
            suspender: Suspender {
                own: Cell::new(ptr::null()),
                resumer: Cell::new(ptr::null()),
                switcher: pool.switcher(),
            },
            outcome: Cell::new(None),
        });
        let arg = (&raw const *shared).cast_mut().cast();
        // SAFETY: `run` gets what it expects, and returns the context of whoever resumes it.
        let context = unsafe { pool.create(run, arg) }.unwrap();
        Self {
            pool,
            context: Some(context),
            shared,
        }
    }

    /// Runs it until it suspends or ends. `true` when it has ended; a panic of its body goes on here.
    pub fn resume(&mut self) -> bool {
        if self.resume_quietly() {
            if let Some(Err(payload)) = self.shared.outcome.take() {
                std::panic::resume_unwind(payload);
            }
            return true;
        }
        false
    }

    fn resume_quietly(&mut self) -> bool {
        let thread = Context::adopt_thread();
        let context = self.context.as_ref().expect("the task has ended");
        self.shared.suspender.own.set(context.context());
        self.shared.suspender.resumer.set(&thread);
        // SAFETY: the thread's context runs here; the task is fresh or suspended, and `&mut self` keeps others away.
        unsafe { self.pool.switcher().switch(&thread, context.context()) };
        let outcome = self.shared.outcome.take();
        let ended = outcome.is_some();
        self.shared.outcome.set(outcome);
        if ended && let Some(context) = self.context.take() {
            // SAFETY: the context has ended: its successor, this thread, runs.
            unsafe { self.pool.retire(context) };
        }
        ended
    }

    /// The context, while the task has not ended.
    pub fn context(&self) -> &ExecutionContext {
        self.context.as_ref().expect("the task has ended")
    }

    /// Runs it to its end on this thread.
    pub fn finish(mut self) {
        while !self.resume() {}
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        while self.context.is_some() {
            self.resume_quietly();
        }
    }
}

unsafe extern "C" fn run(shared: *mut ()) -> *const Context {
    // SAFETY: `Task::new` passes its shared part, which outlives the context.
    let shared = unsafe { &*shared.cast_const().cast::<Shared<'_>>() };
    let body = shared.body.take().expect("a context runs its entry once");
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&shared.suspender)));
    // SAFETY: nothing but the successor's address is left to do here.
    unsafe { shared.pool.finish() };
    shared.outcome.set(Some(outcome));
    shared.suspender.resumer.get()
}
