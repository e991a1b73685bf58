//! A live heap: a table of nodes, each with two links to nodes chosen at random.

use super::heap::Heap;
use crate::workloads::random::Random;

/// Makes `len` nodes, each with its number as its word, and links them.
pub(super) fn build<H: Heap>(heap: &mut H, len: usize) -> H::Table {
    let table = heap.table(len);
    for number in 0..len {
        let node = heap.node(None, None, number as u64);
        heap.set_entry(table, number, Some(node));
    }
    let mut random = Random::new(3);
    for number in 0..len {
        let left = heap.entry(table, random.below(len));
        let right = heap.entry(table, random.below(len));
        if let Some(node) = heap.entry(table, number) {
            heap.set_left(node, left);
            heap.set_right(node, right);
        }
    }
    table
}

/// Checks every node and every link of what [`build`] made.
pub(super) fn verify<H: Heap>(heap: &H, table: H::Table, len: usize) -> Result<(), String> {
    let mut random = Random::new(3);
    for number in 0..len {
        let expected = [number, random.below(len), random.below(len)].map(|n| Some(n as u64));
        let node = heap.entry(table, number);
        let found = [
            node,
            node.and_then(|n| heap.left(n)),
            node.and_then(|n| heap.right(n)),
        ]
        .map(|n| n.map(|n| heap.word(n)));
        if found != expected {
            return Err(format!(
                "node {number} and its links are {found:?}, not {expected:?}"
            ));
        }
    }
    Ok(())
}
