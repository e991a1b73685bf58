//! The sched suite: starting, switching, communicating, waiting.
//!
//! Written once over [`Runtime`] for runtimes whose tasks block; a runtime of futures writes each as its users would, with
//! the sizes of [`sizes`].

pub mod channels;
mod locks;
pub mod runtime;
pub mod sizes;
mod tasks;
mod timers;

use crate::{Workload, figure};
use runtime::Runtime;
use std::fmt::Debug;
use std::time::Duration;

/// What a workload comes to.
pub type Outcome = Result<(), String>;

/// The workloads that every such runtime can do.
pub fn workloads<R: Runtime>() -> Vec<Workload> {
    vec![
        ("spawn_join", tasks::spawn_join::<R>),
        ("spawn_many", tasks::spawn_many::<R>),
        ("yield", tasks::yielding::<R>),
        ("skynet", tasks::skynet::<R>),
        ("chain", tasks::chain::<R>),
        ("parked_memory", tasks::parked_memory::<R>),
        ("ping_pong", channels::ping_pong::<R>),
        ("ping_pong_parallel", channels::ping_pong_parallel::<R>),
        ("mpsc", channels::mpsc::<R>),
        ("fan_in", channels::fan_in::<R>),
        ("mutex", locks::mutex::<R>),
        ("rwlock", locks::rw_lock::<R>),
        ("timers", timers::timers::<R>),
        ("timer_reset", timers::timer_reset::<R>),
        ("sleep_precision", timers::sleep_precision::<R>),
    ]
}

/// An error unless both are the same.
///
/// # Errors
/// When they are not.
pub fn expect<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?} instead of {expected:?}"))
}

/// Prints the figure `time`: nanoseconds for each of `count`.
pub fn time_each(elapsed: Duration, count: u64) {
    figure("time", elapsed.as_nanos() as f64 / count as f64, "ns");
}
