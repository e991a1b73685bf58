//! Going idle: whatever is submitted is run, however the threads that could run it come and go.
//!
//! The argument is in `idle/README.md`; each rule of it is planted missing.

use super::inline::{two_that_meet, with_scheduler};
use super::{remove, weaken};
use crate::atomic::{AtomicBool, Ordering, thread};
use crate::sched::Retake;
use goexplore::{Exploration, Plant};
use std::sync::Arc;

/// A plain thread starts goroutines one after the other, so that Ms go idle in between.
fn from_outside() {
    with_scheduler(2, |scheduler| {
        let first = scheduler.spawn(|| 1).unwrap();
        let second = scheduler.spawn(|| 2).unwrap();
        assert_eq!(first.join().unwrap() + second.join().unwrap(), 3);
        let third = scheduler.spawn(|| 3).unwrap();
        assert_eq!(third.join().unwrap(), 3);
    });
}

/// A goroutine starts others, which must be run also if it does not end: here it ends only when they have.
fn from_within() {
    with_scheduler(2, |scheduler| {
        let parent = scheduler.spawn(|| {
            let child = scheduler.spawn(|| 1).unwrap();
            while !child.is_finished() {
                thread::yield_now();
            }
            child.join().unwrap()
        });
        assert_eq!(parent.unwrap().join().unwrap(), 1);
    });
}

/// Two goroutines that each wait for the other to have begun: both Ps are needed, whoever found the first one.
fn waiting_for_each_other() {
    with_scheduler(2, |scheduler| {
        let both = two_that_meet(scheduler);
        for one in both {
            one.join().unwrap();
        }
    });
}

/// The only P is taken from a goroutine that computes, for another one.
fn beside_a_hog() {
    with_scheduler(1, |scheduler| {
        let hog = scheduler.spawn(|| {
            let other = scheduler.spawn(|| 1).unwrap();
            while !other.is_finished() {
                thread::yield_now();
            }
            other.join().unwrap()
        });
        let hog = hog.unwrap();
        while !hog.is_finished() {
            if scheduler.retake(0) != Retake::Taken {
                thread::yield_now();
            }
        }
        assert_eq!(hog.join().unwrap(), 1);
    });
}

const WAKE: &str = "src/sched/threads.rs";
const SLEEP: &str = "src/sched/work.rs";

#[test]
fn explore_submitting_from_outside() {
    let exploration = Exploration::exhaustive().preemptions(1);
    exploration.check("gosched: submitting from outside", from_outside);
    let random = Exploration::random(1).executions(2000);
    random.check("gosched: submitting from outside", from_outside);
    let plants = vec![
        Plant::named("an M that goes idle does not look again"),
        Plant::named("a submitter wakes nobody"),
        Plant::named("a look in passing is relied on"),
        remove("src/gmp/m.rs", "sys::futex_wake(&self.parked, 1)"),
        remove("src/sched/maker.rs", "sys::futex_wake(&self.left, 1)"),
    ];
    random.catches("gosched: submitting from outside", plants, from_outside);
}

#[test]
fn explore_submitting_from_within() {
    let exploration = Exploration::exhaustive().preemptions(1);
    exploration.check("gosched: submitting from within", from_within);
    let random = Exploration::random(2).executions(2000);
    random.check("gosched: submitting from within", from_within);
    let plants = vec![
        Plant::named("an M that goes idle does not look again"),
        weaken(
            WAKE,
            "fence(Ordering::SeqCst);\n        if self.idle.wants_spinner()",
        ),
        weaken(SLEEP, "fence(Ordering::SeqCst)"),
    ];
    random.catches("gosched: submitting from within", plants, from_within);
}

#[test]
fn explore_waiting_for_each_other() {
    let exploration = Exploration::exhaustive().preemptions(1);
    exploration.check("gosched: waiting for each other", waiting_for_each_other);
    let random = Exploration::random(4).executions(2000);
    random.check("gosched: waiting for each other", waiting_for_each_other);
    let plants = vec![Plant::named("the last that looked for work wakes nobody")];
    random.catches(
        "gosched: waiting for each other",
        plants,
        waiting_for_each_other,
    );
}

#[test]
fn explore_a_hog() {
    let random = Exploration::random(3).executions(1000);
    random.check("gosched: beside a hog", beside_a_hog);
    let plants = vec![Plant::named("a P that was taken is not handed on")];
    random.catches("gosched: beside a hog", plants, beside_a_hog);
}
