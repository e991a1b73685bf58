//! What the monitor costs, and what it is for: goroutines that do not give their thread up.

use super::blocking::Hogs;
use bench::workloads::latency::Latencies;
use bench::workloads::process;
use bench::workloads::sched::Outcome;
use bench::workloads::sched::sizes;
use bench::workloads::sysmon::{
    self, AFTER_PEAK, BLOCKED, BLOCKED_UNDECLARED, HANDOFFS, IDLE_FOR, PARKED, PEAK, SETTLING,
    TICK, TICKS, UNDECLARED,
};
use bench::{Arguments, figure};
use goruntime::fs::File;
use goruntime::gc::{self, Gc};
use goruntime::{blocking, chan, go, metrics, time};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

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
        for _ in 0..ticks {
            let due = Instant::now() + TICK;
            time::sleep_until(due);
            late.record(due.elapsed());
        }
        late
    });
    let late = ticker.join().unwrap_or_else(|panic| panic.resume());
    hogs.stop();
    late.report()
}

pub fn hog_network(arguments: &Arguments) -> Outcome {
    let ticks = arguments.scaled("ticks", TICKS);
    let hogs = Hogs::start(2 * sizes::processors());
    let reader = go(move || {
        let alarm = sysmon::alarm()?;
        let mut events = File::from_std(alarm.try_clone()?)?;
        let mut late = Latencies::with_capacity(ticks as usize);
        for _ in 0..ticks {
            let due = Instant::now() + TICK;
            sysmon::set_alarm(&alarm, TICK)?;
            events.read_exact(&mut [0; 8])?;
            late.record(due.elapsed());
        }
        io::Result::Ok(late)
    });
    let late = reader.join().unwrap_or_else(|panic| panic.resume());
    hogs.stop();
    late.map_err(|why| why.to_string())?.report()
}

pub fn blocked_handoff(arguments: &Arguments) -> Outcome {
    let handoffs = arguments.scaled("handoffs", HANDOFFS);
    hand_over(handoffs, || blocking(|| std::thread::sleep(BLOCKED)))
}

pub fn undeclared_handoff(arguments: &Arguments) -> Outcome {
    let handoffs = arguments.scaled("handoffs", UNDECLARED);
    // Not declared with `blocking`: it is for the monitor to find.
    hand_over(handoffs, || std::thread::sleep(BLOCKED_UNDECLARED))
}

/// A heap grows to its peak and becomes garbage, and then nothing happens. With `quiet=1` nobody asks for a collection either.
pub fn after_peak(arguments: &Arguments) -> Outcome {
    let seconds = arguments.number("seconds", AFTER_PEAK);
    let is_quiet = arguments.number("quiet", 0u8) != 0;
    let objects = arguments.scaled("objects", PEAK);
    let peak = go(move || {
        let all: Vec<_> = (0..objects).map(|n| Gc::new([n; 128])).collect();
        let sum: u64 = all.iter().map(|object| object[127]).sum();
        (sum == objects * (objects - 1) / 2).then(process::resident)
    });
    let peak = peak.join().unwrap_or_else(|panic| panic.resume());
    let peak = peak.ok_or("the objects do not hold what was put into them")??;
    if !is_quiet {
        gc::collect();
    }
    let before = metrics::snapshot().gc_cycles;
    let mut after = Vec::with_capacity(seconds as usize);
    for _ in 0..seconds {
        time::sleep(Duration::from_secs(1));
        let cycles = metrics::snapshot().gc_cycles - before;
        after.push((process::resident()?, cycles));
    }
    sysmon::report_after_peak(peak, &after);
    Ok(())
}

/// Has a goroutine on each processor block, so often, and reports how long others waited that were ready.
fn hand_over(handoffs: u64, block: fn()) -> Outcome {
    let procs = goruntime::max_procs();
    let mut late = Latencies::with_capacity(handoffs as usize * procs);
    for _ in 0..handoffs {
        let running = Arc::new(AtomicUsize::new(0));
        let blocker = |_| {
            let running = running.clone();
            go(move || block_with_all(&running, procs, block))
        };
        let blockers: Vec<_> = (0..procs).map(blocker).collect();
        for blocker in blockers {
            late.record(blocker.join().unwrap_or_else(|panic| panic.resume()));
        }
    }
    late.report()
}

/// Waits until `all` run, one on each processor, so that none is idle; then makes a goroutine ready and blocks. How long that one waited.
fn block_with_all(running: &AtomicUsize, all: usize, block: fn()) -> Duration {
    running.fetch_add(1, Relaxed);
    while running.load(Relaxed) < all {
        std::hint::spin_loop();
    }
    let ready = Instant::now();
    let other = go(move || ready.elapsed());
    block();
    other.join().unwrap_or_else(|panic| panic.resume())
}
