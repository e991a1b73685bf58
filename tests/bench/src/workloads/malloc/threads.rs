//! Blocks on several threads: each its own, from one to the other, and threads that do not live long.

use super::block::{Block, mixed, small};
use super::time_each;
use crate::Arguments;
use crate::workloads::random::Random;
use std::sync::Barrier;
use std::sync::mpsc::sync_channel;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// Each thread replaces blocks of its own set at random, with the sizes of ordinary programs (after Larson and Krishnan).
pub fn replace(arguments: &Arguments) -> Result<(), String> {
    const LIVE: usize = 20_000;
    let threads = arguments.number("threads", 1usize);
    let count = arguments.scaled("replaced", 6_000_000);
    let start = Barrier::new(threads);
    let work = |seed: usize| {
        let mut random = Random::new(seed as u64 + 1);
        let mut live: Vec<Block> = (0..LIVE).map(|_| Block::new(mixed(&mut random))).collect();
        start.wait();
        let begin = Instant::now();
        for _ in 0..count {
            let at = random.below(LIVE);
            let new = Block::new(mixed(&mut random));
            std::mem::replace(&mut live[at], new).free();
        }
        let elapsed = begin.elapsed();
        live.into_iter().for_each(Block::free);
        elapsed
    };
    let longest = std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n))).collect();
        let join = |thread: ScopedJoinHandle<Duration>| {
            thread.join().map_err(|_| "a thread panicked".to_owned())
        };
        let mut longest = Duration::ZERO;
        for thread in running {
            longest = longest.max(join(thread)?);
        }
        Ok::<Duration, String>(longest)
    })?;
    time_each(longest, count);
    Ok(())
}

/// One thread allocates, another frees; emptied batches go back to be filled, so that nothing else is allocated.
pub fn remote(arguments: &Arguments) -> Result<(), String> {
    const BATCH: usize = 256;
    const IN_FLIGHT: usize = 32;
    let batches = arguments.scaled("batches", 40_000);
    let (full_in, full) = sync_channel::<Vec<Block>>(IN_FLIGHT);
    let (empty_in, empty) = sync_channel::<Vec<Block>>(IN_FLIGHT);
    for _ in 0..IN_FLIGHT {
        empty_in
            .send(Vec::with_capacity(BATCH))
            .map_err(|e| e.to_string())?;
    }
    let freeing = std::thread::spawn(move || {
        let mut freed = 0;
        for mut batch in full {
            freed += batch.len();
            batch.drain(..).for_each(Block::free);
            // At the end nobody fills it any more.
            let _ = empty_in.send(batch);
        }
        freed
    });
    let mut random = Random::new(4);
    let begin = Instant::now();
    for _ in 0..batches {
        let mut batch = empty.recv().map_err(|e| e.to_string())?;
        batch.extend((0..BATCH).map(|_| Block::new(small(&mut random))));
        full_in.send(batch).map_err(|e| e.to_string())?;
    }
    drop(full_in);
    let freed = freeing.join().map_err(|_| "the freeing thread panicked")?;
    let elapsed = begin.elapsed();
    if freed != batches * BATCH {
        return Err(format!("{freed} blocks freed of {}", batches * BATCH));
    }
    time_each(elapsed, freed);
    Ok(())
}

/// Threads that allocate a little and end.
pub fn short_threads(arguments: &Arguments) -> Result<(), String> {
    const BLOCKS: usize = 200;
    let threads = arguments.scaled("threads", 6_000);
    let begin = Instant::now();
    for seed in 0..threads {
        let thread = std::thread::spawn(move || {
            let mut random = Random::new(seed as u64 + 1);
            let blocks: Vec<Block> = (0..BLOCKS)
                .map(|_| Block::new(mixed(&mut random)))
                .collect();
            blocks.into_iter().for_each(Block::free);
        });
        thread.join().map_err(|_| "a thread panicked")?;
    }
    time_each(begin.elapsed(), threads);
    Ok(())
}
