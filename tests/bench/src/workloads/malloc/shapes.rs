//! Classic shapes on one thread: one size, sizes at random, aligned blocks, zeroed small blocks, and phases that build up and drop all.

use super::block::{Block, mixed, small};
use super::time_each;
use crate::Arguments;
use crate::workloads::random::Random;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A size between two powers of two, each octave equally often.
#[inline]
fn octaves(random: &mut Random, least: u32, most: u32) -> usize {
    let low = 1 << (least as usize + random.below((most - least) as usize));
    low + random.below(low)
}

/// Of blocks that live one at random is replaced: all of `size` bytes, or, without that, of 16 bytes to 32 KiB.
pub fn churn(arguments: &Arguments) -> Result<(), String> {
    let size = arguments.number("size", 0usize);
    let live = arguments.number("live", 10_000usize);
    let count = arguments.scaled("replaced", 4_000_000);
    let mut random = Random::new(10);
    let next = |random: &mut Random| match size {
        0 => octaves(random, 4, 15),
        size => size,
    };
    let mut blocks: Vec<Block> = (0..live).map(|_| Block::new(next(&mut random))).collect();
    let begin = Instant::now();
    for _ in 0..count {
        let new = Block::new(next(&mut random));
        std::mem::replace(&mut blocks[random.below(live)], new).free();
    }
    let elapsed = begin.elapsed();
    blocks.into_iter().for_each(Block::free);
    time_each(elapsed, count);
    Ok(())
}

/// Phases: each builds up its blocks, with sizes of its own, and drops all of them. Every second phase has small blocks only.
pub fn phases(arguments: &Arguments) -> Result<(), String> {
    let phases = arguments.number("phases", 12usize);
    let bytes = arguments.scaled("bytes", 24 << 20);
    let mut random = Random::new(11);
    let (mut elapsed, mut count) = (Duration::ZERO, 0);
    let mut blocks = Vec::new();
    for phase in 0..phases {
        let begin = Instant::now();
        let mut live = 0;
        while live < bytes {
            let size = match phase % 2 {
                0 => small(&mut random),
                _ => mixed(&mut random),
            };
            live += size;
            blocks.push(Block::new(size));
        }
        count += blocks.len();
        blocks.drain(..).for_each(Block::free);
        elapsed += begin.elapsed();
    }
    time_each(elapsed, count);
    Ok(())
}

/// A block got by a layout, whose first word is checked when it goes.
struct Raw {
    at: *mut u64,
    layout: Layout,
}

impl Raw {
    #[inline]
    fn new(size: usize, align: usize, get: unsafe fn(Layout) -> *mut u8) -> Result<Raw, String> {
        let layout = Layout::from_size_align(size, align).map_err(|e| e.to_string())?;
        // SAFETY: no workload asks for no bytes.
        let at = black_box(unsafe { get(layout) }).cast::<u64>();
        if at.is_null() {
            return Err("out of memory".to_owned());
        }
        if !at.addr().is_multiple_of(align) {
            return Err(format!("{at:p} is not aligned to {align}"));
        }
        Ok(Raw { at, layout })
    }

    #[inline]
    fn tag(self) -> Raw {
        // SAFETY: every block has at least eight bytes and is aligned to as many.
        unsafe { self.at.write(self.at as u64) };
        self
    }

    #[inline]
    fn free(self) -> Result<(), String> {
        // SAFETY: as in `tag`; the block was allocated with this layout and is given up here.
        unsafe {
            if self.at.read() != self.at as u64 {
                return Err("the block's content is not what was written".to_owned());
            }
            dealloc(self.at.cast(), self.layout);
        }
        Ok(())
    }
}

/// Of 1,000 blocks of 32 bytes to 2 KiB, aligned to 32 bytes to 4 KiB, one at random is replaced.
pub fn aligned(arguments: &Arguments) -> Result<(), String> {
    const LIVE: usize = 1000;
    let count = arguments.scaled("replaced", 1_000_000);
    let mut random = Random::new(12);
    let block = |random: &mut Random| {
        let align = 32 << random.below(8);
        Ok::<Raw, String>(Raw::new(octaves(random, 5, 11), align, alloc)?.tag())
    };
    let mut blocks: Vec<Raw> = Vec::with_capacity(LIVE);
    for _ in 0..LIVE {
        blocks.push(block(&mut random)?);
    }
    let begin = Instant::now();
    for _ in 0..count {
        let new = block(&mut random)?;
        std::mem::replace(&mut blocks[random.below(LIVE)], new).free()?;
    }
    let elapsed = begin.elapsed();
    blocks.into_iter().try_for_each(Raw::free)?;
    time_each(elapsed, count);
    Ok(())
}

/// Of 10,000 zeroed blocks of 16 bytes to 1 KiB one at random is replaced; its first and last word are looked at.
pub fn zeroed_small(arguments: &Arguments) -> Result<(), String> {
    const LIVE: usize = 10_000;
    let count = arguments.scaled("replaced", 2_000_000);
    let mut random = Random::new(13);
    let block = |random: &mut Random| {
        let block = Raw::new(octaves(random, 4, 10), 8, alloc_zeroed)?;
        // SAFETY: both words lie in the block, which has at least 16 bytes.
        let words = unsafe { [*block.at, *block.at.add(block.layout.size() / 8 - 1)] };
        match words {
            [0, 0] => Ok(block.tag()),
            _ => Err("a zeroed block is not zero".to_owned()),
        }
    };
    let mut blocks: Vec<Raw> = Vec::with_capacity(LIVE);
    for _ in 0..LIVE {
        blocks.push(block(&mut random)?);
    }
    let begin = Instant::now();
    for _ in 0..count {
        let new = block(&mut random)?;
        // The last word is written too, so that a block that comes back has to be cleared.
        let at = new.layout.size() / 8 - 1;
        // SAFETY: the word lies in the block.
        unsafe { new.at.add(at).write(new.at as u64) };
        std::mem::replace(&mut blocks[random.below(LIVE)], new).free()?;
    }
    let elapsed = begin.elapsed();
    blocks.into_iter().try_for_each(Raw::free)?;
    time_each(elapsed, count);
    Ok(())
}
