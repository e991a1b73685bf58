//! What it costs to start a goroutine: the first time, when its stack has to be made; again, with the stack of one that has ended; and a thread, for comparison.
//!
//! All that are started live at the same time, so that each needs a stack of its own.

use crate::point;
use goruntime::{JoinHandle, chan, go};
use std::sync::{Arc, Barrier};
use std::time::Instant;

pub fn run(tiny: bool) {
    let most = if tiny { 6 } else { 16 };
    for power in 5..=most {
        let count = 1usize << power;
        // As many as there were before are started from what those have left; what comes on top is new.
        let known = Waiting::start(if power == 5 { 0 } else { count / 2 });
        let new = count - known.goroutines.len();
        let (new_ones, first) = timed(new, || Waiting::start(new));
        new_ones.end();
        known.end();
        let (all, again) = timed(count, || Waiting::start(count));
        all.end();
        point("creation", "with-a-new-stack", count, first);
        point("creation", "with-a-used-stack", count, again);
        if count <= 1 << 12 {
            point("creation", "a-thread", count, threads(count));
        }
    }
}

/// Nanoseconds for each of `count`.
fn timed<T>(count: usize, body: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = body();
    let took = start.elapsed().as_secs_f64() * 1e9 / count as f64;
    (result, took)
}

/// Goroutines that have all begun, and wait.
struct Waiting {
    goroutines: Vec<JoinHandle<bool>>,
    hold: chan::Sender<()>,
}

impl Waiting {
    fn start(count: usize) -> Waiting {
        let (hold, held) = chan::unbuffered::<()>();
        let (begin, begun) = chan::bounded(1024);
        let goroutines = (0..count)
            .map(|_| {
                let (held, begin) = (held.clone(), begin.clone());
                go(move || {
                    begin.send(()).expect("somebody counts");
                    held.recv().is_err()
                })
            })
            .collect();
        (0..count).for_each(|_| begun.recv().expect("it begins"));
        Waiting { goroutines, hold }
    }

    fn end(self) {
        drop(self.hold);
        for goroutine in self.goroutines {
            assert!(goroutine.join().expect("it does not panic"));
        }
    }
}

/// Nanoseconds to start a thread, of so many that all wait.
fn threads(count: usize) -> f64 {
    goruntime::blocking(|| {
        let all = Arc::new(Barrier::new(count + 1));
        let (threads, took) = timed(count, || {
            let threads: Vec<_> = (0..count)
                .map(|_| {
                    let all = all.clone();
                    std::thread::spawn(move || {
                        all.wait();
                    })
                })
                .collect();
            all.wait();
            threads
        });
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        took
    })
}
