//! Locks with short critical sections, which several tasks want at the same time.

use super::runtime::Runtime;
use super::sizes::{self, LOCKERS, WRITE_EVERY};
use super::{Outcome, expect, time_each};
use crate::Arguments;
use std::sync::Arc;
use std::time::Instant;

pub(super) fn mutex<R: Runtime>(arguments: &Arguments) -> Outcome {
    let times = arguments.scaled("times", sizes::LOCKINGS);
    let counter = Arc::new(R::mutex(0_u64));
    let all = |times: u64| {
        together::<R, _>(|| {
            let counter = counter.clone();
            move || {
                for _ in 0..times {
                    R::lock(&counter, |count| *count += 1);
                }
            }
        });
    };
    all(times / 10);
    let before = R::lock(&counter, |count| *count);
    let start = Instant::now();
    all(times);
    time_each(start.elapsed(), LOCKERS * times);
    let counted = R::lock(&counter, |count| *count) - before;
    expect("counted under the lock", counted, LOCKERS * times)
}

pub(super) fn rw_lock<R: Runtime>(arguments: &Arguments) -> Outcome {
    let times = arguments.scaled("times", sizes::LOCKINGS);
    let pair = Arc::new(R::rw_lock((0_u64, 0_u64)));
    let torn = Arc::new(R::mutex(0_u64));
    let all = |times: u64| {
        together::<R, _>(|| {
            let (pair, torn) = (pair.clone(), torn.clone());
            move || {
                for i in 0..times {
                    if i % WRITE_EVERY == 0 {
                        R::write(&pair, |pair| *pair = (pair.0 + 1, pair.1 + 1));
                    } else if !R::read(&pair, |pair| pair.0 == pair.1) {
                        R::lock(&torn, |torn| *torn += 1);
                    }
                }
            }
        });
    };
    all(times / 10);
    let before = R::read(&pair, |pair| pair.0);
    let start = Instant::now();
    all(times);
    time_each(start.elapsed(), LOCKERS * times);
    expect("torn reads", R::lock(&torn, |torn| *torn), 0)?;
    let written = R::read(&pair, |pair| pair.0) - before;
    expect("writes", written, LOCKERS * times.div_ceil(WRITE_EVERY))
}

/// Runs as many as [`LOCKERS`] to their end.
fn together<R: Runtime, B: FnOnce() + Send + 'static>(body: impl Fn() -> B) {
    let handles: Vec<_> = (0..LOCKERS).map(|_| R::spawn(body())).collect();
    handles.into_iter().for_each(R::join);
}
