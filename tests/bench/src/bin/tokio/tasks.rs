//! Starting tasks, joining them, switching between them, parking many.

use bench::figure;
use bench::workloads::process;
use bench::workloads::sched::sizes::{self, CHILDREN, GROUP, ROUNDS};
use bench::workloads::sched::{Outcome, expect, time_each};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

/// What a task returned.
pub async fn join<T>(task: JoinHandle<T>) -> Result<T, String> {
    task.await.map_err(|why| why.to_string())
}

pub async fn spawn_join(count: u64) -> Outcome {
    async fn one_by_one(count: u64) -> Result<u64, String> {
        let mut sum = 0;
        for i in 0..count {
            sum += join(tokio::spawn(async move { i })).await?;
        }
        Ok(sum)
    }
    one_by_one(count / 10).await?;
    let start = Instant::now();
    let sum = one_by_one(count).await?;
    time_each(start.elapsed(), count);
    expect(
        "sum of what the tasks returned",
        sum,
        sizes::sum_below(count),
    )
}

pub async fn spawn_many(count: u64) -> Outcome {
    async fn at_once(count: u64) -> Outcome {
        let tasks: Vec<_> = (0..count).map(|i| tokio::spawn(async move { i })).collect();
        let mut sum = 0;
        for task in tasks {
            sum += join(task).await?;
        }
        expect(
            "sum of what the tasks returned",
            sum,
            sizes::sum_below(count),
        )
    }
    at_once(count).await?;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        at_once(count).await?;
    }
    time_each(start.elapsed(), count * ROUNDS);
    Ok(())
}

pub async fn wait_group(groups: u64) -> Outcome {
    async fn all(groups: u64, done: &Arc<AtomicU64>) {
        for _ in 0..groups {
            let mut group = JoinSet::new();
            for _ in 0..GROUP {
                let done = done.clone();
                group.spawn(async move { done.fetch_add(1, Relaxed) });
            }
            group.join_all().await;
        }
    }
    let done = Arc::new(AtomicU64::new(0));
    all(groups / 10, &done).await;
    done.store(0, Relaxed);
    let start = Instant::now();
    all(groups, &done).await;
    time_each(start.elapsed(), groups * GROUP);
    expect("tasks waited for", done.load(Relaxed), groups * GROUP)
}

pub async fn yielding(yields: u64) -> Outcome {
    async fn all(yields: u64) -> Result<u64, String> {
        let start = |_| {
            tokio::spawn(async move {
                for _ in 0..yields {
                    tokio::task::yield_now().await;
                }
                yields
            })
        };
        let tasks: Vec<_> = (0..sizes::YIELDERS).map(start).collect();
        let mut done = 0;
        for task in tasks {
            done += join(task).await?;
        }
        Ok(done)
    }
    all(yields / 10).await?;
    let start = Instant::now();
    let done = all(yields).await?;
    let count = yields * sizes::YIELDERS;
    time_each(start.elapsed(), count);
    expect("yields", done, count)
}

pub async fn skynet(leaves: u64) -> Outcome {
    async fn tree(leaves: u64) -> Outcome {
        let (up, mut result) = mpsc::channel(1);
        tokio::spawn(subtree(0, leaves, up));
        expect(
            "sum over the leaves",
            result.recv().await,
            Some(sizes::sum_below(leaves)),
        )
    }
    let leaves = sizes::leaves(leaves);
    tree(leaves).await?;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        tree(leaves).await?;
    }
    figure(
        "time",
        start.elapsed().as_secs_f64() * 1e3 / ROUNDS as f64,
        "ms",
    );
    Ok(())
}

/// Sends the sum of `leaves` numbers from `first` on. A future that starts itself has to be boxed.
fn subtree(
    first: u64,
    leaves: u64,
    up: mpsc::Sender<u64>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let mut sum = first;
        if leaves > 1 {
            let (sender, mut sums) = mpsc::channel(CHILDREN as usize);
            let each = leaves / CHILDREN;
            for child in 0..CHILDREN {
                tokio::spawn(subtree(first + child * each, each, sender.clone()));
            }
            drop(sender);
            sum = 0;
            while let Some(part) = sums.recv().await {
                sum += part;
            }
        }
        // If nobody receives, the sum above is wrong, and that is found out there.
        let _ = up.send(sum).await;
    })
}

pub async fn chain(tasks: u64, messages: u64) -> Outcome {
    async fn through(
        head: &mpsc::Sender<u64>,
        last: &mut mpsc::Receiver<u64>,
        tasks: u64,
    ) -> Outcome {
        head.send(0).await.map_err(|why| why.to_string())?;
        expect("hops of a message", last.recv().await, Some(tasks))
    }
    let (head, mut last) = mpsc::channel::<u64>(1);
    for _ in 0..tasks {
        let (next, receiver) = mpsc::channel(1);
        let mut from = std::mem::replace(&mut last, receiver);
        tokio::spawn(async move {
            while let Some(hops) = from.recv().await {
                if next.send(hops + 1).await.is_err() {
                    break;
                }
            }
        });
    }
    through(&head, &mut last, tasks).await?;
    let start = Instant::now();
    for _ in 0..messages {
        through(&head, &mut last, tasks).await?;
    }
    time_each(start.elapsed(), messages * tasks);
    drop(head);
    expect("message after the last", last.recv().await, None)
}

pub async fn parked_memory(count: u64) -> Outcome {
    join(tokio::spawn(async {})).await?;
    let running = Arc::new(AtomicU64::new(0));
    let before = process::resident()?;
    let start = |i: u64| {
        let (sender, receiver) = oneshot::channel::<u64>();
        let running = running.clone();
        let task = tokio::spawn(async move {
            running.fetch_add(1, Relaxed);
            receiver.await.map_or(0, |value| value + i)
        });
        (sender, task)
    };
    let parked: Vec<_> = (0..count).map(start).collect();
    while running.load(Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let bytes = process::resident()?.saturating_sub(before);
    figure("memory", bytes as f64 / count as f64, "B");
    let mut sum = 0;
    for (sender, task) in parked {
        sender.send(1).map_err(|_| "a parked task is gone")?;
        sum += join(task).await?;
    }
    expect(
        "sum of what the tasks returned",
        sum,
        sizes::sum_below(count) + count,
    )
}
