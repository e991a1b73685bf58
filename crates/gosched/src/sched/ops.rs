//! The table through which channels, locks and descriptors reach the scheduler of a goroutine.

use std::marker::PhantomData;

use crate::env::Env;
use crate::gmp::g::{GRef, Ops};
use crate::sched::goroutine::Goroutine;

/// The table of one environment.
pub(crate) struct OpsOf<V>(PhantomData<V>);

impl<V: Env> OpsOf<V> {
    pub(crate) const TABLE: &'static Ops = &Ops {
        park: park::<V>,
        make_runnable: make_runnable::<V>,
        yield_now: yield_now::<V>,
        release_p: release_p::<V>,
        reacquire_p: reacquire_p::<V>,
    };
}

unsafe fn park<V: Env>(g: GRef) {
    // SAFETY: a goroutine made with this table is of environment `V`; the rest is the caller's.
    unsafe {
        let g = Goroutine::<V>::of(g);
        g.sched.park(g);
    }
}

unsafe fn make_runnable<V: Env>(g: GRef) {
    // SAFETY: as in `park`.
    unsafe { Goroutine::<V>::of(g).sched.make_runnable(g) }
}

unsafe fn yield_now<V: Env>(g: GRef) {
    // SAFETY: as in `park`.
    unsafe {
        let g = Goroutine::<V>::of(g);
        g.sched.yield_now(g);
    }
}

unsafe fn release_p<V: Env>(g: GRef) {
    // SAFETY: as in `park`.
    unsafe {
        let g = Goroutine::<V>::of(g);
        g.sched.release_p(g);
    }
}

unsafe fn reacquire_p<V: Env>(g: GRef) {
    // SAFETY: as in `park`.
    unsafe {
        let g = Goroutine::<V>::of(g);
        g.sched.reacquire_p(g);
    }
}
