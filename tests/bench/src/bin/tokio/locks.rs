//! tokio's locks with short critical sections, which several tasks want at the same time.

use super::tasks::join;
use bench::workloads::sched::sizes::{LOCKERS, WRITE_EVERY};
use bench::workloads::sched::{Outcome, expect, time_each};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Mutex, RwLock};

pub async fn mutex(times: u64) -> Outcome {
    async fn count(times: u64, counter: Arc<Mutex<u64>>) {
        for _ in 0..times {
            *counter.lock().await += 1;
        }
    }
    let counter = Arc::new(Mutex::new(0));
    together(|| count(times / 10, counter.clone())).await?;
    let before = *counter.lock().await;
    let start = Instant::now();
    together(|| count(times, counter.clone())).await?;
    time_each(start.elapsed(), LOCKERS * times);
    expect(
        "counted under the lock",
        *counter.lock().await - before,
        LOCKERS * times,
    )
}

pub async fn rw_lock(times: u64) -> Outcome {
    async fn use_pair(times: u64, pair: Arc<RwLock<(u64, u64)>>) -> u64 {
        let mut torn = 0;
        for i in 0..times {
            if i % WRITE_EVERY == 0 {
                let mut pair = pair.write().await;
                *pair = (pair.0 + 1, pair.1 + 1);
            } else {
                let pair = pair.read().await;
                torn += u64::from(pair.0 != pair.1);
            }
        }
        torn
    }
    let pair = Arc::new(RwLock::new((0, 0)));
    together(|| use_pair(times / 10, pair.clone())).await?;
    let before = pair.read().await.0;
    let start = Instant::now();
    let torn = together(|| use_pair(times, pair.clone())).await?;
    time_each(start.elapsed(), LOCKERS * times);
    expect("torn reads", torn.iter().sum::<u64>(), 0)?;
    let written = pair.read().await.0 - before;
    expect("writes", written, LOCKERS * times.div_ceil(WRITE_EVERY))
}

/// Runs as many as [`LOCKERS`] to their end; what they returned.
async fn together<F>(body: impl Fn() -> F) -> Result<Vec<F::Output>, String>
where
    F: Future<Output: Send> + Send + 'static,
{
    let tasks: Vec<_> = (0..LOCKERS).map(|_| tokio::spawn(body())).collect();
    let mut outputs = Vec::new();
    for task in tasks {
        outputs.push(join(task).await?);
    }
    Ok(outputs)
}
