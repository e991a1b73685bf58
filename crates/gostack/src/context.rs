//! A context that does not run: a stack pointer and a thread pointer.
//!
//! What a context needs besides those two words lies on its own stack, below the stack pointer, in one fixed shape (`Saved`), whether
//! it is parked or was never started:
//!
//! ```text
//!   higher addresses
//!   ┌────────────────────────┐
//!   │ frames of the program  │   fresh: what the entry trampoline needs (`Start`), and that is all
//!   ├────────────────────────┤ ◄─ `sp`, to be resumed with
//!   │ rbp                    │   fresh: 0, where frame-pointer walkers end
//!   │ rbx                    │   fresh: 0
//!   │ address to resume at   │   fresh: the entry trampoline
//!   └────────────────────────┘ ◄─ `saved_sp`, the lowest address that is live
//! ```
//!
//! Every other register is saved by the compiler around the switch where it is in use.
//!
//! Invariant: `sp` is meaningful exactly while the context does not run; whoever switches away from a context
//! writes it, and whoever switches to it must have seen that write.

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ptr::{NonNull, null_mut};

/// The words below the stack pointer of a context that does not run, lowest first.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Saved {
    pub(crate) resume_at: usize,
    pub(crate) rbx: usize,
    pub(crate) rbp: usize,
}

/// What the trampoline of a fresh context finds at its stack pointer, lowest first. It stays there for the context's life.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// The entry function.
    pub(crate) entry: usize,
    /// Its argument.
    pub(crate) arg: usize,
    /// How to go on to the successor that it returns.
    pub(crate) resume: usize,
    /// `uselocale`, or 0 if the thread-locals are shared.
    pub(crate) prepare: usize,
}

/// Bytes that a fresh context's frame takes off its stack. The trampoline needs `Start` to lie at a multiple of 16.
pub(crate) const FRESH_FRAME: usize = size_of::<Saved>() + size_of::<Start>();
const _: () = assert!(size_of::<Start>().is_multiple_of(16));

/// Where a parked context will go on, for printing its stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumePoint {
    /// The next instruction.
    pub instruction: usize,
    /// The stack pointer there.
    pub stack: usize,
    /// The frame pointer there, if the program was compiled with frame pointers.
    pub frame: usize,
}

/// A place to switch from and to. See [`Switcher`](crate::switch::Switcher).
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    pub(crate) sp: UnsafeCell<*mut u8>,
    /// Null where thread-locals are shared: the switch leaves the thread pointer alone.
    pub(crate) thread_pointer: *mut u8,
}

// SAFETY: `sp` is accessed only by a switch, and the obligations of `Switcher::switch` order those accesses;
// `thread_pointer` never changes.
unsafe impl Sync for Context {}
// SAFETY: a context is a pair of addresses; it is bound to no thread while it does not run.
unsafe impl Send for Context {}

impl Context {
    pub(crate) const fn new(sp: *mut u8, thread_pointer: *mut u8) -> Self {
        Self {
            sp: UnsafeCell::new(sp),
            thread_pointer,
        }
    }

    /// A context for the calling thread on the stack and the thread-locals that the operating system gave it.
    ///
    /// It becomes something to switch to when the thread switches away from it, and only this thread may go
    /// on with it: its stack and its thread-locals end with the thread.
    pub fn adopt_thread() -> Self {
        Self::new(null_mut(), thread_pointer())
    }

    /// The lowest live address while the context does not run: everything that it may still use lies at and above it.
    ///
    /// Null before the first switch away from an adopted thread; out of date while the context runs.
    #[inline]
    pub fn saved_sp(&self) -> *mut u8 {
        // SAFETY: a word-sized read of a field that only a switch writes; a reader racing with one gets the word
        // before or after, and this method promises nothing while the context runs.
        let sp = unsafe { self.sp.get().read_volatile() };
        if sp.is_null() {
            sp
        } else {
            sp.wrapping_sub(size_of::<Saved>())
        }
    }

    /// As [`saved_sp`](Self::saved_sp), of a place where a context is kept at times, for who cannot know whether one is there at the moment: then it may be any number.
    ///
    /// # Safety
    ///
    /// 1. The memory at `this` is readable.
    #[inline]
    pub unsafe fn saved_sp_at(this: *const Self) -> usize {
        let place = this.cast::<u8>().wrapping_add(offset_of!(Self, sp));
        let sp: usize;
        // SAFETY: reads a word of memory that is readable. To the compiler the instruction is opaque: it claims nothing about what is there, nor about who writes
        // it meanwhile; an aligned word is not torn on x86-64.
        unsafe {
            core::arch::asm!("mov {}, [{}]", out(reg) sp, in(reg) place, options(nostack, preserves_flags, readonly));
        }
        sp.wrapping_sub(size_of::<Saved>())
    }

    /// The thread-local at `offset`, as [`TlsLayout::offset_of`](crate::tls::TlsLayout::offset_of) gives it, *in this
    /// context*, which need not be the running one; `None` if the context shares its thread's thread-locals.
    ///
    /// The pointer is valid as long as the context's stack is; reading or writing through it is for the caller
    /// to order with the context's own accesses.
    #[inline]
    pub fn local(&self, offset: TlsOffset) -> Option<NonNull<u8>> {
        NonNull::new(self.thread_pointer).map(|base| {
            let address = base.as_ptr().wrapping_offset(offset.0);
            // SAFETY: an offset of a static thread-local keeps the address inside the block, which is not at zero.
            unsafe { NonNull::new_unchecked(address) }
        })
    }

    /// The thread pointer of this context, null if it shares its thread's.
    #[inline]
    pub const fn thread_pointer(&self) -> *mut u8 {
        self.thread_pointer
    }

    /// Where the context will go on.
    ///
    /// # Safety
    ///
    /// 1. The context does not run, and will not run during the call.
    /// 2. It has been switched away from, or is fresh, so that it has a saved stack pointer.
    pub unsafe fn resume_point(&self) -> ResumePoint {
        let sp = self.saved_sp();
        // SAFETY: by the obligations these are the words that a switch or `write_fresh_frame` left there.
        let saved = unsafe { sp.cast::<Saved>().read() };
        ResumePoint {
            instruction: saved.resume_at,
            stack: sp as usize + size_of::<Saved>(),
            frame: saved.rbp,
        }
    }
}

/// Distance of a static thread-local from the thread pointer; the same in every context and thread of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsOffset(pub(crate) isize);

/// The thread pointer of whatever runs here: on x86-64 the word at `fs:0` holds its own address (psABI, 3.4.2).
#[inline]
pub fn thread_pointer() -> *mut u8 {
    let own: *mut u8;
    // SAFETY: the ABI requires the word at fs:0 to be readable. Not `pure`: what it says depends on the context, though
    // within one context it never changes.
    unsafe {
        core::arch::asm!("mov {}, fs:[0]", out(reg) own, options(nostack, preserves_flags, readonly));
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_its_own_pointer() {
        let mine = thread_pointer() as usize;
        let other = std::thread::spawn(|| thread_pointer() as usize)
            .join()
            .unwrap();
        assert_ne!(mine, other);
        assert_eq!(mine, Context::adopt_thread().thread_pointer() as usize);
    }

    #[test]
    fn a_saved_stack_pointer_is_read_from_its_place() {
        let context = Context::new(core::ptr::without_provenance_mut(4096), null_mut());
        // SAFETY: a context.
        let at = unsafe { Context::saved_sp_at(&context) };
        assert_eq!(at, context.saved_sp() as usize);
    }
}
