//! Stack, thread-local block and context, put together and pooled.
//!
//! ```text
//!   base    limit                                                                         top
//!    ├─guard──┼──────── stack, grows downwards ────────┬─ control area ─┬─ thread-local block ─┤
//!                                               start ─┘                └─ (per context only)
//! ```
//!
//! A context that has ended keeps its stack and its block, so that making it ready for the next one
//! ([`ContextPool::rearm`], or [`ContextPool::retire`] and a later [`ContextPool::create`]) is a few copies: no system call, no
//! allocation, warm pages.
//!
//! Invariant: every [`ExecutionContext`] that is not an adopted thread has a complete block or needs none, and its saved
//! stack pointer is that of a fresh, parked or ended context whenever it does not run.

use core::alloc::Layout;
use core::fmt;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::context::{Context, FRESH_FRAME, ResumePoint};
use crate::env::{Os, OsError};
use crate::pool::StackPool;
use crate::stack::{NativeStack, StackClass, StackRange};
use crate::switch::{Entry, Switcher};
use crate::tls::{ThreadLocals, TlsBlock};

/// Usable bytes that a stack must have besides what lies at its top.
const LEAST_USABLE: usize = 4 << 10;

/// A stack class that has no room for a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackTooSmall {
    /// Bytes that a stack must have.
    pub needed: usize,
    /// Bytes that it has.
    pub have: usize,
}

impl fmt::Display for StackTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a stack of {} bytes cannot hold its guard, the thread-local block, the control area and a frame; at least {} bytes are needed",
            self.have, self.needed
        )
    }
}

impl std::error::Error for StackTooSmall {}

/// What belongs to a context that was made, as opposed to adopted.
#[derive(Debug)]
struct Made {
    stack: NativeStack,
    block: Option<TlsBlock>,
    /// Of the pool that made it.
    pool: u64,
}

/// Something to switch from and to, with all that it needs; or a thread, adopted.
///
/// In memory it starts with its [`Context`], so a pointer to the one is a pointer to the other.
#[repr(C)]
#[derive(Debug)]
#[must_use = "a context that is dropped is never used again; give it back with `ContextPool::retire`"]
pub struct ExecutionContext {
    context: Context,
    range: StackRange,
    made: Option<Made>,
}

const _: () = assert!(core::mem::offset_of!(ExecutionContext, context) == 0);

// SAFETY: stack and block are memory that the value owns; none of it is bound to a thread while the context does not run.
// (An adopted thread's context may be sent, but not entered elsewhere: obligation 5 of `Switcher::switch`.)
unsafe impl Send for ExecutionContext {}

impl ExecutionContext {
    /// The calling thread, on the stack that it has.
    ///
    /// # Errors
    ///
    /// When the libc cannot say where that stack is.
    pub fn adopt_thread() -> std::io::Result<Self> {
        Ok(Self {
            context: Context::adopt_thread(),
            range: StackRange::of_current_thread()?,
            made: None,
        })
    }

    /// What [`Switcher::switch`] takes.
    #[inline]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The same from a pointer, without a reference that would have to live across the switch.
    #[inline]
    pub const fn context_ptr(this: *const Self) -> *const Context {
        this.cast()
    }

    /// All addresses of the stack: guard, frames, control area, thread-local block. Of an adopted thread: what the libc calls
    /// its stack, which on glibc includes the thread's block unless it is the main thread.
    pub fn stack_range(&self) -> StackRange {
        self.range
    }

    /// Everything that the context may still use lies at or above this address, while it does not run.
    #[inline]
    pub fn saved_sp(&self) -> *mut u8 {
        self.context.saved_sp()
    }

    /// Where the context goes on; `None` if it was never switched away from.
    ///
    /// # Safety
    ///
    /// 1. As for [`Context::resume_point`], but that it may never have been switched away from.
    pub unsafe fn resume_point(&self) -> Option<ResumePoint> {
        // SAFETY: the obligation; a saved stack pointer that is not null is one.
        (!self.saved_sp().is_null()).then(|| unsafe { self.context.resume_point() })
    }

    /// Whether this is a thread rather than a context that was made.
    pub fn is_adopted(&self) -> bool {
        self.made.is_none()
    }
}

/// The next pool's number, by which a context is known to be its own.
static NEXT_POOL: AtomicU64 = AtomicU64::new(0);

/// Makes contexts of one stack size, and keeps those that have ended for the next. Whoever makes and ends many keeps a
/// [`ContextCache`](crate::cache::ContextCache), which takes no lock.
pub struct ContextPool<O: Os> {
    number: u64,
    stacks: StackPool<O>,
    thread_locals: ThreadLocals,
    /// From the top of the stack down to the control area, which is also where frames start.
    start: usize,
    idle: Mutex<Idle>,
}

/// What the lock protects.
struct Idle {
    contexts: Vec<ExecutionContext>,
    /// How many were made; the capacity of `contexts` covers them, so that retiring never allocates.
    made: usize,
}

impl<O: Os> ContextPool<O> {
    /// An empty pool. `control` is the layout of a piece of memory for the embedder in each context.
    ///
    /// # Errors
    ///
    /// If a stack of that class has no room for it all.
    pub fn new(
        os: O,
        class: StackClass,
        thread_locals: ThreadLocals,
        control: Layout,
    ) -> Result<Self, StackTooSmall> {
        let block = thread_locals
            .layout()
            .map_or(0, |layout| layout.block_bytes());
        // Stacks are aligned to pages, and so is their top; distances from it are aligned as addresses are.
        let align = control.align().max(16);
        let start = (block + control.size()).next_multiple_of(align);
        let needed = class.guard_bytes() + start + FRESH_FRAME + LEAST_USABLE;
        if needed > class.bytes() || align > crate::env::PAGE {
            return Err(StackTooSmall {
                needed,
                have: class.bytes(),
            });
        }
        Ok(Self {
            number: NEXT_POOL.fetch_add(1, Ordering::Relaxed),
            stacks: StackPool::new(os, class),
            thread_locals,
            start,
            idle: Mutex::new(Idle {
                contexts: Vec::new(),
                made: 0,
            }),
        })
    }

    /// The operating system as this pool sees it.
    pub fn os(&self) -> &O {
        self.stacks.os()
    }

    /// Whose thread-locals these contexts have.
    pub fn thread_locals(&self) -> &ThreadLocals {
        &self.thread_locals
    }

    /// The switch for these contexts.
    #[inline]
    pub fn switcher(&self) -> Switcher {
        self.thread_locals.switcher()
    }

    /// Bytes that the frames of a context may take.
    pub fn usable_bytes(&self) -> usize {
        let class = self.stacks.class();
        class.bytes() - class.guard_bytes() - self.start
    }

    /// The stack that `addr` lies in; async-signal-safe. See [`StackPool::find`].
    #[inline]
    pub fn find(&self, addr: usize) -> Option<StackRange> {
        self.stacks.find(addr)
    }

    /// A context that has ended, or a new one if there is none. It must be [`rearm`](Self::rearm)ed before it is entered, and what its entry
    /// is to find in the [`control_area`](Self::control_area) written before that.
    ///
    /// # Errors
    ///
    /// When the operating system or the libc refuses memory for a new one.
    pub fn take(&self) -> Result<ExecutionContext, OsError> {
        let idle = self.lock().contexts.pop();
        match idle {
            Some(context) => Ok(context),
            None => self.make(),
        }
    }

    /// A fresh context, one that has ended before if there is any: the next switch to it calls `entry(arg)`.
    ///
    /// # Errors
    ///
    /// When the operating system or the libc refuses memory for a new one.
    ///
    /// # Safety
    ///
    /// 1. `entry(arg)` may be called, once, on whichever thread switches to the context.
    /// 2. The successor that it returns meets obligations 2 to 5 of [`Switcher::switch`].
    pub unsafe fn create(&self, entry: Entry, arg: *mut ()) -> Result<ExecutionContext, OsError> {
        let mut context = self.take()?;
        // SAFETY: the context is new or was retired, so it has ended; the caller's obligations for the entry.
        unsafe { self.rearm(&mut context, entry, arg) };
        Ok(context)
    }

    /// Makes a context that has ended fresh again, for another entry. Its thread-locals have their initial values again.
    ///
    /// # Panics
    ///
    /// If the context is an adopted thread.
    ///
    /// # Safety
    ///
    /// 1. The context is of this pool and does not run: it is new, or its successor has begun to run.
    /// 2. Nothing on its stack is needed any more, and nobody refers to its thread-locals.
    /// 3. As for [`create`](Self::create).
    #[inline]
    pub unsafe fn rearm(&self, context: &mut ExecutionContext, entry: Entry, arg: *mut ()) {
        let made = context
            .made
            .as_ref()
            .expect("an adopted thread cannot be armed");
        if let (Some(layout), Some(block)) = (self.thread_locals.layout(), &made.block) {
            // SAFETY: obligations 1 and 2.
            unsafe { block.reset(layout) };
        }
        let start = made.stack.top().as_ptr().wrapping_sub(self.start);
        // SAFETY: obligation 1; `new` has seen that there is room below `start`, and made it a multiple of 16.
        unsafe {
            context
                .context
                .write_fresh_frame(self.switcher(), start, entry, arg)
        };
    }

    /// Does in the running context what ends a thread: runs the destructors of its thread-locals. Nothing if they are shared,
    /// since then they are the thread's.
    ///
    /// # Safety
    ///
    /// 1. A context of this pool runs here.
    /// 2. Its entry returns next, and uses no thread-locals with destructors until then.
    pub unsafe fn finish(&self) {
        if let Some(layout) = self.thread_locals.layout() {
            // SAFETY: the obligations.
            unsafe { layout.finish_current() };
        }
    }

    /// Keeps a context that has ended for a later [`create`](Self::create). An adopted thread is let go.
    ///
    /// # Panics
    ///
    /// If the context is of another pool.
    ///
    /// # Safety
    ///
    /// 1. As obligations 1 and 2 of [`rearm`](Self::rearm).
    pub unsafe fn retire(&self, context: ExecutionContext) {
        // SAFETY: the caller's obligations.
        unsafe { self.retire_many(core::iter::once(context)) };
    }

    /// Moves up to `most` contexts that have ended to the end of `into`, under one taking of the lock: a refill for a private
    /// cache. Each must be [`rearm`](Self::rearm)ed before it is entered.
    pub fn take_idle(&self, most: usize, into: &mut Vec<ExecutionContext>) {
        let mut idle = self.lock();
        let left = idle.contexts.len().saturating_sub(most);
        into.extend(idle.contexts.drain(left..));
    }

    /// Keeps many contexts, under one taking of the lock: what a private cache has too many of.
    ///
    /// # Panics
    ///
    /// If a context is of another pool.
    ///
    /// # Safety
    ///
    /// 1. As [`retire`](Self::retire), for each.
    pub unsafe fn retire_many(&self, contexts: impl IntoIterator<Item = ExecutionContext>) {
        let mut idle = self.lock();
        for context in contexts.into_iter().filter(|context| !context.is_adopted()) {
            self.check(&context);
            idle.contexts.push(context);
        }
    }

    /// Gives the physical pages back that lie below the saved stack pointer of a context: what a goroutine that waits for long
    /// once used and will need again only if it calls as deep. Returns the bytes.
    ///
    /// # Errors
    ///
    /// When the operating system refuses; nothing that is in use is lost.
    ///
    /// # Safety
    ///
    /// 1. The context is of this pool, does not run, and is not entered during the call.
    pub unsafe fn release_unused(&self, context: &ExecutionContext) -> Result<usize, OsError> {
        let Some(made) = &context.made else {
            return Ok(0);
        };
        let keep_from = context.saved_sp() as usize;
        self.stacks.release(&made.stack, keep_from)
    }

    /// Gives back the pages below the first frame of every idle context, and returns the bytes of address space that this
    /// covered.
    ///
    /// # Errors
    ///
    /// When the operating system refuses; the contexts stay usable.
    pub fn trim(&self) -> Result<usize, OsError> {
        let idle = self.lock();
        let mut bytes = 0;
        for made in idle
            .contexts
            .iter()
            .filter_map(|context| context.made.as_ref())
        {
            let start = made
                .stack
                .top()
                .as_ptr()
                .wrapping_sub(self.start + FRESH_FRAME);
            bytes += self.stacks.release(&made.stack, start as usize)?;
        }
        Ok(bytes)
    }

    /// The embedder's piece of a context, aligned as it asked for; `None` for an adopted thread. It is zero when the context
    /// is new, and keeps what is written until it is written again.
    pub fn control_area(&self, context: &ExecutionContext) -> Option<NonNull<u8>> {
        let made = context.made.as_ref()?;
        NonNull::new(made.stack.top().as_ptr().wrapping_sub(self.start))
    }

    /// # Panics
    ///
    /// If the context is of another pool.
    #[inline]
    pub(crate) fn check(&self, context: &ExecutionContext) {
        let number = context.made.as_ref().map(|made| made.pool);
        assert_eq!(
            number,
            Some(self.number),
            "a context was given to a pool that is not its own"
        );
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self) -> Result<ExecutionContext, OsError> {
        {
            let mut idle = self.lock();
            let missing = idle.made + 1 - idle.contexts.len();
            idle.contexts.try_reserve(missing).map_err(|_| OsError {
                operation: "keep account of another context",
                errno: libc::ENOMEM,
                advice: "the process is out of memory",
            })?;
            idle.made += 1;
        }
        let made = self.stacks.take().and_then(|stack| {
            let Some(layout) = self.thread_locals.layout() else {
                return Ok(Made {
                    stack,
                    block: None,
                    pool: self.number,
                });
            };
            // SAFETY: the stack is owned and `new` has seen that a block has room at its top.
            match unsafe { TlsBlock::build(layout, stack.top()) } {
                Ok(block) => Ok(Made {
                    stack,
                    block: Some(block),
                    pool: self.number,
                }),
                Err(refusal) => {
                    self.stacks.put(stack);
                    Err(refusal)
                }
            }
        });
        let made = made.inspect_err(|_| self.lock().made -= 1)?;
        let thread_pointer = made
            .block
            .as_ref()
            .map_or(null_mut(), TlsBlock::thread_pointer);
        Ok(ExecutionContext {
            context: Context::new(null_mut(), thread_pointer),
            range: made.stack.range(),
            made: Some(made),
        })
    }
}

impl<O: Os> Drop for ContextPool<O> {
    /// Takes the idle contexts apart. Contexts that are out keep the pool's memory mapped.
    fn drop(&mut self) {
        let contexts = core::mem::take(&mut self.lock().contexts);
        for made in contexts.into_iter().filter_map(|context| context.made) {
            if let (Some(layout), Some(block)) = (self.thread_locals.layout(), made.block) {
                // SAFETY: an idle context has ended and is not used again.
                unsafe { block.destroy(layout) };
            }
            self.stacks.put(made.stack);
        }
    }
}
