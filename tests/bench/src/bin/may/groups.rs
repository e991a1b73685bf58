//! What only some runtimes have: a channel with several receivers, and a group to wait for.

use super::runtime::May;
use bench::workloads::sched::sizes::{self, GROUP};
use bench::workloads::sched::{Outcome, channels, expect, time_each};
use bench::{Arguments, Workload};
use may::go;
use may::sync::{WaitGroup, mpmc};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// The workloads.
pub const WORKLOADS: &[Workload] = &[("mpmc", many_to_many), ("wait_group", wait_group)];

fn many_to_many(arguments: &Arguments) -> Outcome {
    let send = |sender: &mpmc::Sender<u64>, number| sender.send(number).expect("somebody receives");
    let receive = |receiver: &mpmc::Receiver<u64>| receiver.recv().ok();
    channels::mpmc::<May, _, _>(arguments, mpmc::channel, send, receive)
}

fn wait_group(arguments: &Arguments) -> Outcome {
    let groups = arguments.scaled("groups", sizes::GROUPS);
    let done = Arc::new(AtomicU64::new(0));
    let all = |groups: u64| {
        for _ in 0..groups {
            let group = WaitGroup::new();
            for _ in 0..GROUP {
                let (member, done) = (group.clone(), done.clone());
                drop(go!(move || {
                    done.fetch_add(1, Relaxed);
                    drop(member);
                }));
            }
            group.wait();
        }
    };
    all(groups / 10);
    done.store(0, Relaxed);
    let start = Instant::now();
    all(groups);
    time_each(start.elapsed(), groups * GROUP);
    expect("tasks waited for", done.load(Relaxed), groups * GROUP)
}
