//! Memory that is free and cannot be given away, because something in each of its pages is not.
//!
//! A program fills memory with blocks of one size and frees a part of them: those that it allocated first, or some at random. How much of the memory can then go back to the
//! system?

use crate::point;
use gomem::heap;
use std::ptr::NonNull;

pub fn run(tiny: bool) {
    // Nobody else gives memory back meanwhile.
    gomem::background::disable();
    let bytes: usize = if tiny { 1 << 20 } else { 64 << 20 };
    for percent in (0..=100).step_by(if tiny { 50 } else { 5 }) {
        for (size, name) in [(64, "64-B"), (1024, "1-KiB"), (8192, "8-KiB")] {
            let part = given_back(bytes, size, |index| random(index) % 100 < percent);
            point(
                "fragmentation",
                &format!("{name},-at-random"),
                percent,
                part,
            );
        }
        let oldest = bytes / 64 * percent as usize / 100;
        let part = given_back(bytes, 64, |index| index < oldest);
        point("fragmentation", "64-B,-the-oldest", percent, part);
    }
}

/// Fills `bytes` with blocks of `size`, frees those with the numbers that `is_freed` says; returns how many percent could be given back.
fn given_back(bytes: usize, size: usize, is_freed: impl Fn(usize) -> bool) -> f64 {
    let heap = heap();
    let count = bytes / size;
    // Neither made nor freed between the two times that memory is given back.
    let mut blocks: Vec<Option<NonNull<u8>>> = vec![None; count];
    heap.release_all();
    for block in &mut blocks {
        let new = heap.malloc(size, 8).expect("memory");
        // SAFETY: a block of at least a byte.
        unsafe { new.write(1) };
        *block = Some(new);
    }
    let free = |block: &mut Option<NonNull<u8>>| {
        if let Some(block) = block.take() {
            // SAFETY: a block from `malloc`, not used any more.
            unsafe { heap.free(block) };
        }
    };
    for (index, block) in blocks.iter_mut().enumerate() {
        if is_freed(index) {
            free(block);
        }
    }
    let released = heap.release_all();
    blocks.iter_mut().for_each(free);
    100.0 * released as f64 / bytes as f64
}

/// A number that has nothing to do with its neighbours' (Steele, Lea and Flood's SplitMix).
fn random(index: usize) -> u64 {
    let mut x = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
