//! Blocks on several threads: each its own, from one to the other, left to a successor, and threads that do not live long.

use super::block::{Block, mixed, small};
use super::time_each;
use crate::Arguments;
use crate::workloads::random::Random;
use std::sync::Barrier;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// Each thread replaces blocks of its own set at random, with the sizes of ordinary programs (after Larson and Krishnan).
pub fn replace(arguments: &Arguments) -> Result<(), String> {
    const LIVE: usize = 20_000;
    let threads = arguments.number("threads", 1usize);
    let count = arguments.scaled("replaced", 3_000_000);
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

/// One thread of each pair allocates, the other frees; emptied batches go back to be filled, so that nothing else is allocated.
pub fn remote(arguments: &Arguments) -> Result<(), String> {
    let pairs = arguments.number("pairs", 1usize);
    let batches = arguments.scaled("batches", 40_000);
    let begin = Instant::now();
    let freed = std::thread::scope(|scope| {
        let running: Vec<_> = (0..pairs)
            .map(|pair| scope.spawn(move || pass_on(4 + pair as u64, batches)))
            .collect();
        let mut freed = 0;
        for pair in running {
            freed += pair.join().map_err(|_| "an allocating thread panicked")??;
        }
        Ok::<usize, String>(freed)
    })?;
    let elapsed = begin.elapsed();
    if freed != pairs * batches * BATCH {
        return Err(format!(
            "{freed} blocks freed of {}",
            pairs * batches * BATCH
        ));
    }
    time_each(elapsed, freed);
    Ok(())
}

/// Blocks that go from thread to thread at once.
const BATCH: usize = 256;

/// Allocates batches for a thread that frees them; returns how many blocks that one freed.
fn pass_on(seed: u64, batches: usize) -> Result<usize, String> {
    const IN_FLIGHT: usize = 32;
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
    let mut random = Random::new(seed);
    for _ in 0..batches {
        let mut batch = empty.recv().map_err(|e| e.to_string())?;
        batch.extend((0..BATCH).map(|_| Block::new(small(&mut random))));
        full_in.send(batch).map_err(|e| e.to_string())?;
    }
    drop(full_in);
    freeing
        .join()
        .map_err(|_| "the freeing thread panicked".to_owned())
}

/// A server whose threads end and leave their blocks to successors (Larson and Krishnan): each thread replaces blocks of its set at random for
/// a while, starts the next thread, and gives it the set.
pub fn larson(arguments: &Arguments) -> Result<(), String> {
    const LIVE: usize = 1000;
    let threads = arguments.number("threads", 2usize);
    let turns = arguments.number("turns", 50usize);
    let replaced = arguments.scaled("replaced", 80_000);
    let (ended_in, ended) = sync_channel(threads);
    let begin = Instant::now();
    for seed in 0..threads {
        let (mut random, ended) = (Random::new(seed as u64 + 1), ended_in.clone());
        std::thread::spawn(move || {
            let blocks = (0..LIVE).map(|_| Block::new(served(&mut random))).collect();
            serve(Served {
                blocks,
                random,
                turns,
                replaced,
                ended,
            });
        });
    }
    drop(ended_in);
    let mut left = 0;
    for blocks in ended {
        left += blocks.len();
        blocks.into_iter().for_each(Block::free);
    }
    let elapsed = begin.elapsed();
    if left != threads * LIVE {
        return Err(format!(
            "{left} blocks came to the end of {}",
            threads * LIVE
        ));
    }
    time_each(elapsed, threads * turns * replaced);
    Ok(())
}

/// What a thread of [`larson`] leaves to the next.
struct Served {
    blocks: Vec<Block>,
    random: Random,
    /// How many threads are still to come, this one among them.
    turns: usize,
    /// How many blocks each replaces.
    replaced: usize,
    ended: SyncSender<Vec<Block>>,
}

/// A size as in Larson's and Krishnan's server.
fn served(random: &mut Random) -> usize {
    10 + random.below(491)
}

fn serve(mut set: Served) {
    for _ in 0..set.replaced {
        let new = Block::new(served(&mut set.random));
        let at = set.random.below(set.blocks.len());
        std::mem::replace(&mut set.blocks[at], new).free();
    }
    set.turns -= 1;
    if set.turns == 0 {
        // Nobody waits for it any more only where the measuring thread has failed.
        let _ = set.ended.send(set.blocks);
    } else {
        std::thread::spawn(move || serve(set));
    }
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
