//! When generations pay: how much a collector looks through for each byte that is allocated, by how many objects survive their youth.
//!
//! A program has so many live objects at any time. Each new one takes the place of the one that has lived longest, or is dropped at once.

use crate::mutator::Mutator;
use crate::point;
use gogc::testing::{SimHeap, SimWorld};
use gogc::{Bytes, Collector, Config, Generational, MarkSweep, Method, RootKind, Thresholds};

/// Live objects are kept in blocks of so many, and these in one object.
const BLOCK: usize = 128;

pub fn run(tiny: bool) {
    let (live, allocated) = if tiny {
        (1 << 10, 1 << 12)
    } else {
        (1 << 16, 1 << 20)
    };
    // The least heap before anything is collected is 4 MiB.
    let granules = 8 * live + (8 << 20) / 16;
    let thresholds = Thresholds {
        young: Bytes::kib(256),
        ..Thresholds::default()
    };
    for percent in (0..=100).step_by(if tiny { 50 } else { 10 }) {
        let (heap, world) = (SimHeap::new(granules), SimWorld::new(1));
        let gc = Generational::new(heap, world, Config::default(), thresholds);
        let gc = gc.expect("memory for buffers");
        let work = work(&gc, gc.heap(), gc.world(), live, allocated, percent);
        point("generations", "three-generations", percent, work);
        let (heap, world) = (SimHeap::new(granules), SimWorld::new(1));
        let gc = MarkSweep::new(heap, world, Config::default(), Method::StopTheWorld);
        let gc = gc.expect("memory for buffers");
        let work = self::work(&gc, gc.heap(), gc.world(), live, allocated, percent);
        point("generations", "the-whole-heap", percent, work);
    }
}

/// Bytes that are looked through for each byte allocated.
fn work<C: Collector>(
    gc: &C,
    heap: &SimHeap,
    world: &SimWorld,
    live: usize,
    allocated: usize,
    percent: usize,
) -> f64 {
    let mut mutator = Mutator::new(gc, heap);
    let blocks = live / BLOCK;
    let table = mutator.allocate(blocks);
    world.add_root(RootKind::Handle, vec![table]);
    for block in 0..blocks {
        let new = mutator.allocate(BLOCK);
        mutator.store(table, block, new);
    }
    let (mut looked_at, mut oldest) = (0, 0);
    for number in 0..live + allocated {
        let object = mutator.allocate(1);
        // All survive until there are as many as there are to be.
        if number < live || survives(number, percent) {
            let block = heap.load(table, oldest / BLOCK);
            mutator.store(block, oldest % BLOCK, object);
            oldest = (oldest + 1) % live;
        }
        mutator.hand_over();
        let Ok(cycle) = gc.collect_if_due() else {
            panic!("this world stops");
        };
        if let Some(cycle) = cycle.filter(|_| number >= live) {
            looked_at += cycle.marked.looked_at().0;
        }
    }
    looked_at as f64 / (allocated * 16) as f64
}

/// One in so many, spread evenly.
fn survives(number: usize, percent: usize) -> bool {
    number * percent / 100 != (number + 1) * percent / 100
}
