//! Goroutines that block their thread, and goroutines that compute beside others that should not wait for them.

use bench::workloads::latency::Latencies;
use bench::workloads::sched::sizes::{self, BLOCKING_CALL, SHORT_TASK, SHORT_TASK_AFTER};
use bench::workloads::sched::{Outcome, expect, time_each};
use bench::{Arguments, figure};
use goruntime::{JoinHandle, blocking, go, time};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

pub fn blocking_calls(arguments: &Arguments) -> Outcome {
    let calls = arguments.scaled("calls", sizes::BLOCKING_CALLS);
    let all = |calls: u64| {
        let start = |_| {
            go(move || {
                // std's sleep blocks the thread.
                let call = || blocking(|| std::thread::sleep(BLOCKING_CALL));
                (0..calls).map(|_| call()).count() as u64
            })
        };
        let handles: Vec<_> = (0..sizes::BLOCKERS).map(start).collect();
        let joined = handles.into_iter().map(JoinHandle::join);
        joined
            .map(|count| count.unwrap_or_else(|panic| panic.resume()))
            .sum::<u64>()
    };
    all(calls / 10);
    let start = Instant::now();
    let made = all(calls);
    figure("time", start.elapsed().as_secs_f64() * 1e3, "ms");
    expect("calls", made, sizes::BLOCKERS * calls)
}

pub fn blocking_short(arguments: &Arguments) -> Outcome {
    let calls = arguments.scaled("calls", sizes::BLOCKING_SHORT);
    // SAFETY: the call takes nothing and cannot fail.
    let parent = || blocking(|| unsafe { libc::getppid() });
    let expected = parent();
    let start = Instant::now();
    let same = (0..calls).filter(|_| parent() == expected).count() as u64;
    time_each(start.elapsed(), calls);
    expect("calls with the right answer", same, calls)
}

pub fn cpu_and_io(arguments: &Arguments) -> Outcome {
    let tasks = arguments.scaled("tasks", sizes::SHORT_TASKS);
    let hogs = Hogs::start(sizes::processors());
    let mut late = Latencies::with_capacity(tasks as usize);
    let right = sizes::burn(SHORT_TASK);
    for _ in 0..tasks {
        let due = Instant::now() + SHORT_TASK_AFTER;
        time::sleep_until(due);
        let task = go(|| sizes::burn(SHORT_TASK));
        let answer = task.join().unwrap_or_else(|panic| panic.resume());
        late.record(due.elapsed());
        expect("what a short task computed", answer, right)?;
    }
    hogs.stop();
    late.report()
}

/// Goroutines that compute and never wait.
pub struct Hogs {
    over: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

impl Hogs {
    /// Starts so many.
    pub fn start(count: u64) -> Hogs {
        let over = Arc::new(AtomicBool::new(false));
        let hog = |_| {
            let over = over.clone();
            go(move || {
                while !over.load(Relaxed) {
                    sizes::burn(SHORT_TASK);
                }
            })
        };
        let running = (0..count).map(hog).collect();
        Hogs { over, running }
    }

    /// Ends them.
    pub fn stop(self) {
        self.over.store(true, Relaxed);
        for hog in self.running {
            hog.join().unwrap_or_else(|panic| panic.resume());
        }
    }
}
