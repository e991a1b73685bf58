//! What a concurrent marker loses without a write barrier, and with half of one.
//!
//! Goroutines move pointers about while a collection marks: from objects to their stacks and back, and to new objects. The more they do between two steps of the marker, the
//! better are their chances to hide something. At the end every pointer that the program can still follow should lead to an object. Those that do not are counted.

use crate::point;
use crate::world::{SLOTS, Stacks, TurnWorld};
use gogc::barrier::Recorded;
use gogc::testing::{Shape, SimHeap};
use gogc::{BarrierBuffer, Collector, Config, MarkSweep, Method, ObjectAddr, Reason};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Pointers of an object.
const FIELDS: usize = 2;
/// Objects at the start. Each takes a granule, and there is room for as many again.
const OBJECTS: usize = 2000;
const GOROUTINES: usize = 16;
/// Moves before the collection begins, after which much is reachable from one stack only.
const BEFORE: u32 = 2000;

/// Which values a store shades.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Barrier {
    None,
    /// The new one, as Dijkstra's.
    New,
    /// The old one, as Yuasa's.
    Old,
    /// Both, as Go's.
    Both,
}

const BARRIERS: [(Barrier, &str); 4] = [
    (Barrier::None, "no-barrier"),
    (Barrier::New, "the-new-value"),
    (Barrier::Old, "the-old-value"),
    (Barrier::Both, "both"),
];

type Gc = MarkSweep<SimHeap, TurnWorld>;

pub fn run(tiny: bool) {
    let (runs, most) = if tiny { (2, 1) } else { (100, 8) };
    for moves in (0..=most).map(|power| 1u32 << power) {
        for (barrier, name) in BARRIERS {
            let lost: usize = (0..runs).map(|seed| lost(barrier, moves, seed)).sum();
            point("barrier", name, moves, lost as f64 / f64::from(runs));
        }
    }
}

/// Pointers to nothing that a collection leaves, when there are so many moves between two steps of the marker.
fn lost(barrier: Barrier, moves: u32, seed: u32) -> usize {
    let heap = SimHeap::new(2 * OBJECTS);
    let mut random = Random(u64::from(seed));
    let objects: Vec<usize> = (0..OBJECTS)
        .filter_map(|_| heap.allocate(Shape::pointers(FIELDS)))
        .collect();
    // A tree.
    for (index, &object) in objects.iter().enumerate().skip(1) {
        heap.store(objects[(index - 1) / FIELDS], (index - 1) % FIELDS, object);
    }
    let stacks: Stacks = (0..GOROUTINES)
        .map(|_| std::array::from_fn(|_| AtomicUsize::new(objects[random.below(OBJECTS)])))
        .collect();
    stacks[0][0].store(objects[0], Relaxed);
    let world = TurnWorld::new(stacks.clone());
    let gc = MarkSweep::new(heap, world, Config::default(), Method::Concurrent);
    let gc = Arc::new(gc.expect("memory for buffers"));
    let mut mutator = Mutator {
        stacks,
        barrier,
        random,
        buffer: BarrierBuffer::new(),
    };
    (0..BEFORE).for_each(|_| mutator.move_one(&gc));
    let known = Arc::downgrade(&gc);
    let its_stacks = mutator.stacks.clone();
    gc.world().take_turns(move || {
        if let Some(gc) = known.upgrade() {
            (0..moves).for_each(|_| mutator.move_one(&gc));
            gc.flush_barrier(&mut mutator.buffer);
        }
    });
    gc.collect(Reason::Forced).expect("this world stops");
    dangling(gc.heap(), &its_stacks)
}

/// Pointers to nothing among those that the program can follow.
fn dangling(heap: &SimHeap, stacks: &Stacks) -> usize {
    let objects = heap.objects();
    let slots: Vec<usize> = stacks
        .iter()
        .flatten()
        .map(|slot| slot.load(Relaxed))
        .collect();
    let reachable = heap.reachable(slots.iter().copied());
    let fields = reachable
        .iter()
        .flat_map(|&object| (0..FIELDS).map(move |field| heap.load(object, field)));
    slots
        .iter()
        .copied()
        .chain(fields)
        .filter(|word| *word != 0 && !objects.contains(word))
        .count()
}

/// The goroutines.
struct Mutator {
    stacks: Stacks,
    barrier: Barrier,
    random: Random,
    buffer: BarrierBuffer,
}

impl Mutator {
    /// Some goroutine exchanges a pointer on its stack with one in an object, or moves one to a new object, or goes from object to object.
    fn move_one(&mut self, gc: &Gc) {
        let heap = gc.heap();
        let stacks = self.stacks.clone();
        let stack = &stacks[self.random.below(GOROUTINES)];
        let (from, to) = (
            &stack[self.random.below(SLOTS)],
            &stack[self.random.below(SLOTS)],
        );
        let field = self.random.below(FIELDS);
        let object = from.load(Relaxed);
        if object == 0 {
            return;
        }
        match self.random.below(8) {
            0 => {
                // Nothing is freed while objects are marked, so there may be no room.
                if let Some(new) = heap.allocate(Shape::pointers(FIELDS)) {
                    self.store(gc, new, field, to.load(Relaxed));
                    to.store(new, Relaxed);
                }
            }
            1..4 => {
                let value = heap.load(object, field);
                self.store(gc, object, field, to.load(Relaxed));
                to.store(value, Relaxed);
            }
            _ => match heap.load(object, field) {
                0 => {}
                next => from.store(next, Relaxed),
            },
        }
    }

    fn store(&mut self, gc: &Gc, object: usize, field: usize, new: usize) {
        let old = gc.heap().load(object, field);
        let recorded = match self.barrier {
            Barrier::None => (0, 0),
            Barrier::New => (0, new),
            Barrier::Old => (old, 0),
            Barrier::Both => (old, new),
        };
        let buffer = &mut self.buffer;
        let (old, shaded) = recorded;
        if gc
            .barrier()
            .write(ObjectAddr(object), old, shaded, || buffer)
            == Recorded::Full
        {
            gc.flush_barrier(&mut self.buffer);
        }
        gc.heap().store(object, field, new);
    }
}

/// Steele, Lea and Flood's SplitMix.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }
}
