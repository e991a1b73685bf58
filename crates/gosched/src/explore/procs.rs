//! Changing the number of Ps: whatever is in one that is retired is run all the same, and none is retired and in use at once.

use super::inline::{two_that_meet, with_scheduler};
use crate::atomic::{AtomicBool, Ordering, thread};
use goexplore::{Exploration, Plant};
use std::sync::Arc;

/// Goroutines lie in the queue of a P while the number is lowered, and come while it is raised.
fn fewer_and_more() {
    with_scheduler(2, |scheduler| {
        let parent = scheduler.spawn(|| {
            let one = scheduler.spawn(|| 1).unwrap();
            let two = scheduler.spawn(|| 2).unwrap();
            [one, two]
        });
        assert_eq!(scheduler.set_procs(1), 2);
        let late = scheduler.spawn(|| 3).unwrap();
        for (child, value) in parent.unwrap().join().unwrap().into_iter().zip(1..) {
            assert_eq!(child.join().unwrap(), value);
        }
        assert_eq!(scheduler.set_procs(2), 1);
        assert_eq!(late.join().unwrap(), 3);
    });
}

/// Two goroutines that each wait for the other to have begun are there before the second P is.
fn a_second_one_for_two() {
    with_scheduler(1, |scheduler| {
        let both = two_that_meet(scheduler);
        assert_eq!(scheduler.set_procs(2), 1);
        for one in both {
            one.join().unwrap();
        }
    });
}

#[test]
fn explore_fewer_and_more() {
    let random = Exploration::random(5).executions(1500);
    random.check("gosched: fewer and more Ps", fewer_and_more);
    let plants = vec![Plant::named("a P is emptied before it has been retired")];
    random.catches("gosched: fewer and more Ps", plants, fewer_and_more);
}

#[test]
fn explore_a_second_one_for_two() {
    let random = Exploration::random(6).executions(1000);
    random.check("gosched: a second P for two", a_second_one_for_two);
    let plants = vec![Plant::named("nobody is woken for a new P")];
    random.catches("gosched: a second P for two", plants, a_second_one_for_two);
}
