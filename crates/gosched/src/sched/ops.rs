//! The table through which channels, locks and descriptors reach the scheduler of a goroutine.

use std::any::TypeId;
use std::marker::PhantomData;

use crate::critical::Section;
use crate::env::Env;
use crate::gmp::g::{GRef, Ops, Simulated};
use crate::sched::goroutine::Goroutine;
use crate::sched::simulate::Simulation;

/// The table of one environment.
pub(crate) struct OpsOf<V>(PhantomData<V>);

impl<V: Env> OpsOf<V> {
    pub(crate) const TABLE: &'static Ops = &Ops {
        park: park::<V>,
        make_runnable: make_runnable::<V>,
        yield_now: yield_now::<V>,
        release_p: release_p::<V>,
        reacquire_p: reacquire_p::<V>,
        simulated: None,
    };

    /// That of its simulations.
    pub(crate) const SIMULATED: &'static Ops = &Ops {
        release_p: |_| {},
        reacquire_p: |_| {},
        simulated: Some(Simulated {
            point: |g| {
                let (g, simulation) = simulation_of::<V>(g);
                // SAFETY: `g` is the caller, outside of critical sections.
                unsafe { g.sched.simulate_yield(simulation, g, true) }
            },
            wait: |g| {
                let (whole, simulation) = simulation_of::<V>(g);
                // SAFETY: as above.
                unsafe { whole.sched.simulate_wait(simulation, g) }
            },
            now: |g| simulation_of::<V>(g).1.now(),
            instant: |g| simulation_of::<V>(g).1.instant(),
            env: TypeId::of::<V>,
        }),
        ..*Self::TABLE
    };
}

fn simulation_of<V: Env>(g: GRef) -> (&'static Goroutine<V>, &'static Simulation) {
    // SAFETY: a goroutine made with this table is of environment `V`.
    let g = unsafe { Goroutine::<V>::of(g) };
    let simulation = g.sched.simulation();
    (g, simulation.expect("the table is that of simulations"))
}

unsafe fn park<V: Env>(g: GRef) {
    // SAFETY: a goroutine made with this table is of environment `V`; the rest is the caller's.
    unsafe {
        let g = Goroutine::<V>::of(g);
        g.sched.park(g);
    }
}

unsafe fn make_runnable<V: Env>(g: GRef, inside: &Section) {
    // SAFETY: as in `park`.
    unsafe { Goroutine::<V>::of(g).sched.make_runnable(g, inside) }
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
