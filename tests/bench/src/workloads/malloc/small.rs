//! Small blocks on one thread.

use super::block::{Block, small};
use super::time_each;
use crate::Arguments;
use crate::workloads::random::Random;
use std::collections::BTreeMap;
use std::time::Instant;

/// A block is allocated and freed at once: the shortest way through the allocator.
pub fn pairs(arguments: &Arguments) -> Result<(), String> {
    let count = arguments.scaled("pairs", 20_000_000);
    let mut random = Random::new(1);
    let mut run = |count: usize| (0..count).for_each(|_| Block::new(small(&mut random)).free());
    run(count / 20);
    let begin = Instant::now();
    run(count);
    time_each(begin.elapsed(), count);
    Ok(())
}

/// Batches are allocated and then freed: the newest first, the oldest first, or in random order.
pub fn batch(arguments: &Arguments) -> Result<(), String> {
    const BATCH: usize = 1000;
    let batches = arguments.scaled("batches", 8_000);
    let order = arguments.text("order", "lifo");
    let mut random = Random::new(2);
    let mut blocks = Vec::with_capacity(BATCH);
    let mut run = |batches: usize| {
        for _ in 0..batches {
            blocks.extend((0..BATCH).map(|_| Block::new(small(&mut random))));
            match order {
                "lifo" => blocks.drain(..).rev().for_each(Block::free),
                "fifo" => blocks.drain(..).for_each(Block::free),
                _ => {
                    while !blocks.is_empty() {
                        blocks.swap_remove(random.below(blocks.len())).free();
                    }
                }
            }
        }
    };
    if !["lifo", "fifo", "random"].contains(&order) {
        return Err(format!("order={order} is none of lifo, fifo, random"));
    }
    run(batches / 20 + 1);
    let begin = Instant::now();
    run(batches);
    time_each(begin.elapsed(), batches * BATCH);
    Ok(())
}

/// An ordered map of strings to strings, with entries that come and go: an ordinary program.
pub fn strings(arguments: &Arguments) -> Result<(), String> {
    let keys = arguments.scaled("keys", 40_000);
    let operations = keys * 10;
    let mut random = Random::new(3);
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    let value_of = |key: &str, number: usize| format!("{key}={}", "v".repeat(number % 200));
    let mut step = |map: &mut BTreeMap<String, String>| {
        let number = random.below(keys * 2);
        let key = format!("key-{number:08}");
        match map.remove(&key) {
            Some(value) if value != value_of(&key, number) => Err(format!("{key} has {value}")),
            Some(_) => Ok(()),
            None => {
                let value = value_of(&key, number);
                map.insert(key, value);
                Ok(())
            }
        }
    };
    for _ in 0..keys {
        step(&mut map)?;
    }
    let begin = Instant::now();
    for _ in 0..operations {
        step(&mut map)?;
    }
    time_each(begin.elapsed(), operations);
    Ok(())
}
