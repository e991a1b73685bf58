//! Sleeping and timeouts: many at once, one that never comes, one that should be exact.

use super::runtime::Runtime;
use super::sizes::{self, SHORT_SLEEP, TIMEOUT};
use super::{Outcome, expect, time_each};
use crate::workloads::latency::Latencies;
use crate::workloads::process;
use crate::{Arguments, figure};
use std::time::{Duration, Instant};

pub(super) fn timers<R: Runtime>(arguments: &Arguments) -> Outcome {
    let sleepers = arguments.scaled("sleepers", sizes::SLEEPERS);
    let all = || {
        let start = |i| R::spawn(move || late_by(sizes::sleep_of(i), R::sleep));
        let handles: Vec<_> = (0..sleepers).map(start).collect();
        let late: Option<Latencies> = handles.into_iter().map(R::join).collect();
        late.ok_or_else(too_early)
    };
    all()?;
    let before = process::usage().cpu;
    let late = all()?;
    let cpu = process::usage().cpu - before;
    figure("cpu", cpu.as_secs_f64() * 1e3, "ms");
    late.report()
}

pub(super) fn sleep_precision<R: Runtime>(arguments: &Arguments) -> Outcome {
    let sleeps = arguments.scaled("sleeps", sizes::SHORT_SLEEPS);
    let late: Option<Latencies> = (0..sleeps)
        .map(|_| late_by(SHORT_SLEEP, R::sleep))
        .collect();
    late.ok_or_else(too_early)?.report()
}

/// How much longer than `time` it sleeps; `None` if it wakes before.
fn late_by(time: Duration, sleep: impl FnOnce(Duration)) -> Option<Duration> {
    let start = Instant::now();
    sleep(time);
    start.elapsed().checked_sub(time)
}

fn too_early() -> String {
    "a sleep ended before its time".into()
}

pub(super) fn timer_reset<R: Runtime>(arguments: &Arguments) -> Outcome {
    let messages = arguments.scaled("messages", sizes::TIMEOUTS);
    let exchange = |messages: u64| {
        let (ping, pinged) = R::channel(0);
        let (pong, ponged) = R::channel(0);
        let partner = R::spawn(move || {
            (0..messages).try_for_each(|i| {
                let ping = R::receive_within(&pinged, TIMEOUT);
                R::send(&pong, i);
                expect("ping", ping, Some(i))
            })
        });
        for i in 0..messages {
            R::send(&ping, i);
            expect("pong", R::receive_within(&ponged, TIMEOUT), Some(i))?;
        }
        R::join(partner)
    };
    exchange(messages / 10)?;
    let start = Instant::now();
    exchange(messages)?;
    time_each(start.elapsed(), 2 * messages);
    Ok(())
}
