//! Waiting for a group of goroutines.

use bench::Arguments;
use bench::workloads::sched::sizes::{self, GROUP};
use bench::workloads::sched::{Outcome, expect, time_each};
use goruntime::go;
use goruntime::sync::WaitGroup;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

pub fn wait_group(arguments: &Arguments) -> Outcome {
    let groups = arguments.scaled("groups", sizes::GROUPS);
    let (wait, done) = (Arc::new(WaitGroup::new()), Arc::new(AtomicU64::new(0)));
    let all = |groups: u64| {
        for _ in 0..groups {
            wait.add(GROUP as usize);
            for _ in 0..GROUP {
                let (wait, done) = (wait.clone(), done.clone());
                go(move || {
                    done.fetch_add(1, Relaxed);
                    wait.done();
                });
            }
            wait.wait();
        }
    };
    all(groups / 10);
    done.store(0, Relaxed);
    let start = Instant::now();
    all(groups);
    time_each(start.elapsed(), groups * GROUP);
    expect("goroutines waited for", done.load(Relaxed), groups * GROUP)
}
