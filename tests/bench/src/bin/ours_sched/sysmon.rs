//! What the monitor costs, and what it is for: goroutines that do not give their thread up.

use super::blocking::Hogs;
use bench::workloads::latency::Latencies;
use bench::workloads::process;
use bench::workloads::sched::Outcome;
use bench::workloads::sched::sizes;
use bench::workloads::sysmon::{self, BLOCKED, HANDOFFS, IDLE_FOR, PARKED, SETTLING, TICK, TICKS};
use bench::{Arguments, figure};
use goruntime::{chan, go, time};
use std::time::Instant;

pub fn idle(arguments: &Arguments) -> Outcome {
    let parked = |_| {
        let (sender, receiver) = chan::unbuffered::<()>();
        (sender, go(move || receiver.recv().is_err()))
    };
    let parked: Vec<_> = (0..PARKED).map(parked).collect();
    time::sleep(SETTLING);
    let (before, start) = (process::usage(), Instant::now());
    time::sleep(IDLE_FOR.mul_f64(arguments.scale()));
    sysmon::report_idle(before, start.elapsed());
    for (sender, goroutine) in parked {
        drop(sender);
        if !goroutine.join().unwrap_or_else(|panic| panic.resume()) {
            return Err("a parked goroutine received what nobody sent".into());
        }
    }
    Ok(())
}

pub fn busy(arguments: &Arguments) -> Outcome {
    let procs = goruntime::max_procs();
    let hogs = Hogs::start(procs as u64);
    time::sleep(SETTLING);
    let (before, start) = (process::threads()?, Instant::now());
    time::sleep(IDLE_FOR.mul_f64(arguments.scale()));
    let (after, elapsed) = (process::threads()?, start.elapsed());
    hogs.stop();
    let overhead = sysmon::overhead(&before, &after, procs);
    figure(
        "overhead",
        overhead.as_secs_f64() * 1e3 / elapsed.as_secs_f64(),
        "ms/s",
    );
    Ok(())
}

pub fn hog_latency(arguments: &Arguments) -> Outcome {
    let ticks = arguments.scaled("ticks", TICKS);
    let hogs = Hogs::start(2 * sizes::processors());
    let ticker = go(move || {
        let mut late = Latencies::with_capacity(ticks as usize);
        let mut due = Instant::now();
        for _ in 0..ticks {
            due += TICK;
            time::sleep_until(due);
            late.record(due.elapsed());
        }
        late
    });
    let late = ticker.join().unwrap_or_else(|panic| panic.resume());
    hogs.stop();
    late.report()
}

pub fn blocked_handoff(arguments: &Arguments) -> Outcome {
    let handoffs = arguments.scaled("handoffs", HANDOFFS);
    let mut late = Latencies::with_capacity(handoffs as usize);
    for _ in 0..handoffs {
        let started = Instant::now();
        let other = go(move || started.elapsed());
        // Not announced with `goruntime::blocking`: it is for the monitor to find.
        std::thread::sleep(BLOCKED);
        late.record(other.join().unwrap_or_else(|panic| panic.resume()));
    }
    late.report()
}
