//! Critical sections: the stretches of code in which the thread must not be stopped.
//!
//! A collector stops threads by a signal. A thread stopped while it holds a lock of the scheduler
//! could make the collector wait for ever, so every lock of this crate is held, and every P is
//! touched, only inside a critical section, and the signal's handler leaves such a thread alone:
//!
//! ```text
//! handler, on the thread itself:   if is_active() { request_stop(); return }   // stops at the section's end
//!                                  otherwise stop here
//! end of a section:                active = false; if pending { stop hook }
//! ```
//!
//! Invariant: **a thread that is stopped holds no lock of this crate and is not changing any of its
//! structures.** Blocking system calls (an idle M's futex, `epoll_wait`) are made outside of
//! sections, so sleeping threads can be stopped. Waiting for a lock inside a section is allowed:
//! its holder is in a section too, hence running.
//!
//! Code in a section may allocate. So if stopped threads are to hold nothing that it waits for, the
//! allocator must not let itself be stopped in the middle either. It does not create threads:
//! what libc locks for that a stopped thread may hold.
//!
//! Entering costs one store, leaving one store and one test. The words are those of the context
//! (`here.rs`), so plain threads use them as well.
//!
//! A section stays active over a context switch: each side left its own words active, and the
//! context switched to ends the section. A stop that was asked of the context being left concerns
//! the *thread*, which goes on as another context; the first act after a switch therefore carries
//! `pending` over.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, Ordering, compiler_fence};

use crate::here::{Here, here};

static STOP_HOOK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Registers what a section calls at its end when a stop was requested inside it.
///
/// The hook runs on the thread in question, outside the section; it may block for as long as the
/// world is stopped. It may also be called when nobody wants a stop any more, and must then return.
/// One hook per process; the last registered wins.
pub fn set_stop_hook(hook: fn()) {
    STOP_HOOK.store(hook as *mut (), Ordering::Release);
}

/// Whether the calling thread is inside a critical section. Async-signal-safe.
#[inline]
pub fn is_active() -> bool {
    // SAFETY: `here()` points to live thread-locals of the calling context.
    unsafe { (*here()).active.load(Ordering::Relaxed) }
}

/// Asks the calling thread to call the stop hook when its critical section ends. Async-signal-safe;
/// meant for the signal handler that found [`is_active`].
pub fn request_stop() {
    // SAFETY: as in `is_active`.
    unsafe { (*here()).pending.store(true, Ordering::Relaxed) }
}

/// A critical section of the calling context, from [`enter`] until drop. Sections nest.
///
/// It is also the witness that the scheduler's locks ask for.
#[must_use]
pub struct Section {
    here: *const Here,
    outer: bool,
    /// The words belong to the context that entered.
    _not_send: PhantomData<*const ()>,
}

/// Enters a critical section.
#[inline]
pub fn enter() -> Section {
    let here = here();
    // SAFETY: `here` points to this context's live thread-locals.
    let active = unsafe { &(*here).active };
    let outer = active.load(Ordering::Relaxed);
    active.store(true, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    Section {
        here,
        outer,
        _not_send: PhantomData,
    }
}

impl Section {
    /// The words of the context that entered.
    #[inline]
    pub(crate) fn here(&self) -> *const Here {
        self.here
    }
}

impl Drop for Section {
    #[inline]
    fn drop(&mut self) {
        if !self.outer {
            // SAFETY: a section does not live across a switch, so the words are still this
            // context's.
            unsafe { end(self.here) }
        }
    }
}

/// A witness for code that runs inside a section opened by [`begin`].
///
/// # Safety
/// 1. The calling context is inside a section and stays there for as long as the witness lives.
/// 2. `here` is what [`here()`] returns in that context.
#[inline]
pub(crate) unsafe fn assume_inside(here: *const Here) -> Section {
    debug_assert!(is_active());
    Section {
        here,
        outer: true,
        _not_send: PhantomData,
    }
}

/// Opens a section that some later [`end`] closes, possibly in another context. Returns the words of this one.
#[inline]
pub(crate) fn begin() -> *const Here {
    let here = here();
    // SAFETY: `here` points to this context's live thread-locals.
    unsafe { (*here).active.store(true, Ordering::Relaxed) };
    compiler_fence(Ordering::SeqCst);
    here
}

/// Ends the outermost section.
///
/// # Safety
/// 1. `here` is what [`here()`] returns now.
/// 2. No lock of this crate is held by the calling context.
#[inline]
pub(crate) unsafe fn end(here: *const Here) {
    // SAFETY: obligation 1.
    let here = unsafe { &*here };
    compiler_fence(Ordering::SeqCst);
    here.active.store(false, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    if here.pending.load(Ordering::Relaxed) {
        stop(here);
    }
}

/// Runs `f`, which blocks, outside the section that the caller is in.
///
/// # Safety
/// 1. The caller is in a section opened by [`begin`] and holds no lock of this crate.
/// 2. `f` does not switch contexts.
pub(crate) unsafe fn suspended<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: obligation 1.
    unsafe { end(here()) };
    let result = f();
    begin();
    result
}

#[cold]
#[inline(never)]
fn stop(here: &Here) {
    here.pending.store(false, Ordering::Relaxed);
    let hook = STOP_HOOK.load(Ordering::Acquire);
    if !hook.is_null() {
        // SAFETY: only `set_stop_hook` writes the word, from a `fn()`.
        let hook: fn() = unsafe { std::mem::transmute(hook) };
        hook();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! { static STOPS: Cell<u32> = const { Cell::new(0) }; }

    #[test]
    fn a_stop_waits_for_the_end_of_the_outermost_section() {
        set_stop_hook(|| STOPS.with(|s| s.set(s.get() + 1)));
        let stops = || STOPS.with(Cell::get);
        assert!(!is_active());
        let outer = enter();
        let inner = enter();
        assert!(is_active());
        request_stop();
        drop(inner);
        assert_eq!((is_active(), stops()), (true, 0));
        drop(outer);
        assert_eq!((is_active(), stops()), (false, 1));
        drop(enter());
        assert_eq!(stops(), 1, "one request, one stop");
    }
}
