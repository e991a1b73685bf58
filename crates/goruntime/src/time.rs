//! Sleeping, and what time it is.

pub use std::time::{Duration, Instant};

/// What time it is: [`Instant::now`], and inside a [`simulation`](crate::simulation) the time on its clock. Deadlines that are to
/// work in simulations are made from this one.
pub fn now() -> Instant {
    gosched::now()
}

/// Parks the goroutine for `duration`. On a plain thread, the thread sleeps.
pub fn sleep(duration: Duration) {
    gosched::sleep(duration);
}

/// Parks the goroutine until `deadline`.
pub fn sleep_until(deadline: Instant) {
    gosched::sleep_until(deadline);
}
