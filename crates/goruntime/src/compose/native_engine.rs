//! Execution contexts for the scheduler: gostack's stacks, each with its own thread-locals.
//!
//! Implements gosched's `Engine` over gostack's pools, one pool for each size of stack. What it adds is the allocator's cache:
//! gomem keeps the cache of the OS thread in a thread-local word, so each switch copies that word from the context being left to
//! the one entered, which both run on the same thread.

use super::env::GoEnv;
use crate::runtime::scheduler;
use gosched::Scheduler;
use gosched::env::{EngineError, Entry, StackSpec, ThreadLocals};
use gosched::goroutine::ResumePoint;
use gostack::altstack::AltStack;
use gostack::context::{Context, TlsOffset};
use gostack::execution::{ContextPool, ExecutionContext};
use gostack::os::Linux;
use gostack::overflow::Overflow;
use gostack::stack::{StackClass, StackRange};
use gostack::switch::Switcher;
use gostack::tls::TlsLayout;
use std::alloc::Layout;
use std::cell::RefCell;
use std::fmt::Write;
use std::ops::Range;
use std::sync::OnceLock;

/// Stack classes run from 16 KiB to 1 GiB.
const CLASSES: usize = 17;

/// The pools. They belong to the process: a signal handler and the collector ask them which stack an address lies in.
static POOLS: [OnceLock<ContextPool<Linux>>; CLASSES] = [const { OnceLock::new() }; CLASSES];

/// What a context needs to know when it begins, kept in its control area.
#[repr(C)]
struct Start {
    entry: Entry<NativeContext>,
    arg: *mut (),
    cache: TlsOffset,
}

/// A native stack with thread-locals of its own; or a thread, adopted.
#[repr(C)]
pub(crate) struct NativeContext {
    execution: ExecutionContext,
    /// Where it came from; `None` for an adopted thread.
    pool: Option<&'static ContextPool<Linux>>,
}

/// See the module.
pub(crate) struct NativeEngine {
    thread_locals: gostack::tls::ThreadLocals,
    switcher: Switcher,
    /// Where gomem keeps the thread's cache, in every context.
    cache: TlsOffset,
}

impl NativeEngine {
    fn new() -> Result<NativeEngine, String> {
        let thread_locals = gostack::tls::ThreadLocals::per_context().map_err(|e| e.to_string())?;
        let layout = thread_locals
            .layout()
            .expect("per-context thread-locals have a layout");
        let cache = layout
            .offset_of(gomem::cache_slot().cast())
            .ok_or("the allocator's thread-local is not a static one: goruntime must be part of the program, not of a library opened at run time")?;
        Ok(NativeEngine {
            thread_locals,
            switcher: thread_locals.switcher(),
            cache,
        })
    }

    fn pool(&self, spec: StackSpec) -> Result<&'static ContextPool<Linux>, EngineError> {
        let size = spec.size.unwrap_or(StackClass::DEFAULT.bytes());
        let too_large = || EngineError {
            message: format!(
                "a stack of {size} bytes is more than the largest there is ({} bytes)",
                StackClass::MAX.bytes()
            ),
            source: None,
        };
        let class = StackClass::holding(size).ok_or_else(too_large)?;
        let index = (class.bytes() / StackClass::MIN.bytes()).trailing_zeros() as usize;
        if let Some(pool) = POOLS[index].get() {
            return Ok(pool);
        }
        let control = Layout::new::<Start>();
        let pool = ContextPool::new(Linux::default(), class, self.thread_locals, control).map_err(
            |e| EngineError {
                message: e.to_string(),
                source: None,
            },
        )?;
        Ok(POOLS[index].get_or_init(|| pool))
    }

    /// Writes the beginning of a fresh context where [`begin`] finds it.
    ///
    /// # Safety
    /// 1. The context is of that pool and does not run.
    unsafe fn set_start(
        &self,
        pool: &ContextPool<Linux>,
        execution: &ExecutionContext,
        entry: Entry<NativeContext>,
        arg: *mut (),
    ) -> *mut () {
        let area = pool
            .control_area(execution)
            .expect("a context of a pool has a control area")
            .cast::<Start>();
        let cache = self.cache;
        // SAFETY: the area was laid out for a Start and is the context's own.
        unsafe { area.write(Start { entry, arg, cache }) };
        area.as_ptr().cast()
    }
}

/// The first code of every context. Its last act is what a switch does: hand the cache to the successor.
unsafe extern "C" fn begin(arg: *mut ()) -> *const Context {
    // SAFETY: the argument is the Start that `set_start` wrote; the entry is called with its own argument, once.
    unsafe {
        let start = arg.cast::<Start>().read();
        let next = (start.entry)(start.arg);
        let next = context_of(next);
        hand_over_cache(start.cache, next);
        next
    }
}

/// Copies the allocator's word from the running context to `to`.
///
/// # Safety
/// 1. `to` is about to be entered on this thread, and runs nowhere.
#[inline]
unsafe fn hand_over_cache(cache: TlsOffset, to: *const Context) {
    // SAFETY: (1); the offset is that of the word in every context of the process.
    unsafe {
        if let Some(theirs) = (*to).local(cache) {
            theirs.cast().write(*gomem::cache_slot());
        }
    }
}

/// Both begin with the other: `repr(C)`, first field.
fn context_of(context: *const NativeContext) -> *const Context {
    ExecutionContext::context_ptr(context.cast::<ExecutionContext>())
}

// SAFETY: gostack's switch saves and resumes contexts as (1) to (4) ask: it writes the saved stack pointer before it changes anything,
// and nothing afterwards. (5): pools are made with per-context thread-locals. (6): the saved registers lie at the
// saved stack pointer. (7): nothing here unwinds or calls back, but `finish`.
unsafe impl gosched::env::Engine for NativeEngine {
    type Context = NativeContext;
    const THREAD_LOCALS: ThreadLocals = ThreadLocals::PerContext;

    fn create(
        &self,
        spec: StackSpec,
        entry: Entry<NativeContext>,
        arg: *mut (),
    ) -> Result<NativeContext, EngineError> {
        let pool = self.pool(spec)?;
        let execution = pool.take().map_err(|e| EngineError {
            message: format!("no stack for another goroutine: {e}"),
            source: Some(std::io::Error::from_raw_os_error(e.errno)),
        })?;
        let mut context = NativeContext {
            execution,
            pool: Some(pool),
        };
        // SAFETY: the context has not run.
        unsafe { self.rearm(&mut context, entry, arg)? };
        Ok(context)
    }

    unsafe fn rearm(
        &self,
        context: &mut NativeContext,
        entry: Entry<NativeContext>,
        arg: *mut (),
    ) -> Result<(), EngineError> {
        let pool = context.pool.expect("an adopted thread is not armed again");
        // SAFETY: the caller's obligations.
        unsafe {
            let start = self.set_start(pool, &context.execution, entry, arg);
            pool.rearm(&mut context.execution, begin, start);
        }
        Ok(())
    }

    fn adopt_thread(&self) -> Result<NativeContext, EngineError> {
        let execution = ExecutionContext::adopt_thread().map_err(|e| EngineError {
            message: "cannot find the stack of this thread".into(),
            source: Some(e),
        })?;
        Ok(NativeContext {
            execution,
            pool: None,
        })
    }

    #[inline]
    unsafe fn switch(&self, from: *mut NativeContext, to: *mut NativeContext) {
        // SAFETY: the caller's obligations are those of the switch; both contexts are of this engine, hence of one kind.
        unsafe {
            let (from, to) = (context_of(from), context_of(to));
            hand_over_cache(self.cache, to);
            self.switcher.switch(from, to);
        }
    }

    unsafe fn finish(&self) {
        if let Some(layout) = self.thread_locals.layout() {
            // SAFETY: the caller's obligation.
            unsafe { layout.finish_current() };
        }
    }

    unsafe fn retire(&self, context: NativeContext) {
        if let Some(pool) = context.pool {
            // SAFETY: the caller's obligations.
            unsafe { pool.retire(context.execution) };
        }
    }

    fn stack_range(&self, context: &NativeContext) -> Option<Range<usize>> {
        let range = context.execution.stack_range();
        Some(range.limit..range.top)
    }

    fn saved_sp(&self, context: &NativeContext) -> Option<usize> {
        let sp = context.execution.saved_sp() as usize;
        let range = context.execution.stack_range();
        // Outside, if the goroutine parked on another stack that it had switched to itself: then all of its own may be live.
        let is_own = (range.limit..range.top).contains(&sp);
        (sp != 0).then_some(if is_own { sp } else { range.limit })
    }

    unsafe fn resume_point(&self, context: &NativeContext) -> Option<ResumePoint> {
        // SAFETY: the caller's obligation.
        let at = unsafe { context.execution.resume_point() }?;
        Some(ResumePoint {
            instruction: at.instruction,
            stack: at.stack,
            frame: at.frame,
        })
    }

    fn thread_started(&self) {
        // Without one an overflow on this thread ends in a bare SIGSEGV, which is not worth refusing to run for.
        ALT.with(|alt| *alt.borrow_mut() = AltStack::install().ok());
        crate::world::stop::admit_signal();
        gomem::attach_thread();
    }

    fn thread_ends(&self) {
        // Not left to the thread-local's destructor: that runs when std has freed the signal stack that was there before, and would put that back.
        drop(ALT.take());
    }

    fn thread_idle(&self) {
        gomem::empty_thread();
        // There may be memory to be given back now, and nobody awake to see it.
        super::monitor::wake();
    }
}

thread_local!(static ALT: RefCell<Option<AltStack>> = const { RefCell::new(None) });

/// Whose goroutines have stacks of their own: the program's scheduler, and those of simulations.
pub(crate) fn schedulers() -> impl Iterator<Item = &'static Scheduler<GoEnv>> {
    std::iter::once(scheduler()).chain(super::simulated::schedulers())
}

/// The thread-local block at the top of a stack.
pub(crate) struct Block {
    /// Its lowest address; below are control area and frames.
    pub(crate) start: usize,
    pub(crate) thread_pointer: usize,
}

/// The block of the stack that ends at `top`.
pub(crate) fn block_below(top: usize) -> Option<Block> {
    let layout = TlsLayout::discover().ok()?;
    Some(Block {
        start: top - layout.block_bytes(),
        thread_pointer: layout.thread_pointer_below(top),
    })
}

/// Whether that is the address of a static thread-local of the context with this thread pointer.
pub(crate) fn is_static_local(address: usize, thread_pointer: usize) -> bool {
    TlsLayout::discover().is_ok_and(|layout| layout.is_static(address, thread_pointer))
}

/// The lowest live address of the context that is kept there, if one is and does not run; otherwise any number.
///
/// # Safety
/// 1. The memory there is readable.
pub(crate) unsafe fn saved_sp_at(context: *const NativeContext) -> usize {
    // SAFETY: (1).
    unsafe { Context::saved_sp_at(context_of(context)) }
}

/// The engine.
pub(crate) type Engine = NativeEngine;

/// Makes the engine.
///
/// # Errors
/// What this libc lacks.
pub(crate) fn new() -> Result<Engine, String> {
    NativeEngine::new()
}

/// Has goroutines whose frames are small take one page of memory and not two, at the price that [`TlsLayout::discover_without_reserve`] names. Before the engine is made.
///
/// # Errors
/// Why they take two.
pub(crate) fn refuse_late_locals() -> Result<(), String> {
    let taken = TlsLayout::discover_without_reserve();
    taken.map(drop).map_err(|e| e.to_string())
}

/// From now on a goroutine that outgrows its stack ends the process with a message that names it.
pub(crate) fn report_overflows() {
    fn report(_: &Overflow, out: &mut dyn Write) {
        gosched::with_current(|id, name, site| {
            let _ = write!(out, "goroutine {id}");
            if let Some(name) = name {
                let _ = write!(out, " {{name: {name}}}");
            }
            if let Some(site) = site {
                let _ = write!(out, ", created at {}:{}", site.file(), site.line());
            }
            let _ = writeln!(
                out,
                "\nif the recursion is meant to be so deep, give the goroutine a larger stack: Builder::stack_size"
            );
        });
    }
    // SAFETY: `find` reads statics; `report` reads the goroutine's own fields and formats into the handler's buffer. Pools are
    // never dropped.
    if let Err(error) = unsafe { gostack::overflow::install(find, report) } {
        eprintln!("goruntime: {error}");
    }
}

/// The stack of a goroutine that `address` lies in, guard excluded. Async-signal-safe.
pub(crate) fn stack_of(address: usize) -> Option<Range<usize>> {
    let found = find(address)?;
    Some(found.limit..found.top)
}

/// As [`stack_of`], in gostack's terms.
pub(crate) fn find(address: usize) -> Option<StackRange> {
    POOLS
        .iter()
        .filter_map(OnceLock::get)
        .find_map(|pool| pool.find(address))
}
