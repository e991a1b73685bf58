//! What an execution context knows of itself: three words in its thread-locals.
//!
//! To the compiler a goroutine is a thread, so `thread_local!` is the goroutine's own when the
//! engine gives each context its own thread-locals
//! ([`ThreadLocals::PerContext`](crate::env::ThreadLocals)). When it does not, these words belong
//! to the OS thread and change hands at each switch; then an address computed before a switch is
//! wrong after it. So the address is taken by [`here`], which is never inlined, and a pointer got
//! from it is never kept across a switch. That is the whole rule, and it makes both kinds of engine
//! right.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::AtomicBool;

/// The words. `active` and `pending` are written by a signal handler on the same thread, hence
/// atomics; they are never touched by another thread, hence `Relaxed` and compiler fences suffice.
pub(crate) struct Here {
    /// The goroutine that runs here (a `gmp::g::Header`); null on a plain thread and on an M's own
    /// stack.
    pub(crate) current: Cell<*const ()>,
    /// Inside a critical section; see [`crate::critical`].
    pub(crate) active: AtomicBool,
    /// A stop was asked for inside a critical section.
    pub(crate) pending: AtomicBool,
}

thread_local! {
    static HERE: Here = const {
        Here {
            current: Cell::new(ptr::null()),
            active: AtomicBool::new(false),
            pending: AtomicBool::new(false),
        }
    };
}

/// The words of the context that calls. Valid until that context is next switched out.
#[inline(never)]
pub(crate) fn here() -> *const Here {
    let here: *const Here = HERE.with(ptr::from_ref);
    // Not being inlined is not enough: a function that only returns an address is found to have no
    // effects, and then two calls are merged into one, even over a switch. What this statement
    // might do keeps them apart.
    #[cfg(not(miri))]
    // SAFETY: it has no instructions.
    unsafe {
        std::arch::asm!("/* {0} */", in(reg) here, options(nostack, preserves_flags));
    }
    here
}
