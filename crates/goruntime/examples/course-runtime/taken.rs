//! How long a goroutine waits for the only P while another one has it: computing, in a system call, or in a call that it has said will block.
//!
//! One goroutine starts another and keeps its thread busy for some time. When does the other one begin?

use crate::point;
use goruntime::{blocking, go, set_max_procs};
use std::hint::spin_loop;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Of so many trials the median counts.
const TRIALS: usize = 9;

/// What keeps a goroutine's thread for so long, and its name.
type Way = (&'static str, fn(Duration));

pub fn run_preemption(tiny: bool) {
    run(tiny, "preemption", &[("computing", compute)]);
}

pub fn run_system_calls(tiny: bool) {
    let ways: [Way; 3] = [
        ("nothing-said", sleep),
        ("marked-as-a-system-call", |time| {
            gosched::syscall(|| sleep(time))
        }),
        ("declared-as-blocking", |time| blocking(|| sleep(time))),
    ];
    run(tiny, "system-calls", &ways);
}

fn run(tiny: bool, plot: &str, ways: &[Way]) {
    let before = set_max_procs(1);
    let most = if tiny { 1 } else { 16 };
    for micros in (6..=most.max(6)).map(|power| 1u64 << power) {
        let time = Duration::from_micros(micros);
        let millis = format!("{:.3}", time.as_secs_f64() * 1e3);
        for (series, way) in ways {
            let trials = if tiny { 1 } else { TRIALS };
            let mut waits: Vec<f64> = (0..trials).map(|_| wait_behind(|| way(time))).collect();
            waits.sort_by(f64::total_cmp);
            point(plot, series, &millis, waits[trials / 2] * 1e3);
        }
    }
    set_max_procs(before);
}

/// Seconds until a goroutine begins that was started before its starter did `work`.
fn wait_behind(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    let other = go(move || start.elapsed());
    work();
    other.join().expect("it does not panic").as_secs_f64()
}

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        spin_loop();
    }
}
