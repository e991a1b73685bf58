//! Calls that block their thread, and computing beside tasks that should not wait for it: `spawn_blocking`, as tokio asks for.

use super::tasks::join;
use bench::figure;
use bench::workloads::latency::Latencies;
use bench::workloads::sched::sizes::{self, BLOCKING_CALL, SHORT_TASK, SHORT_TASK_AFTER};
use bench::workloads::sched::{Outcome, expect, time_each};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;

pub async fn blocking_calls(calls: u64) -> Outcome {
    async fn all(calls: u64) -> Result<u64, String> {
        let start = |_| {
            tokio::spawn(async move {
                let mut made = 0;
                for _ in 0..calls {
                    join(spawn_blocking(|| std::thread::sleep(BLOCKING_CALL))).await?;
                    made += 1;
                }
                Ok::<u64, String>(made)
            })
        };
        let tasks: Vec<_> = (0..sizes::BLOCKERS).map(start).collect();
        let mut made = 0;
        for task in tasks {
            made += join(task).await??;
        }
        Ok(made)
    }
    all(calls / 10).await?;
    let start = Instant::now();
    let made = all(calls).await?;
    figure("time", start.elapsed().as_secs_f64() * 1e3, "ms");
    expect("calls", made, sizes::BLOCKERS * calls)
}

pub async fn blocking_short(calls: u64) -> Outcome {
    // SAFETY: the call takes nothing and cannot fail.
    let parent = || join(spawn_blocking(|| unsafe { libc::getppid() }));
    let expected = parent().await?;
    let start = Instant::now();
    let mut same = 0;
    for _ in 0..calls {
        same += u64::from(parent().await? == expected);
    }
    time_each(start.elapsed(), calls);
    expect("calls with the right answer", same, calls)
}

pub async fn cpu_and_io(tasks: u64) -> Outcome {
    let over = Arc::new(AtomicBool::new(false));
    let hog = |_| {
        let over = over.clone();
        spawn_blocking(move || {
            while !over.load(Relaxed) {
                sizes::burn(SHORT_TASK);
            }
        })
    };
    let hogs: Vec<_> = (0..sizes::processors()).map(hog).collect();
    let mut late = Latencies::with_capacity(tasks as usize);
    let right = sizes::burn(SHORT_TASK);
    for _ in 0..tasks {
        let due = Instant::now() + SHORT_TASK_AFTER;
        sleep_until(due.into()).await;
        let task = tokio::spawn(async { sizes::burn(SHORT_TASK) });
        let answer = join(task).await?;
        late.record(due.elapsed());
        expect("what a short task computed", answer, right)?;
    }
    over.store(true, Relaxed);
    for hog in hogs {
        join(hog).await?;
    }
    late.report()
}
