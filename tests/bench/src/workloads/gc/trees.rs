//! `binary_trees`: perfect binary trees built and dropped beside one that stays.
//!
//! The classical program: for each even depth from 4 on as many short-lived trees as make about the same number of nodes,
//! and one long-lived tree of the greatest depth. Each mutator does all of it, so two mutators do it twice.

use super::heap::{Heap, Shared};
use super::{megabytes, millis};
use crate::Arguments;
use std::time::{Duration, Instant};

/// The shallowest of the short-lived trees.
const LEAST: u32 = 4;

/// What is to be done by each mutator.
#[derive(Clone, Copy)]
struct Forest {
    /// That of the long-lived tree.
    depth: u32,
    /// How many times the classical number of short-lived trees.
    scale: f64,
}

impl Forest {
    fn asked_for(arguments: &Arguments) -> Result<Forest, String> {
        Ok(Forest {
            depth: arguments.number("depth", 16),
            scale: arguments.scale(),
        })
    }
}

pub(super) fn run<H: Heap>(heap: &mut H, arguments: &Arguments) -> Result<(), String> {
    if arguments.number("mutators", 1) != 1 {
        return Err("mutators=1 is all that this collector is used with here".into());
    }
    let forest = Forest::asked_for(arguments)?;
    let start = Instant::now();
    grow(heap, forest)?;
    report(start.elapsed())
}

pub(super) fn run_shared<H: Shared>(arguments: &Arguments) -> Result<(), String> {
    let forest = Forest::asked_for(arguments)?;
    let start = Instant::now();
    let mutators: Vec<_> = (0..arguments.number("mutators", 1))
        .map(|_| H::start(move |heap: &mut H| grow(heap, forest)))
        .collect();
    for mutator in mutators {
        H::join(mutator)?;
    }
    report(start.elapsed())
}

fn report(time: Duration) -> Result<(), String> {
    crate::figure("time", millis(time), "ms");
    crate::figure("peak_rss", megabytes(crate::peak_rss()?), "MB");
    Ok(())
}

/// All of it, by one mutator.
fn grow<H: Heap>(heap: &mut H, Forest { depth, scale }: Forest) -> Result<(), String> {
    let check = |heap: &H, root: H::Node, depth: u32| {
        let (found, expected) = (walk(heap, root), count(depth));
        if found == expected {
            Ok(())
        } else {
            Err(format!(
                "a tree of depth {depth} has {found} nodes, not {expected}"
            ))
        }
    };
    let stretch = build(heap, depth + 1);
    check(heap, stretch, depth + 1)?;
    let long_lived = build(heap, depth);
    let long_lived = heap.keep(long_lived);
    for d in (LEAST..=depth).step_by(2) {
        let trees = (f64::from(1u32 << (depth - d + LEAST)) * scale).ceil() as u64;
        for _ in 0..trees {
            let short_lived = build(heap, d);
            check(heap, short_lived, d)?;
        }
    }
    check(heap, heap.kept(long_lived), depth)?;
    heap.release(1);
    Ok(())
}

/// A tree, from the leaves up.
pub(super) fn build<H: Heap>(heap: &mut H, depth: u32) -> H::Node {
    if depth == 0 {
        return heap.node(None, None, 1);
    }
    let left = build(heap, depth - 1);
    let left = heap.keep(left);
    let right = build(heap, depth - 1);
    let right = heap.keep(right);
    let node = heap.node(Some(left), Some(right), 1);
    heap.release(2);
    node
}

/// Adds up the words of a tree.
pub(super) fn walk<H: Heap>(heap: &H, node: H::Node) -> u64 {
    heap.word(node)
        + heap.left(node).map_or(0, |n| walk(heap, n))
        + heap.right(node).map_or(0, |n| walk(heap, n))
}

pub(super) fn count(depth: u32) -> u64 {
    (2 << depth) - 1
}
