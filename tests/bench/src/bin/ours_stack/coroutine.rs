//! Coroutines over gostack's contexts.
//!
//! A coroutine and who resumes it share a [`Shared`] in the context's control area: the body before it runs, and the thread's context. Invariant:
//! one of the two runs, and only that one touches it.

use bench::Arguments;
use bench::workloads::stack::Coroutines;
use gostack::cache::ContextCache;
use gostack::context::Context;
use gostack::execution::{ContextPool, ExecutionContext};
use gostack::os::Linux;
use gostack::stack::StackClass;
use gostack::switch::{Entry, Switcher};
use gostack::tls::ThreadLocals;
use std::alloc::Layout;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::rc::Rc;

/// Room on each stack for the thread-local block and the guard.
const OVERHEAD: usize = 32 << 10;

/// A pool of contexts, and the switch between them.
pub struct Contexts {
    cache: ContextCache<Linux, Rc<ContextPool<Linux>>>,
    pool: Rc<ContextPool<Linux>>,
    switcher: Switcher,
}

/// A context with what it shares with its resumer.
pub struct Coroutine {
    context: ExecutionContext,
    shared: NonNull<Shared>,
}

/// Room for what a body captures.
const BODY: usize = 8;

/// What a coroutine and its resumer share.
pub struct Shared {
    /// The body before it runs.
    body: Cell<MaybeUninit<[usize; BODY]>>,
    pool: *const ContextPool<Linux>,
    switcher: Switcher,
    thread: Context,
    own: Cell<*const Context>,
    ended: Cell<bool>,
}

impl Coroutines for Contexts {
    type Coroutine = Coroutine;
    type Suspender<'a> = &'a Shared;

    fn new(arguments: &Arguments, stack: usize) -> Result<Contexts, String> {
        let locals = match arguments.text("locals", "own") {
            "own" => ThreadLocals::per_context(),
            // SAFETY: this program has one thread that runs contexts, so none ever moves.
            "shared" => unsafe { ThreadLocals::shared() },
            other => return Err(format!("locals={other} is neither own nor shared")),
        };
        let locals = locals.map_err(|why| why.to_string())?;
        let class = StackClass::holding(stack + OVERHEAD).ok_or("no stack is so large")?;
        let pool = ContextPool::new(Linux::default(), class, locals, Layout::new::<Shared>());
        let pool = Rc::new(pool.map_err(|why| why.to_string())?);
        let switcher = pool.switcher();
        let cache = ContextCache::new(pool.clone());
        Ok(Contexts {
            cache,
            pool,
            switcher,
        })
    }

    fn create(
        &mut self,
        body: impl FnOnce(&mut &Shared) + Send + 'static,
    ) -> Result<Coroutine, String> {
        if size_of_val(&body) > BODY * size_of::<usize>()
            || align_of_val(&body) > align_of::<usize>()
        {
            return Err("the body captures too much".to_owned());
        }
        let mut context = self.cache.take().map_err(|why| why.to_string())?;
        let area = self.pool.control_area(&context);
        let shared = area.expect("a context of a pool has one").cast::<Shared>();
        // SAFETY: the area was laid out for this, and the context has not run; the body fits. `enter` gets what it expects; the thread that it
        // ends with is the one that resumes, as there is only one.
        unsafe {
            shared.write(Shared {
                body: Cell::new(MaybeUninit::uninit()),
                pool: &raw const *self.pool,
                switcher: self.switcher,
                thread: Context::adopt_thread(),
                own: Cell::new(std::ptr::null()),
                ended: Cell::new(false),
            });
            let enter = put_body(shared, body);
            self.pool.rearm(&mut context, enter, shared.as_ptr().cast());
        }
        Ok(Coroutine { context, shared })
    }

    #[inline]
    fn suspend(shared: &mut &Shared) {
        // SAFETY: this runs on the coroutine's context; the thread's is parked in `resume`.
        unsafe { shared.switcher.switch(shared.own.get(), &shared.thread) };
    }

    #[inline]
    fn resume(&mut self, coroutine: &mut Coroutine) -> bool {
        // SAFETY: `create` wrote it, and the coroutine has not been retired.
        let (context, shared) = (coroutine.context.context(), unsafe {
            coroutine.shared.as_ref()
        });
        assert!(!shared.ended.get(), "resumed after its end");
        shared.own.set(context);
        // SAFETY: this runs on the thread, and the context is fresh or parked in `suspend`, since it has not ended.
        unsafe { self.switcher.switch(&shared.thread, context) };
        !shared.ended.get()
    }

    fn retire(&mut self, coroutine: Coroutine) {
        // SAFETY: as in `resume`.
        let ended = unsafe { coroutine.shared.as_ref() }.ended.get();
        assert!(ended, "retired before its end");
        // SAFETY: it has ended, and nothing refers to its stack.
        unsafe { self.cache.retire(coroutine.context) };
    }
}

/// Writes the body where the entry that is returned finds it.
///
/// # Safety
/// 1. The body fits into [`Shared::body`], and `shared` is written and not in use.
unsafe fn put_body<F: FnOnce(&mut &Shared)>(shared: NonNull<Shared>, body: F) -> Entry {
    // SAFETY: the obligation.
    unsafe { shared.as_ref().body.as_ptr().cast::<F>().write(body) };
    enter::<F>
}

unsafe extern "C" fn enter<F: FnOnce(&mut &Shared)>(shared: *mut ()) -> *const Context {
    // SAFETY: `create` passes this, and wrote it; the body is an `F`, and taken once.
    let (mut shared, body) = unsafe {
        let shared = &*shared.cast_const().cast::<Shared>();
        (shared, shared.body.as_ptr().cast::<F>().read())
    };
    body(&mut shared);
    // SAFETY: pools outlive their contexts; nothing that uses thread-locals is left to do here.
    unsafe { (*shared.pool).finish() };
    shared.ended.set(true);
    &raw const shared.thread
}
