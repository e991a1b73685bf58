//! The experiments of the course's lesson on the monitor: its policy on a clock that does not wait. `cargo xtask lesson forced` runs them, and draws what they print.
//!
//! By hand: `cargo run --release -p gosysmon --example course-monitor forced`. Each line is a point, `plot series x y`.

use gosysmon::{Config, Monitor, Nanos, Observation, PObservation, PState, Sleep};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tiny = arguments.iter().any(|argument| argument == "--tiny");
    match arguments.first().map(String::as_str) {
        Some("forced") => {
            forced(if tiny { 3 } else { 12 });
            sleeps();
        }
        _ => {
            eprintln!("one of: forced");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// A point of a plot. In the name of a series a hyphen stands for a space.
fn point(plot: &str, series: &str, x: impl std::fmt::Display, y: f64) {
    println!("{plot} {series} {x} {y:.3}");
}

/// A program that collects by itself every twenty seconds until it goes quiet after three minutes.
fn forced(minutes: u64) {
    const EACH: Nanos = Nanos::secs(20);
    const QUIET: Nanos = Nanos::secs(180);
    for (series, period) in [
        ("forced", Config::default().gc_period),
        ("never-forced", None),
    ] {
        let config = Config {
            gc_period: period,
            ..Config::default()
        };
        let mut monitor = Monitor::new(config, 1);
        let mut seen = Observation::with_capacity(1);
        seen.gc_possible = true;
        let mut printed = Nanos(0);
        while seen.now < Nanos::secs(60 * minutes) {
            let busy = seen.now < QUIET;
            // While it is busy it gets on: its P is held, and each time with another tick.
            let state = if busy { PState::Running } else { PState::Idle };
            let tick = (seen.now.0 / 1_000_000) as u32;
            seen.set_ps([PObservation {
                state,
                tick,
                ..PObservation::default()
            }]);
            let (actions, sleep) = monitor.tick(&seen);
            let age = seen.now.saturating_sub(seen.last_gc);
            let collects = actions.force_gc || (busy && age >= EACH);
            let second = seen.now.0 as f64 / 1e9;
            // A point every ten seconds, and two at each collection.
            if collects || seen.now >= printed + Nanos::secs(10) {
                printed = seen.now;
                point("forced", series, format!("{second:.1}"), age.0 as f64 / 1e9);
            }
            if collects {
                seen.last_gc = seen.now;
                point("forced", series, format!("{second:.1}"), 0.0);
            }
            let (Sleep::For(time) | Sleep::Deep(time)) = sleep;
            // Nobody wakes this monitor, so that a deep sleep is cut short to look at it now and then.
            seen.now = seen.now + time.min(Nanos::secs(10));
        }
    }
}

/// How long the monitor sleeps, after it has been of use: while a goroutine gets on, and when nothing runs any more.
fn sleeps() {
    for (series, state) in [
        ("a-P-is-held", PState::Running),
        ("no-P-is-held", PState::Idle),
    ] {
        let mut monitor = Monitor::new(Config::default(), 1);
        let mut seen = Observation::with_capacity(1);
        for look in 1..=80 {
            let tick = look;
            seen.set_ps([PObservation {
                state,
                tick,
                ..PObservation::default()
            }]);
            let (_, sleep) = monitor.tick(&seen);
            let (Sleep::For(time) | Sleep::Deep(time)) = sleep;
            point("sleeps", series, look, time.0 as f64 / 1e3);
            seen.now = seen.now + time;
        }
    }
}
