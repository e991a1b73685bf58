//! The schedulers of all simulations there ever were, for the collector, which has to find their goroutines.
//!
//! Invariant: the list only grows, and no node of it is freed, so that it can be walked while the world is stopped. (On the engine of threads,
//! goroutines are found as the threads that they are.)

use super::env::GoEnv;
use gosched::Scheduler;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

struct Made {
    scheduler: &'static Scheduler<GoEnv>,
    next: AtomicPtr<Made>,
}

static MADE: AtomicPtr<Made> = AtomicPtr::new(ptr::null_mut());

pub(crate) fn add(scheduler: &'static Scheduler<GoEnv>) {
    let node = Box::leak(Box::new(Made {
        scheduler,
        next: AtomicPtr::new(ptr::null_mut()),
    }));
    let mut first = MADE.load(Ordering::Acquire);
    loop {
        node.next.store(first, Ordering::Relaxed);
        match MADE.compare_exchange(first, node, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(now) => first = now,
        }
    }
}

/// All of them. Takes no lock.
pub(crate) fn schedulers() -> impl Iterator<Item = &'static Scheduler<GoEnv>> {
    let load = |at: &AtomicPtr<Made>| {
        // SAFETY: null or a node, which is never freed.
        unsafe { at.load(Ordering::Acquire).as_ref() }
    };
    std::iter::successors(load(&MADE), move |node| load(&node.next)).map(|node| node.scheduler)
}
