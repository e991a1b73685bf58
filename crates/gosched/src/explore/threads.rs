//! Goroutines that are threads of the exploration, with no scheduler: parking and readying are the status word's protocol and a futex.
//!
//! For models of what goroutines wait with. A goroutine's header stays alive, as it does in a scheduler.

use crate::atomic::{AtomicU32, Ordering, thread};
use crate::critical::Section;
use crate::gmp::g::{GRef, Header, Ops, RUNNING};
use crate::gmp::m::M;
use crate::here::here;
use crate::sys;
use std::ptr;

/// `header` comes first, so that a pointer to one is a pointer to the other.
#[repr(C)]
struct Goroutine {
    header: Header,
    /// 1: go on.
    runnable: AtomicU32,
}

static OPS: Ops = Ops {
    park,
    make_runnable,
    yield_now: |_| unreachable!(),
    release_p: |_| unreachable!(),
    reacquire_p: |_| unreachable!(),
    simulated: None,
};

/// Starts `f` as a goroutine.
pub(super) fn go(f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let g: &'static Goroutine = Box::leak(Box::new(Goroutine {
            header: Header::new(&OPS, ptr::null()),
            runnable: AtomicU32::new(0),
        }));
        g.header.status.store(RUNNING, Ordering::Relaxed);
        g.header.set_m(Box::leak(Box::new(M::new(0))));
        // SAFETY: these are the thread's own words.
        unsafe { (*here()).current.set(ptr::from_ref(g).cast()) };
        f();
        // SAFETY: as above.
        unsafe { (*here()).current.set(ptr::null()) };
    })
}

/// The whole of which `g` is the first part.
///
/// # Safety
/// 1. `g` is the header of a goroutine that [`go`] made.
unsafe fn whole(g: GRef) -> &'static Goroutine {
    // SAFETY: obligation 1.
    unsafe { &*ptr::from_ref(g).cast::<Goroutine>() }
}

unsafe fn park(g: GRef) {
    if g.unpark_early() {
        return;
    }
    if !g.context_saved() {
        // SAFETY: the operations are those of such goroutines only.
        let runnable = unsafe { &whole(g).runnable };
        while runnable.swap(0, Ordering::Acquire) == 0 {
            sys::futex_wait(runnable, 0, None);
        }
    }
    g.status.store(RUNNING, Ordering::Relaxed);
}

unsafe fn make_runnable(g: GRef, _: &Section) {
    // SAFETY: as in `park`.
    let runnable = unsafe { &whole(g).runnable };
    runnable.store(1, Ordering::Release);
    sys::futex_wake(runnable, 1);
}
