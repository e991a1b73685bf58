//! Who waits for how long, for whoever wants to know: the source of contention profiles.
//!
//! Everything that blocks, other than on descriptors, is a [`Waiter`](crate::waiter::Waiter), so that is where it is seen. Off, a wait costs a load and a branch more; on, the
//! clock is read before and after.
//!
//! Invariant: the watch is called outside of critical sections, with no lock of this crate held: it may allocate, walk the caller's stack, and wait for anything
//! but what goroutines wait for.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::time::Nanos;

/// What is told.
#[derive(Debug)]
pub struct Watch {
    /// The caller has waited so long. Sleeps are not told.
    pub waited: fn(Nanos),
    /// The caller has let go of a lock (`Mutex`, `RwLock`), and so ended waits for it that took so long together.
    pub released: fn(Nanos),
}

static WATCH: AtomicPtr<Watch> = AtomicPtr::new(ptr::null_mut());

/// Has waits told from now on, or no more. One watch per process; the last one holds.
pub fn watch(watch: Option<&'static Watch>) {
    let watch = watch.map_or(ptr::null(), ptr::from_ref).cast_mut();
    WATCH.store(watch, Ordering::Release);
}

/// Who is told, if anybody.
#[inline]
pub(crate) fn watched() -> Option<&'static Watch> {
    // SAFETY: null, or from the `&'static` given to `watch`, and acquired.
    unsafe { WATCH.load(Ordering::Acquire).as_ref() }
}
