//! Reference counting beside mark-sweep: what it frees, and what a stop costs.

use crate::mutator::Mutator;
use crate::point;
use gogc::counting::{Counting, Cycles};
use gogc::testing::{SimHeap, SimWorld};
use gogc::{Collector, Config, MarkSweep, Method, Reason, RootKind};
use std::time::Instant;

pub fn run(tiny: bool) {
    let counting = |objects: usize, cycles| {
        let (heap, world) = (SimHeap::new(4 * objects), SimWorld::new(1));
        Counting::new(heap, world, Config::default(), cycles)
    };
    let marking = |objects: usize| {
        let (heap, world) = (SimHeap::new(4 * objects), SimWorld::new(1));
        let gc = MarkSweep::new(heap, world, Config::default(), Method::StopTheWorld);
        gc.expect("memory for buffers")
    };
    let pairs = if tiny { 10 } else { 1000 };
    for percent in (0..=100).step_by(if tiny { 50 } else { 10 }) {
        let circles = pairs * percent / 100;
        let gc = counting(pairs, Cycles::Leaked);
        let part = freed(&gc, gc.heap(), pairs, circles);
        point("circles", "counting-alone", percent, part);
        let gc = counting(pairs, Cycles::Found);
        let part = freed(&gc, gc.heap(), pairs, circles);
        point(
            "circles",
            "counting,-and-looking-for-circles",
            percent,
            part,
        );
        let gc = marking(pairs);
        let part = freed(&gc, gc.heap(), pairs, circles);
        point("circles", "mark-sweep", percent, part);
    }
    for power in 10..=(if tiny { 11 } else { 18 }) {
        let live = 1 << power;
        // Only circles are looked for in the whole heap, and only when it is at its goal: here it is not.
        let gc = counting(live, Cycles::Leaked);
        let time = stop(&gc, gc.heap(), gc.world(), live);
        point("stops", "counting", live, time);
        let gc = marking(live);
        let time = stop(&gc, gc.heap(), gc.world(), live);
        point("stops", "mark-sweep", live, time);
    }
}

/// Makes pairs of objects of which the first points to the second, some of them in a circle, and drops them. Returns how many percent of the objects a collection frees.
fn freed<C: Collector>(gc: &C, heap: &SimHeap, pairs: usize, circles: usize) -> f64 {
    let mut mutator = Mutator::new(gc, heap);
    for pair in 0..pairs {
        let (second, first) = (mutator.allocate(1), mutator.allocate(1));
        mutator.store(first, 0, second);
        if pair < circles {
            mutator.store(second, 0, first);
        }
    }
    mutator.hand_over();
    let made = heap.objects().len();
    assert!(gc.collect(Reason::Forced).is_ok(), "this world stops");
    let left = heap.objects().len();
    100.0 * (made - left) as f64 / made as f64
}

/// Microseconds of a collection that frees a hundred objects beside so many that live.
fn stop<C: Collector>(gc: &C, heap: &SimHeap, world: &SimWorld, live: usize) -> f64 {
    const RUNS: u32 = 5;
    let mut mutator = Mutator::new(gc, heap);
    let mut head = 0;
    for _ in 0..live {
        let object = mutator.allocate(1);
        if head != 0 {
            mutator.store(object, 0, head);
        }
        head = object;
    }
    world.add_root(RootKind::Handle, vec![head]);
    mutator.hand_over();
    // What was born before is looked at once.
    assert!(gc.collect(Reason::Forced).is_ok(), "this world stops");
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        for _ in 0..100 {
            mutator.allocate(1);
        }
        mutator.hand_over();
        let start = Instant::now();
        assert!(gc.collect(Reason::Forced).is_ok(), "this world stops");
        best = best.min(start.elapsed().as_secs_f64());
        assert_eq!(heap.objects().len(), live);
    }
    best * 1e6
}
