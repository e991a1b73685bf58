//! What is lost by rounding sizes up: which part of a block is not what was asked for.
//!
//! A program that asks for sizes of all kinds loses what the curve says on average between its low and its high points. Both ends of each class are printed: the
//! least and the largest size that it serves.

use crate::point;
use gomem::{SMALL_MAX, heap};

/// Smaller sizes are rounded up to a word or two by everybody.
const SMALLEST: usize = 64;

pub fn run() {
    sizes("size-classes", |size| {
        let heap = heap();
        let block = heap.malloc(size, 8).expect("memory");
        let usable = heap.usable_size(block);
        // SAFETY: a block from `malloc`, not used any more.
        unsafe { heap.free(block) };
        usable
    });
    sizes("powers-of-two", usize::next_power_of_two);
}

/// The two ends of each class of sizes that `rounded` makes.
fn sizes(series: &str, rounded: impl Fn(usize) -> usize) {
    let mut size = SMALLEST;
    while size <= SMALL_MAX {
        let block = rounded(size);
        for asked in [size, block] {
            let lost = 100.0 * (block - asked) as f64 / block as f64;
            point("classes", series, asked, lost);
        }
        size = block + 1;
    }
}
