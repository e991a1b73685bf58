//! `barrier`: pointers stored into old objects while nothing is collected.
//!
//! The places are chosen at random, so the caches miss as they do in programs; what differs between collectors is what a store does
//! besides storing.

use super::heap::Heap;
use super::nanos_each;
use crate::Arguments;
use crate::workloads::random::Random;
use std::time::Instant;

/// The nodes that are stored, each many times over.
const NODES: usize = 1024;

pub(super) fn run<H: Heap>(heap: &mut H, arguments: &Arguments) -> Result<(), String> {
    let places = arguments.number("places", 1 << 20);
    let number = arguments.scaled("stores", 30_000_000);
    let stores = Stores::<H>::new(heap, places);
    let start = Instant::now();
    stores.make(heap, number);
    crate::figure("time", nanos_each(start.elapsed(), number as u64), "ns");
    stores.verify(heap, number)
}

/// The table that is stored into, and the nodes.
struct Stores<H: Heap> {
    places: H::Table,
    len: usize,
    nodes: H::Table,
}

impl<H: Heap> Stores<H> {
    /// A table of `len` places, each holding a node, that has seen a collection.
    fn new(heap: &mut H, len: usize) -> Self {
        let (places, nodes) = (heap.table(len), heap.table(NODES));
        for number in 0..NODES {
            let node = heap.node(None, None, number as u64);
            heap.set_entry(nodes, number, Some(node));
        }
        for place in 0..len {
            heap.set_entry(places, place, heap.entry(nodes, place % NODES));
        }
        heap.collect();
        Stores { places, len, nodes }
    }

    /// Makes `stores` stores.
    fn make(&self, heap: &mut H, stores: usize) {
        let mut random = Random::new(5);
        for number in 0..stores {
            let node = heap.entry(self.nodes, number % NODES);
            heap.set_entry(self.places, random.below(self.len), node);
        }
    }

    /// Checks what `stores` stores left in each place.
    fn verify(&self, heap: &H, stores: usize) -> Result<(), String> {
        let mut expected: Vec<u64> = (0..self.len).map(|place| (place % NODES) as u64).collect();
        let mut random = Random::new(5);
        for number in 0..stores {
            expected[random.below(self.len)] = (number % NODES) as u64;
        }
        for (place, &expected) in expected.iter().enumerate() {
            let found = heap.entry(self.places, place).map(|node| heap.word(node));
            if found != Some(expected) {
                return Err(format!(
                    "place {place} holds node {found:?}, not {expected}"
                ));
            }
        }
        Ok(())
    }
}
