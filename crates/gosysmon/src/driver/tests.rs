//! The thread, with a target that is a few atomics.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use super::*;
use crate::data::{PObservation, PState};
use crate::units::Nanos;

struct Fake {
    start: Instant,
    held: AtomicBool,
    tick: AtomicU32,
    observations: AtomicU64,
    retakes: AtomicU64,
    last_gc: Mutex<Nanos>,
    collections: AtomicU64,
}

impl Fake {
    fn new() -> Arc<Fake> {
        Arc::new(Fake {
            start: Instant::now(),
            held: AtomicBool::new(false),
            tick: AtomicU32::new(0),
            observations: AtomicU64::new(0),
            retakes: AtomicU64::new(0),
            last_gc: Mutex::new(Nanos(0)),
            collections: AtomicU64::new(0),
        })
    }

    fn now(&self) -> Nanos {
        Nanos(self.start.elapsed().as_nanos() as u64)
    }
}

impl Target for Arc<Fake> {
    fn observe(&self, into: &mut Observation) {
        self.observations.fetch_add(1, Ordering::Relaxed);
        into.now = self.now();
        into.last_gc = *self.last_gc.lock().unwrap();
        into.gc_possible = true;
        let held = self.held.load(Ordering::Relaxed);
        into.set_ps([PObservation {
            state: if held { PState::Running } else { PState::Idle },
            tick: self.tick.load(Ordering::Relaxed),
            ..PObservation::default()
        }]);
    }

    fn act(&self, actions: &Actions) {
        if !actions.retake.is_empty() {
            self.held.store(false, Ordering::Relaxed);
            self.retakes.fetch_add(1, Ordering::Relaxed);
        }
        if actions.force_gc {
            *self.last_gc.lock().unwrap() = self.now();
            self.collections.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits until `condition` holds; panics if it does not within ten seconds.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_p_that_is_held_is_taken_again_and_again_however_deep_the_monitor_sleeps() {
    let fake = Fake::new();
    let driver = Driver::start(Config::default(), 1, Arc::clone(&fake)).unwrap();
    let waker = driver.waker();
    for round in 1..=10 {
        eventually("deep sleep", || driver.control.deep.load(Ordering::Relaxed));
        fake.tick.fetch_add(1, Ordering::Relaxed);
        fake.held.store(true, Ordering::Relaxed);
        waker.wake();
        eventually("retake", || fake.retakes.load(Ordering::Relaxed) == round);
    }
}

/// A P that is held at the very moment when the monitor goes to sleep must not be overlooked.
#[test]
fn stress_no_wake_up_is_lost() {
    let fake = Fake::new();
    let config = Config {
        slice: Nanos::micros(20),
        ..Config::default()
    };
    let driver = Driver::start(config, 1, Arc::clone(&fake)).unwrap();
    let waker = driver.waker();
    let rounds = if cfg!(miri) { 20 } else { 2000 };
    for round in 1..=rounds {
        fake.tick.fetch_add(1, Ordering::Relaxed);
        fake.held.store(true, Ordering::Relaxed);
        waker.wake();
        let start = Instant::now();
        while fake.retakes.load(Ordering::Relaxed) < round {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "asleep with a P held"
            );
            std::hint::spin_loop();
        }
    }
}

#[test]
fn a_deep_sleep_ends_in_time_for_a_collection() {
    let fake = Fake::new();
    let config = Config {
        gc_period: Some(Nanos::millis(30)),
        ..Config::default()
    };
    let _driver = Driver::start(config, 1, Arc::clone(&fake)).unwrap();
    eventually("collections", || {
        fake.collections.load(Ordering::Relaxed) >= 3
    });
    assert!(fake.now() >= Nanos::millis(90));
    assert!(
        fake.observations.load(Ordering::Relaxed) < 1000,
        "busy with nothing"
    );
}

#[test]
fn stopping_does_not_wait_for_a_sleep_to_end() {
    let fake = Fake::new();
    let driver = Driver::start(Config::default(), 1, Arc::clone(&fake)).unwrap();
    eventually("deep sleep", || driver.control.deep.load(Ordering::Relaxed));
    let start = Instant::now();
    drop(driver);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(Arc::strong_count(&fake), 1, "the thread is still there");
}
