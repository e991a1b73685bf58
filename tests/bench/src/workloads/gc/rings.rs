//! `cycles`: doubly linked rings, made one after the other and dropped.

use super::heap::Heap;
use super::{megabytes, nanos_each};
use crate::Arguments;
use std::time::Instant;

pub(super) fn run<H: Heap>(heap: &mut H, arguments: &Arguments) -> Result<(), String> {
    let rings = arguments.scaled("rings", 150_000) as u64;
    let nodes = arguments.number("nodes", 64);
    let start = Instant::now();
    make(heap, rings, nodes)?;
    let time = start.elapsed();
    crate::figure("time", nanos_each(time, rings * nodes), "ns");
    crate::figure("peak_rss", megabytes(crate::peak_rss()?), "MB");
    Ok(())
}

/// Makes `rings` rings of `len` nodes, and walks each of them both ways before it is dropped.
fn make<H: Heap>(heap: &mut H, rings: u64, len: u64) -> Result<(), String> {
    for _ in 0..rings {
        let first = build(heap, len);
        let sum = len * (len - 1) / 2;
        let forwards = walk(heap, first, H::right);
        let backwards = walk(heap, first, H::left);
        if (forwards, backwards) != (Some(sum), Some(sum)) {
            return Err(format!(
                "a ring of {len} nodes adds up to {forwards:?} and {backwards:?}, not {sum}"
            ));
        }
    }
    Ok(())
}

/// A ring of nodes numbered from 0 on; returns number 0. Each new node comes behind it.
fn build<H: Heap>(heap: &mut H, len: u64) -> H::Node {
    let first = heap.node(None, None, 0);
    heap.set_left(first, Some(first));
    heap.set_right(first, Some(first));
    let first = heap.keep(first);
    for number in 1..len {
        let node = heap.node(None, None, number);
        let first = heap.kept(first);
        let second = heap.right(first);
        heap.set_left(node, Some(first));
        heap.set_right(node, second);
        heap.set_right(first, Some(node));
        if let Some(second) = second {
            heap.set_left(second, Some(node));
        }
    }
    let node = heap.kept(first);
    heap.release(1);
    node
}

/// Adds up the words of a ring; nothing if it is not closed.
fn walk<H: Heap>(
    heap: &H,
    first: H::Node,
    next: impl Fn(&H, H::Node) -> Option<H::Node>,
) -> Option<u64> {
    let (mut node, mut sum) = (first, 0);
    loop {
        sum += heap.word(node);
        node = next(heap, node)?;
        if heap.same(node, first) {
            return Some(sum);
        }
    }
}
