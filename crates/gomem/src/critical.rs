//! Critical sections: where a thread must not be stopped by the collector.
//!
//! A collector stops threads by a signal, which may land anywhere: in the middle of `malloc`, with a lock held and a list half
//! changed. So every piece of code that uses a central list or the heap, or changes a cache by more than one store, runs in a critical section of its thread. (What hits in a
//! list of the cache takes effect by one store, and may be stopped anywhere.) The handler asks
//! [`is_active`]; if so it calls [`request_stop`] and returns, and the end of the section calls the *stop hook* ([`set_stop_hook`]), which may then
//! wait as long as it likes.
//!
//! Invariant: a stopped thread holds no lock of this crate, and the heap is consistent while all threads are stopped.
//!
//! Entering counts up a thread-local word, leaving counts it down and looks at another; a section of the allocator's own shortest paths, which does not nest, stores a flag instead. All are ordinary memory accesses with
//! compiler fences, since the other party, the handler, runs on the same thread.

use crate::atomic::{AtomicPtr, Ordering::*};
use crate::local::{Local, STOP, TRIGGER};
use std::marker::PhantomData;
use std::ptr::null_mut;

static STOP_HOOK: AtomicPtr<()> = AtomicPtr::new(null_mut());
static TRIGGER_HOOK: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// A critical section, which ends when this is dropped. Sections nest. Must be dropped on the thread, or in the goroutine, that entered it.
#[derive(Debug)]
#[must_use = "the section ends when this is dropped"]
pub struct Critical(PhantomData<*mut ()>);

/// Enters a critical section: until it ends this thread is not stopped.
///
/// For an embedder that has to initialise a collected object before the collector can see it. Do little in it, block on
/// nothing but the allocator, and do not switch to another goroutine.
#[inline(always)]
pub fn enter() -> Critical {
    Local::with(Local::enter);
    Critical(PhantomData)
}

/// The section that was entered and then forgotten, to be ended.
///
/// # Safety
/// 1. The calling thread, or the one that it is a copy of, has entered a section and forgotten it, and not resumed it since.
pub(crate) unsafe fn resume() -> Critical {
    Critical(PhantomData)
}

impl Drop for Critical {
    #[inline(always)]
    fn drop(&mut self) {
        if Local::with(Local::exit) {
            serve();
        }
    }
}

/// A section that does not nest in another of its sort: the allocator's own, around its shortest paths.
pub(crate) struct Leaf(PhantomData<*mut ()>);

#[inline(always)]
pub(crate) fn leaf() -> Leaf {
    Local::with(Local::enter_leaf);
    Leaf(PhantomData)
}

impl Drop for Leaf {
    #[inline(always)]
    fn drop(&mut self) {
        if Local::with(Local::exit_leaf) {
            serve();
        }
    }
}

/// Does what is pending, unless in an outer section, at the end of which this is called again.
#[cold]
#[inline(never)]
fn serve() {
    if is_active() {
        return;
    }
    let pending = Local::with(Local::take_pending);
    if pending & STOP != 0 {
        call(&STOP_HOOK);
    }
    if pending & TRIGGER != 0 {
        call(&TRIGGER_HOOK);
    }
}

fn call(hook: &AtomicPtr<()>) {
    let hook = hook.load(Acquire);
    if !hook.is_null() {
        // SAFETY: only `fn()`s are stored in hooks, and function pointers are as wide as data pointers on x86-64.
        unsafe { std::mem::transmute::<*mut (), fn()>(hook)() }
    }
}

/// Is the calling thread in a critical section? Async-signal-safe.
#[inline]
pub fn is_active() -> bool {
    Local::with(Local::is_active)
}

/// Has the calling thread call the stop hook at the end of its outermost critical section. Called in a signal handler on that
/// thread, when [`is_active`]. Async-signal-safe.
///
/// Outside a section it takes effect at the end of the next one.
#[inline]
pub fn request_stop() {
    Local::with(|local| local.request(STOP));
}

/// Sets what is called at the end of a section in which [`request_stop`] was called. It runs on the thread that is to stop, inside whatever called
/// the allocator, so it must not unwind; it may allocate.
pub fn set_stop_hook(hook: fn()) {
    STOP_HOOK.store(hook as *mut (), Release);
}

/// Sets what is called when the heap has reached its trigger ([`Heap::set_trigger`](crate::Heap::set_trigger)). It runs on the allocating thread after the allocation, outside any section; it must not unwind.
pub fn set_trigger_hook(hook: fn()) {
    TRIGGER_HOOK.store(hook as *mut (), Release);
}

/// Has the trigger hook called at the end of the outermost section.
pub(crate) fn request_trigger() {
    Local::with(|local| local.request(TRIGGER));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    static STOPS: AtomicU32 = AtomicU32::new(0);

    #[test]
    fn a_stop_waits_for_the_outermost_section() {
        set_stop_hook(|| {
            assert!(!is_active());
            STOPS.fetch_add(1, SeqCst);
        });
        let outer = enter();
        let inner = enter();
        request_stop();
        drop(inner);
        assert!(is_active());
        assert_eq!(STOPS.load(SeqCst), 0);
        drop(outer);
        assert!(!is_active());
        assert_eq!(STOPS.load(SeqCst), 1);
        drop(enter());
        assert_eq!(STOPS.load(SeqCst), 1);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no signals")]
    fn a_signal_on_this_thread_sees_the_section() {
        static SEEN: AtomicU32 = AtomicU32::new(0);
        extern "C" fn handler(_: i32) {
            SEEN.store(1 + is_active() as u32, SeqCst);
        }
        // SAFETY: the handler only uses thread-locals and atomics.
        unsafe { libc::signal(libc::SIGUSR2, handler as *const () as usize) };
        let raise = || {
            // SAFETY: sends a handled signal to the calling thread.
            unsafe { libc::raise(libc::SIGUSR2) };
            SEEN.load(SeqCst)
        };
        assert_eq!(raise(), 1);
        let section = enter();
        assert_eq!(raise(), 2);
        drop(section);
        assert_eq!(raise(), 1);
    }
}
