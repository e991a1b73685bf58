//! `map`: a hash map with chained buckets, all of it collected objects.
//!
//! An entry is a node: its word the key, its first pointer the next entry of the chain, its second pointer the value, a node
//! too. There are as many chains as the power of two at or above the number of keys.

use super::heap::Heap;
use super::nanos_each;
use crate::Arguments;
use crate::workloads::random::Random;
use std::time::Instant;

pub(super) fn run<H: Heap>(heap: &mut H, arguments: &Arguments) -> Result<(), String> {
    let keys = arguments.scaled("keys", 1_000_000);
    let map = Map::<H>::new(heap, keys);
    let start = Instant::now();
    let operations = fill_and_use(heap, &map, keys)?;
    crate::figure("time", nanos_each(start.elapsed(), operations), "ns");
    Ok(())
}

/// A map whose keys are words and whose values are nodes.
struct Map<H: Heap> {
    chains: H::Table,
    mask: usize,
}

impl<H: Heap> Map<H> {
    /// An empty map for `len` keys.
    fn new(heap: &mut H, len: usize) -> Self {
        let chains = len.next_power_of_two();
        Map {
            chains: heap.table(chains),
            mask: chains - 1,
        }
    }

    /// Puts a new node with `value` in as the value of `key`. Was there one?
    fn insert(&self, heap: &mut H, key: u64, value: u64) -> bool {
        let value = heap.node(None, None, value);
        if let Some(entry) = self.find(heap, key) {
            heap.set_right(entry, Some(value));
            return true;
        }
        let value = heap.keep(value);
        let entry = heap.node(None, Some(value), key);
        heap.release(1);
        let chain = self.chain(key);
        heap.set_left(entry, heap.entry(self.chains, chain));
        heap.set_entry(self.chains, chain, Some(entry));
        false
    }

    fn lookup(&self, heap: &H, key: u64) -> Option<u64> {
        let value = heap.right(self.find(heap, key)?)?;
        Some(heap.word(value))
    }

    fn find(&self, heap: &H, key: u64) -> Option<H::Node> {
        let mut entry = heap.entry(self.chains, self.chain(key));
        while let Some(found) = entry {
            if heap.word(found) == key {
                return entry;
            }
            entry = heap.left(found);
        }
        None
    }

    fn chain(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & self.mask
    }
}

/// Inserts `len` keys, replaces the values of as many keys at random, and looks up twice as many. Returns the number of operations.
fn fill_and_use<H: Heap>(heap: &mut H, map: &Map<H>, len: usize) -> Result<u64, String> {
    for key in 0..len as u64 {
        if map.insert(heap, key, key) {
            return Err(format!("key {key} was there before it was inserted"));
        }
    }
    let mut random = Random::new(4);
    for _ in 0..len {
        let key = random.below(len) as u64;
        if !map.insert(heap, key, key + len as u64) {
            return Err(format!("key {key} was lost"));
        }
    }
    for _ in 0..2 * len {
        let key = random.below(len) as u64;
        match map.lookup(heap, key) {
            Some(value) if value % len as u64 == key => {}
            found => return Err(format!("the value of {key} is {found:?}")),
        }
    }
    Ok(4 * len as u64)
}
