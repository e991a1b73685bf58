//! Sleeping and timeouts: many at once, one that never comes, one that should be exact. tokio's timers count milliseconds.

use super::tasks::join;
use bench::figure;
use bench::workloads::latency::Latencies;
use bench::workloads::process;
use bench::workloads::sched::sizes::{self, SHORT_SLEEP, TIMEOUT};
use bench::workloads::sched::{Outcome, expect, time_each};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;

pub async fn timers(sleepers: u64) -> Outcome {
    async fn all(sleepers: u64) -> Result<Latencies, String> {
        let start = |i| tokio::spawn(late_by(sizes::sleep_of(i)));
        let tasks: Vec<_> = (0..sleepers).map(start).collect();
        let mut late = Latencies::with_capacity(tasks.len());
        for task in tasks {
            late.record(join(task).await??);
        }
        Ok(late)
    }
    all(sleepers).await?;
    let before = process::usage().cpu;
    let late = all(sleepers).await?;
    let cpu = process::usage().cpu - before;
    figure("cpu", cpu.as_secs_f64() * 1e3, "ms");
    late.report()
}

pub async fn sleep_precision(sleeps: u64) -> Outcome {
    let mut late = Latencies::default();
    for _ in 0..sleeps {
        late.record(late_by(SHORT_SLEEP).await?);
    }
    late.report()
}

/// How much longer than `time` it sleeps.
async fn late_by(time: Duration) -> Result<Duration, &'static str> {
    let start = Instant::now();
    tokio::time::sleep(time).await;
    let late = start.elapsed().checked_sub(time);
    late.ok_or("a sleep ended before its time")
}

pub async fn timer_reset(messages: u64) -> Outcome {
    async fn exchange(messages: u64) -> Outcome {
        let (ping, mut pinged) = mpsc::channel(1);
        let (pong, mut ponged) = mpsc::channel(1);
        let partner = tokio::spawn(async move {
            for i in 0..messages {
                expect("ping", timeout(TIMEOUT, pinged.recv()).await, Ok(Some(i)))?;
                pong.send(i).await.map_err(|why| why.to_string())?;
            }
            Ok(())
        });
        for i in 0..messages {
            ping.send(i).await.map_err(|why| why.to_string())?;
            expect("pong", timeout(TIMEOUT, ponged.recv()).await, Ok(Some(i)))?;
        }
        join(partner).await?
    }
    exchange(messages / 10).await?;
    let start = Instant::now();
    exchange(messages).await?;
    time_each(start.elapsed(), 2 * messages);
    Ok(())
}
