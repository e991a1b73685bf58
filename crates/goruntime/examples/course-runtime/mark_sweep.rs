//! What the time of a collection depends on: on the objects that are alive, or on those that are not?
//!
//! Objects of 64 bytes are made and either kept, in one array, or dropped at once. Then everything is collected, and the time taken. Nothing is collected but when this program asks.

use crate::point;
use goruntime::gc::{self, Array, Gc, GcPtr, Trace};
use std::time::Instant;

#[derive(Trace)]
struct Node {
    /// What makes it an object that has to be scanned.
    next: GcPtr<Node>,
    data: [u64; 7],
}

/// Of so many collections the fastest counts.
const RUNS: u32 = 3;

pub fn run(tiny: bool) {
    let most = if tiny { 10 } else { 21 };
    for count in (10..=most).map(|power| 1usize << power) {
        let (mut alive, mut dead) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..RUNS {
            alive = alive.min(with_live(count));
            // What was alive is not any more.
            gc::collect();
            make_garbage(count);
            dead = dead.min(collect());
        }
        point("mark-sweep", "all-alive", count, alive);
        point("mark-sweep", "all-dead", count, dead);
    }
}

/// Milliseconds of a collection.
fn collect() -> f64 {
    let start = Instant::now();
    gc::collect();
    start.elapsed().as_secs_f64() * 1e3
}

#[inline(never)]
fn with_live(count: usize) -> f64 {
    let table: Gc<Array<GcPtr<Node>>> = Gc::array(count, |_| GcPtr::new(Some(node())));
    let took = collect();
    // Emptied, so that no stale word in a frame keeps the nodes alive.
    table.as_slice().iter().for_each(|entry| entry.store(None));
    took
}

#[inline(never)]
fn make_garbage(count: usize) {
    for _ in 0..count {
        std::hint::black_box(node());
    }
}

fn node() -> Gc<Node> {
    let node = Gc::new(Node {
        next: GcPtr::null(),
        data: [1; 7],
    });
    debug_assert!(node.next.load().is_none() && node.data[0] == 1);
    node
}
