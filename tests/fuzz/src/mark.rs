//! The collector on random graphs, against plain reachability.
//!
//! After each collection the heap must hold exactly what is reachable from the roots and from what was revived for its
//! finalizer in that collection.

use crate::bytes::Bytes;
use gogc::testing::{Shape, SimHeap, SimWorld};
use gogc::{Collector, Config, MarkSweep, Method, Reason, RootKind};

/// Granules of the heap: few, so that it fills up and addresses are used again.
const GRANULES: usize = 400;

const ROOT_KINDS: [RootKind; 3] = [RootKind::Stack, RootKind::Global, RootKind::Handle];

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Some(choice) = bytes.byte() else { return };
    let world = SimWorld::one_after_the_other(1 + usize::from(choice % 3));
    if choice & 4 != 0 {
        // Little memory for queues: marking has to come back for what did not fit.
        world.allow_memory(64 << 10);
    }
    let method = if choice & 8 != 0 {
        Method::Concurrent
    } else {
        Method::StopTheWorld
    };
    let Ok(sim) = MarkSweep::new(SimHeap::new(GRANULES), world, Config::default(), method) else {
        return;
    };
    let roots: Vec<usize> = ROOT_KINDS
        .iter()
        .map(|&kind| sim.world().add_root(kind, Vec::new()))
        .collect();
    for _ in 0..400 {
        if step(&sim, &roots, &mut bytes).is_none() {
            break;
        }
    }
    collect(&sim);
}

fn step(sim: &MarkSweep<SimHeap, SimWorld>, roots: &[usize], bytes: &mut Bytes) -> Option<()> {
    let heap = sim.heap();
    let pick = |bytes: &mut Bytes| {
        let objects = heap.objects();
        let index = bytes.pair()? as usize;
        objects.iter().nth(index % objects.len().max(1)).copied()
    };
    match bytes.byte()? % 16 {
        0..6 => {
            let shape = Shape {
                pointers: bytes.below(40)?,
                data: bytes.below(5)?,
                finalizer: bytes.byte()? % 8 == 0,
            };
            let object = heap.allocate(shape);
            if let Some(object) = object
                && bytes.byte()? % 2 == 0
            {
                sim.world().with_root(roots[0], |words| words.push(object));
            }
        }
        6..12 => {
            let (from, to) = (pick(bytes)?, pick(bytes)?);
            let inside = bytes.below(16)?;
            let pointers = heap.pointers(from);
            if pointers > 0 {
                heap.store(from, bytes.below(256)? % pointers, to + inside);
            }
        }
        12 => {
            let area = roots[bytes.below(roots.len())?];
            let word = pick(bytes)?;
            sim.world().with_root(area, |words| words.push(word));
        }
        13 => {
            let area = roots[bytes.below(roots.len())?];
            let index = bytes.byte()? as usize;
            sim.world().with_root(area, |words| {
                if !words.is_empty() {
                    words.swap_remove(index % words.len());
                }
            });
        }
        14 => {
            // A word that may be no address, or one just past the heap.
            let word = bytes.magnitude(64)? as usize;
            sim.world().with_root(roots[1], |words| words.push(word));
        }
        _ => collect(sim),
    }
    Some(())
}

fn collect(sim: &MarkSweep<SimHeap, SimWorld>) {
    let heap = sim.heap();
    heap.take_finalized();
    sim.collect(Reason::Forced)
        .expect("this world can be stopped");
    let revived = heap.take_finalized();
    let roots = sim.world().root_words().into_iter().chain(revived);
    assert_eq!(heap.objects(), heap.reachable(roots));
}
