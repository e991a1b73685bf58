//! What it costs to ask the system for each block, and what it costs to ask it once for many.
//!
//! Either way the block is touched once in each of its pages, as a program would: memory that was just mapped has no pages yet, and each first touch is a page fault.

use crate::point;
use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::ptr::null_mut;
use std::time::Instant;

const PAGE: usize = 4096;

/// Of so many runs the fastest counts.
const RUNS: u32 = 5;

pub fn run(tiny: bool) {
    let largest = if tiny { 10 } else { 20 };
    for size in (6..=largest).map(|power| 1 << power) {
        // Some thousand small ones, or as many as make a few megabytes of page faults.
        let blocks = if tiny {
            10
        } else {
            ((16 << 20) / size).clamp(16, 2000) as u32
        };
        point(
            "asking",
            "asked-of-the-system",
            size,
            nanos(blocks, || {
                let block = map(size);
                touch(block, size);
                unmap(block, size);
            }),
        );
        let layout = Layout::from_size_align(size, 8).expect("a size and a power of two");
        point(
            "asking",
            "asked-of-gomem",
            size,
            nanos(blocks, || {
                // SAFETY: the layout is not empty, and the block is freed with the layout that it was allocated with.
                unsafe {
                    let block = crate::GLOBAL.alloc(layout);
                    touch(block, size);
                    crate::GLOBAL.dealloc(block, layout);
                }
            }),
        );
    }
}

/// Nanoseconds for a block.
fn nanos(blocks: u32, mut body: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        (0..blocks).for_each(|_| body());
        best = best.min(start.elapsed().as_secs_f64());
    }
    best * 1e9 / f64::from(blocks)
}

fn map(size: usize) -> *mut u8 {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, at a place of the kernel's choice.
    let block = unsafe { libc::mmap(null_mut(), size, access, flags, -1, 0) };
    assert_ne!(block, libc::MAP_FAILED, "no memory");
    block.cast()
}

fn unmap(block: *mut u8, size: usize) {
    // SAFETY: mapped by `map` with this size, and not used any more.
    unsafe { libc::munmap(block.cast(), size) };
}

/// Writes a byte to each page.
fn touch(block: *mut u8, size: usize) {
    for at in (0..size).step_by(PAGE) {
        // SAFETY: within the block.
        unsafe { black_box(block.add(at)).write_volatile(1) };
    }
}
