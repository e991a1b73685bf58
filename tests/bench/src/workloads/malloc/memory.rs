//! How much memory the process has for what it uses: at a peak, after it, and when sizes shift.

use super::block::{Block, small};
use super::time_each;
use crate::workloads::random::Random;
use crate::{Arguments, figure, rss};
use std::time::{Duration, Instant};

/// Resident bytes for each byte that lives.
fn overhead(blocks: &Vec<Block>, baseline: u64) -> Result<f64, String> {
    let live: usize = blocks.iter().map(Block::size).sum();
    let table = blocks.capacity() * size_of::<Block>();
    Ok(rss()?.saturating_sub(baseline) as f64 / (live + table) as f64)
}

/// Many small blocks; then nine of ten are freed at random, and the program does nothing for a while; then all are freed.
pub fn peak(arguments: &Arguments) -> Result<(), String> {
    let bytes = arguments.scaled("bytes", 200 << 20);
    let idle = Duration::from_millis(arguments.number("idle_ms", 1500));
    let baseline = rss()?;
    let mut random = Random::new(8);
    let (mut blocks, mut live) = (Vec::with_capacity(bytes / 64), 0);
    while live < bytes {
        let block = Block::new(small(&mut random));
        live += block.size();
        blocks.push(block);
    }
    figure("full", overhead(&blocks, baseline)?, "times");
    let keep = blocks.len() / 10;
    while blocks.len() > keep {
        blocks.swap_remove(random.below(blocks.len())).free();
    }
    blocks.shrink_to_fit();
    std::thread::sleep(idle);
    figure("tenth", overhead(&blocks, baseline)?, "times");
    blocks.drain(..).for_each(Block::free);
    drop(blocks);
    std::thread::sleep(idle);
    figure("empty", rss()?.saturating_sub(baseline) as f64 / 1e6, "MB");
    Ok(())
}

/// A set of constant volume whose blocks become larger from step to step, half of it replaced in each.
pub fn shift(arguments: &Arguments) -> Result<(), String> {
    const STEPS: usize = 16;
    let bytes = arguments.scaled("bytes", 64 << 20);
    let baseline = rss()?;
    let mut random = Random::new(9);
    let mut blocks: Vec<Block> = Vec::with_capacity(bytes / 16);
    let (mut live, mut count) = (0, 0);
    let begin = Instant::now();
    for step in 0..STEPS {
        let middle = 32 << (step / 2);
        while live > bytes / 2 {
            let block = blocks.swap_remove(random.below(blocks.len()));
            live -= block.size();
            block.free();
        }
        while live < bytes {
            let block = Block::new(middle / 2 + random.below(middle));
            live += block.size();
            blocks.push(block);
            count += 1;
        }
    }
    time_each(begin.elapsed(), count);
    figure("shifted", overhead(&blocks, baseline)?, "times");
    blocks.into_iter().for_each(Block::free);
    Ok(())
}
