//! Large blocks: allocated and freed, grown, and wanted as zeros.

use super::block::Block;
use super::time_each;
use crate::Arguments;
use crate::workloads::random::Random;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::hint::black_box;
use std::time::Instant;

/// Blocks of 64 KiB to 1 MiB of which 32 live, replaced at random; the first and the last word are written.
pub fn blocks(arguments: &Arguments) -> Result<(), String> {
    const LIVE: usize = 32;
    let count = arguments.scaled("blocks", 400_000);
    let mut random = Random::new(5);
    let mut size = move || (64 << 10) + random.below(960 << 10);
    let mut live: Vec<Block> = (0..LIVE).map(|_| Block::new(size())).collect();
    let mut order = Random::new(6);
    let begin = Instant::now();
    for _ in 0..count {
        let new = Block::new(size());
        std::mem::replace(&mut live[order.below(LIVE)], new).free();
    }
    let elapsed = begin.elapsed();
    live.into_iter().for_each(Block::free);
    time_each(elapsed, count);
    Ok(())
}

/// Vectors that grow by pushing to a million words, beside another that lives.
pub fn growth(arguments: &Arguments) -> Result<(), String> {
    const LENGTH: u64 = 1 << 20;
    let count = arguments.scaled("vectors", 60);
    let mut last = Vec::new();
    let begin = Instant::now();
    for _ in 0..count {
        let mut vector = Vec::new();
        for number in 0..LENGTH {
            vector.push(black_box(number));
        }
        last = vector;
    }
    let elapsed = begin.elapsed();
    if last.iter().sum::<u64>() != LENGTH * (LENGTH - 1) / 2 {
        return Err("a vector lost what was pushed".to_owned());
    }
    time_each(elapsed, count * LENGTH as usize);
    Ok(())
}

/// Zeroed blocks of 256 KiB to 4 MiB, of which every 16th page is read and written.
pub fn zeroed(arguments: &Arguments) -> Result<(), String> {
    const STRIDE: usize = 16 * 4096;
    let count = arguments.scaled("blocks", 4_000);
    let mut random = Random::new(7);
    let begin = Instant::now();
    for _ in 0..count {
        let size = (256 << 10) + random.below(3840 << 10);
        let layout = Layout::from_size_align(size, 8).map_err(|e| e.to_string())?;
        // SAFETY: the size is not zero; every byte read or written is inside; freed once with the same layout.
        unsafe {
            let at = black_box(alloc_zeroed(layout));
            if at.is_null() {
                return Err("out of memory".to_owned());
            }
            for offset in (0..size).step_by(STRIDE) {
                if at.add(offset).replace(1) != 0 {
                    return Err(format!("byte {offset} of {size} is not zero"));
                }
            }
            dealloc(at, layout);
        }
    }
    time_each(begin.elapsed(), count);
    Ok(())
}
