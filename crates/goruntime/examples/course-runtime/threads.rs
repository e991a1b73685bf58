//! How many threads it takes to run goroutines that wait, by what they wait for.
//!
//! A goroutine that waits in the runtime - for a channel, for a time - takes none: its M runs others. One that is in a system call takes the thread that it is on, and its P goes
//! to another. Threads are kept for later, so the kinds are tried in this order.

use crate::point;
use goruntime::{blocking, chan, go, metrics, time};
use std::time::Duration;

pub fn run(tiny: bool) {
    let many = if tiny { 3 } else { 13 };
    for goroutines in (0..=many).map(|power| 1u32 << power) {
        let (hold, held) = chan::unbuffered::<()>();
        let waiting: Vec<_> = (0..goroutines)
            .map(|_| {
                let held = held.clone();
                go(move || held.recv().is_err())
            })
            .collect();
        point("threads", "for-a-channel", goroutines, count());
        drop(hold);
        join(waiting);
    }
    for goroutines in (0..=many).map(|power| 1u32 << power) {
        let waiting: Vec<_> = (0..goroutines)
            .map(|_| go(|| time::sleep(Duration::from_millis(60))))
            .collect();
        point("threads", "for-a-time", goroutines, count());
        join(waiting);
    }
    let some = if tiny { 1 } else { 8 };
    for goroutines in (0..=some).map(|power| 1u32 << power) {
        let waiting: Vec<_> = (0..goroutines)
            .map(|_| go(|| blocking(|| std::thread::sleep(Duration::from_millis(60)))))
            .collect();
        point("threads", "in-a-system-call", goroutines, count());
        join(waiting);
    }
}

/// Threads of the scheduler, a little later.
fn count() -> f64 {
    time::sleep(Duration::from_millis(20));
    f64::from(metrics::snapshot().threads)
}

fn join<T: Send + 'static>(all: Vec<goruntime::JoinHandle<T>>) {
    for one in all {
        one.join().expect("it does not panic");
    }
}
