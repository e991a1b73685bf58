//! Sleeping.

pub use std::time::{Duration, Instant};

/// Parks the goroutine for `duration`. On a plain thread, the thread sleeps.
pub fn sleep(duration: Duration) {
    gosched::sleep(duration);
}

/// Parks the goroutine until `deadline`.
pub fn sleep_until(deadline: Instant) {
    gosched::sleep_until(deadline);
}
