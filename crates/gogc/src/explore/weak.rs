//! Weak handles beside a whole cycle: read where a stop may come next, and attached while objects are being marked.
//!
//! The collector and the records are the real ones; the world and the ways to explore it are those of [`cycle`](super::cycle).

use std::sync::Arc;

use goexplore::planted;

use super::cycle::{How, LAST, Sim, Step, collect, explore, sim, store};
use crate::atomic::Mutex;
use crate::barrier::BarrierBuffer;
use crate::collector::Collector;
use crate::env::ObjectAddr;
use crate::testing::Shape;

/// One word that is no pointer.
const HANDLE: Shape = Shape {
    pointers: 0,
    data: 1,
    finalizer: false,
};

/// Has both marked if objects are being marked.
fn shade(sim: &Sim<false>, object: usize, other: usize) {
    let mut buffer = BarrierBuffer::new();
    let _ = sim
        .barrier()
        .write(ObjectAddr(object), object, other, || &mut buffer);
    sim.flush_barrier(&mut buffer);
}

/// Gives `object` a handle, which the caller puts where it is found.
fn attach(sim: &Sim<false>, object: usize) -> usize {
    let handle = sim.heap().allocate(HANDLE).unwrap();
    sim.heap().store(handle, 0, object);
    let attached = sim.heap().specials().attach_handle(object, handle);
    if !planted("what gets a handle is not shaded") {
        shade(sim, object, attached);
    }
    attached
}

/// The target of a handle is there, or the handle is empty.
fn assert_valid(sim: &Sim<false>, handle: usize) {
    assert!(
        sim.heap().objects().contains(&handle),
        "the handle was freed too early"
    );
    let target = sim.heap().load(handle, 0);
    assert!(
        target == 0 || sim.heap().objects().contains(&target),
        "a handle leads to what was freed"
    );
}

/// A mutator reads the handle of an object that nothing else leads to, and has what it finds be the end of the list. Invariants: what it finds stays alive;
/// in the end the handle tells the truth.
fn upgrade(how: How) {
    let (sim, [_, second, third]) = sim::<false>();
    sim.heap().store(second, 0, 0);
    sim.world().set(1, attach(&sim, third));
    let seen = Arc::new(Mutex::new(0));
    let with = |f: fn(&Sim<false>, &mut usize, usize)| -> Step {
        let (sim, seen) = (Arc::downgrade(&sim), seen.clone());
        Box::new(move || f(&sim.upgrade().unwrap(), &mut seen.lock().unwrap(), second))
    };
    fn read(sim: &Sim<false>, seen: &mut usize, _: usize) {
        *seen = sim.heap().load(sim.world().get(1), 0);
        shade(sim, *seen, 0);
    }
    fn keep(sim: &Sim<false>, seen: &mut usize, _: usize) {
        sim.world().set(0, *seen);
    }
    let mut steps = if planted("the target is kept in another section than it was read in") {
        vec![with(read), with(keep)]
    } else {
        vec![with(|sim, seen, at| {
            read(sim, seen, at);
            keep(sim, seen, at);
        })]
    };
    steps.push(with(|sim, _, second| {
        store(sim, second, sim.world().get(0));
        sim.world().set(0, 0);
    }));
    collect(&sim, how, steps);
    let handle = sim.world().get(1);
    assert_valid(&sim, handle);
    let (seen, last) = (*seen.lock().unwrap(), sim.heap().load(second, 0));
    assert!(seen == 0 || last == third, "the list was not put together");
    assert_eq!(sim.heap().load(handle, 0), seen, "there, and not there");
}

#[test]
fn explore_an_upgrade() {
    let plants = ["the target is kept in another section than it was read in"];
    explore("gogc: a weak handle is read", upgrade, &plants);
}

/// A mutator moves an object from a root to one that was scanned before, gives it a handle, and lets go of it.
fn attach_late(how: How) {
    let (sim, [_, second, third]) = sim::<false>();
    sim.heap().store(second, 0, 0);
    sim.world().set(1, third);
    let with = |f: fn(&Sim<false>)| -> Step {
        let sim = Arc::downgrade(&sim);
        Box::new(move || f(&sim.upgrade().unwrap()))
    };
    let steps = vec![
        with(|sim| {
            sim.world().set(0, sim.world().get(1));
            sim.world().set(1, 0);
        }),
        with(|sim| sim.world().set(1, attach(sim, sim.world().get(0)))),
        with(|sim| sim.world().set(0, 0)),
    ];
    collect(&sim, how, steps);
    let handle = sim.world().get(1);
    assert_valid(&sim, handle);
    sim.world().set(LAST, 0);
    collect(&sim, how, Vec::new());
    assert_valid(&sim, handle);
    assert_eq!(
        sim.heap().load(handle, 0),
        0,
        "nothing leads there any more"
    );
    assert_eq!(sim.heap().objects().len(), 1);
}

#[test]
fn explore_a_late_handle() {
    let plants = ["what gets a handle is not shaded"];
    explore("gogc: a weak handle is attached", attach_late, &plants);
}
