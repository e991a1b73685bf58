//! Which level answers: a thread's cache, the central list, the page heap, the system.
//!
//! A number of blocks is allocated, and then freed. Few fit the thread's cache. More go through the central list in batches; and on a fresh heap each new span comes
//! from the page heap, whose pages the system has yet to provide.

use crate::point;
use gomem::testing::SimOs;
use gomem::{Heap, Mutator};
use std::ptr::NonNull;
use std::time::Instant;

const SIZE: usize = 64;

/// Of so many runs the fastest counts.
const RUNS: u32 = 5;

pub fn run(tiny: bool) {
    let most = if tiny { 6 } else { 20 };
    for blocks in (0..=most).map(|power| 1usize << power) {
        let (mut fresh, mut again) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..RUNS {
            // A system of real memory, which is given back when this heap is dropped.
            let heap = Heap::new(SimOs::default());
            let mut mutator = heap.mutator().expect("memory");
            let mut held = Vec::with_capacity(blocks);
            fresh = fresh.min(nanos(1, blocks, || turn(&mut mutator, &mut held, blocks)));
            // A few blocks take too little time for the clock.
            let turns = ((1 << 14) / blocks).max(1);
            again = again.min(nanos(turns, blocks, || {
                turn(&mut mutator, &mut held, blocks);
            }));
        }
        point("levels", "on-a-fresh-heap", blocks, fresh);
        point("levels", "again", blocks, again);
    }
}

/// Nanoseconds for each block of some turns.
fn nanos(turns: usize, blocks: usize, mut body: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..turns).for_each(|_| body());
    start.elapsed().as_secs_f64() * 1e9 / (turns * blocks) as f64
}

/// Allocates so many blocks, then frees them.
fn turn(mutator: &mut Mutator<'_, SimOs>, held: &mut Vec<NonNull<u8>>, blocks: usize) {
    for _ in 0..blocks {
        let block = mutator.malloc(SIZE, 8).expect("memory");
        // SAFETY: a block of at least a byte.
        unsafe { block.write(1) };
        held.push(block);
    }
    for block in held.drain(..) {
        // SAFETY: a block from `malloc` of this heap, not used any more.
        unsafe { mutator.free(block) };
    }
}
