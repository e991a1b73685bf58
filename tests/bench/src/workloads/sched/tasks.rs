//! Starting tasks, joining them, switching between them, parking many.

use super::runtime::Runtime;
use super::sizes::{self, CHILDREN, ROUNDS};
use super::{Outcome, expect, time_each};
use crate::workloads::process;
use crate::{Arguments, figure};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(super) fn spawn_join<R: Runtime>(arguments: &Arguments) -> Outcome {
    let count = arguments.scaled("count", sizes::SPAWN_JOIN);
    let one_by_one = |count| {
        (0..count)
            .map(|i| R::join(R::spawn(move || i)))
            .sum::<u64>()
    };
    one_by_one(count / 10);
    let start = Instant::now();
    let sum = one_by_one(count);
    time_each(start.elapsed(), count);
    expect(
        "sum of what the tasks returned",
        sum,
        sizes::sum_below(count),
    )
}

pub(super) fn spawn_many<R: Runtime>(arguments: &Arguments) -> Outcome {
    let count = arguments.scaled("count", sizes::SPAWN_MANY);
    let at_once = || {
        let handles: Vec<_> = (0..count).map(|i| R::spawn(move || i)).collect();
        handles.into_iter().map(R::join).sum::<u64>()
    };
    at_once();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        expect(
            "sum of what the tasks returned",
            at_once(),
            sizes::sum_below(count),
        )?;
    }
    time_each(start.elapsed(), count * ROUNDS);
    Ok(())
}

pub(super) fn yielding<R: Runtime>(arguments: &Arguments) -> Outcome {
    let yields = arguments.scaled("yields", sizes::YIELDS);
    let done = Arc::new(AtomicU64::new(0));
    let all = |yields: u64| {
        let start = |_| {
            let done = done.clone();
            R::spawn(move || {
                for _ in 0..yields {
                    R::yield_now();
                }
                done.fetch_add(yields, Relaxed);
            })
        };
        let handles: Vec<_> = (0..sizes::YIELDERS).map(start).collect();
        handles.into_iter().for_each(R::join);
    };
    all(yields / 10);
    done.store(0, Relaxed);
    let start = Instant::now();
    all(yields);
    let count = yields * sizes::YIELDERS;
    time_each(start.elapsed(), count);
    expect("yields", done.load(Relaxed), count)
}

pub(super) fn skynet<R: Runtime>(arguments: &Arguments) -> Outcome {
    let leaves = sizes::leaves(arguments.scaled("leaves", sizes::LEAVES));
    let tree = || {
        let (up, result) = R::channel(1);
        drop(R::spawn(move || subtree::<R>(0, leaves, &up)));
        R::receive(&result)
    };
    tree();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        expect(
            "sum over the leaves",
            tree(),
            Some(sizes::sum_below(leaves)),
        )?;
    }
    figure(
        "time",
        start.elapsed().as_secs_f64() * 1e3 / ROUNDS as f64,
        "ms",
    );
    Ok(())
}

/// Sends the sum of `leaves` numbers from `first` on.
fn subtree<R: Runtime>(first: u64, leaves: u64, up: &R::Sender<u64>) {
    if leaves == 1 {
        return R::send(up, first);
    }
    let (sender, sums) = R::channel(CHILDREN as usize);
    let each = leaves / CHILDREN;
    for child in 0..CHILDREN {
        let up = sender.clone();
        drop(R::spawn(move || {
            subtree::<R>(first + child * each, each, &up)
        }));
    }
    drop(sender);
    let sum = (0..CHILDREN).filter_map(|_| R::receive(&sums)).sum();
    R::send(up, sum);
}

pub(super) fn chain<R: Runtime>(arguments: &Arguments) -> Outcome {
    let tasks = arguments.number("tasks", sizes::CHAIN);
    let messages = arguments.scaled("messages", sizes::CHAIN_MESSAGES);
    let (head, mut last) = R::channel(0);
    for _ in 0..tasks {
        let (next, receiver) = R::channel(0);
        let from = std::mem::replace(&mut last, receiver);
        drop(R::spawn(move || {
            while let Some(hops) = R::receive(&from) {
                R::send(&next, hops + 1);
            }
        }));
    }
    let through = || {
        R::send(&head, 0);
        expect("hops of a message", R::receive(&last), Some(tasks))
    };
    through()?;
    let start = Instant::now();
    for _ in 0..messages {
        through()?;
    }
    time_each(start.elapsed(), messages * tasks);
    drop(head);
    expect("message after the last", R::receive(&last), None)
}

pub(super) fn parked_memory<R: Runtime>(arguments: &Arguments) -> Outcome {
    let count = arguments.scaled("count", sizes::PARKED);
    R::join(R::spawn(|| ()));
    let running = Arc::new(AtomicU64::new(0));
    let before = process::resident()?;
    let start = |i: u64| {
        let (sender, receiver) = R::channel::<u64>(1);
        let running = running.clone();
        let handle = R::spawn(move || {
            running.fetch_add(1, Relaxed);
            R::receive(&receiver).map(|value| value + i)
        });
        (sender, handle)
    };
    let parked: Vec<_> = (0..count).map(start).collect();
    while running.load(Relaxed) < count {
        R::sleep(Duration::from_millis(1));
    }
    let bytes = process::resident()?.saturating_sub(before);
    figure("memory", bytes as f64 / count as f64, "B");
    let mut sum = 0;
    for (sender, handle) in parked {
        R::send(&sender, 1);
        sum += R::join(handle).unwrap_or(0);
    }
    expect(
        "sum of what the tasks returned",
        sum,
        sizes::sum_below(count) + count,
    )
}
