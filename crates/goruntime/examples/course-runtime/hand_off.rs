//! What it is worth that any M can run any goroutine: a token goes round a ring of goroutines, first of ordinary ones, then of such that are locked to a thread each.
//!
//! To pass it on between ordinary ones is a switch of stacks on one thread. A locked one can run on its own thread only, so that each step is a P handed over and a thread woken.

use crate::point;
use goruntime::{chan, go, lock_os_thread};
use std::time::Instant;

pub fn run(tiny: bool) {
    let most = if tiny { 1 } else { 6 };
    for members in (1..=most).map(|power| 1u32 << power) {
        let (ordinary, locked) = if tiny { (100, 100) } else { (200_000, 10_000) };
        point(
            "hand-off",
            "any-thread",
            members,
            ring(members, ordinary, false),
        );
        point(
            "hand-off",
            "each-its-own-thread",
            members,
            ring(members, locked, true),
        );
    }
}

/// Nanoseconds for each time that a token is passed on.
fn ring(members: u32, passes: u32, locked: bool) -> f64 {
    let rounds = (passes / members).max(1);
    let (first, mut previous) = chan::unbuffered::<()>();
    let mut goroutines = Vec::new();
    for _ in 0..members {
        let (next, received) = chan::unbuffered::<()>();
        let from = std::mem::replace(&mut previous, received);
        goroutines.push(go(move || {
            let _lock = locked.then(lock_os_thread);
            while from.recv().is_ok() {
                if next.send(()).is_err() {
                    return;
                }
            }
        }));
    }
    let turn = || {
        first.send(()).expect("the ring is there");
        previous.recv().expect("the ring is there");
    };
    // All have begun, and are where they are going to run.
    turn();
    let start = Instant::now();
    (0..rounds).for_each(|_| turn());
    let took = start.elapsed().as_secs_f64() * 1e9;
    drop(first);
    for goroutine in goroutines {
        goroutine.join().expect("it does not panic");
    }
    took / f64::from(rounds * (members + 1))
}
