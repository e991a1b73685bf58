//! Waiting for a time, and asking who one is.

use std::panic::Location;
use std::time::{Duration, Instant};

use crate::gmp::g::current;
use crate::goroutine::{GoroutineId, WaitReason};
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::Waiter;

/// Waits for at least `duration`. From goroutines and plain threads.
pub fn sleep(duration: Duration) {
    sleep_to(simulated::now() + Nanos::from_duration(duration));
}

/// Waits at least until `instant`.
pub fn sleep_until(instant: Instant) {
    sleep_to(simulated::point_in_time(instant));
}

/// What time it is: [`Instant::now`], and in a simulation the time on its clock. Deadlines that a simulation is to keep are made from this one.
pub fn now() -> Instant {
    simulated::instant_now()
}

fn sleep_to(deadline: Nanos) {
    let waiter = Waiter::new();
    waiter.prepare(WaitReason::Sleep);
    waiter.wait_untold(deadline);
}

/// The number of the goroutine that calls; `None` on a plain thread. Async-signal-safe.
pub fn current_id() -> Option<GoroutineId> {
    current().map(|g| g.id())
}

/// The P that the calling goroutine runs with, by index; `None` on a plain thread. A hint, for what is kept by P: a moment later it may be another.
pub fn current_proc() -> Option<u32> {
    let p = current()?.own_m().last_p()?;
    Some(p.index)
}

/// Where the goroutine that calls was started; `None` on a plain thread. Async-signal-safe.
pub fn current_site() -> Option<&'static Location<'static>> {
    current()?.site()
}

/// Calls `f` with number, name and place of creation of the goroutine that calls; does nothing on a
/// plain thread.
///
/// Takes no lock and does not allocate, so that a fault handler may use it on the faulting
/// goroutine.
pub fn with_current<R>(
    f: impl FnOnce(GoroutineId, Option<&str>, Option<&'static Location<'static>>) -> R,
) -> Option<R> {
    let g = current()?;
    // SAFETY: `g` is the caller, and the name is changed only before and after its code runs.
    let name = unsafe { g.own_name() };
    Some(f(g.id(), name, g.site()))
}
