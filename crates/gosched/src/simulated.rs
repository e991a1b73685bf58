//! What channels and locks ask when the calling goroutine may be of a simulation (`simulation.rs`): whether others shall run
//! first, and what time it is.
//!
//! One static says whether there has been any simulation in this process. Where there has not, which is every program that is not
//! a test, a point costs one load and one branch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::gmp::g::{Simulated, current};
use crate::time::Nanos;

/// There has been a simulation.
static ANY: AtomicBool = AtomicBool::new(false);

/// From now on points and clocks look whether they are in a simulation.
pub(crate) fn announce() {
    ANY.store(true, Ordering::Relaxed);
}

/// The simulation that the caller is in.
#[inline]
pub(crate) fn here() -> Option<(crate::gmp::g::GRef, &'static Simulated)> {
    if !ANY.load(Ordering::Relaxed) {
        return None;
    }
    let g = current()?;
    Some((g, g.ops.simulated.as_ref()?))
}

/// A place where what other goroutines do may make a difference. In a simulation the seed decides whether some of them run
/// first. To be called outside of critical sections, before the caller is known to any waker.
#[inline]
pub(crate) fn point() {
    if ANY.load(Ordering::Relaxed) {
        point_slow();
    }
}

#[cold]
fn point_slow() {
    if let Some((g, simulated)) = here() {
        // SAFETY: `g` is the caller, outside of critical sections.
        unsafe { (simulated.point)(g) }
    }
}

/// What time it is to the caller.
#[inline]
pub(crate) fn now() -> Nanos {
    match here() {
        // SAFETY: `g` is the caller.
        Some((g, simulated)) => unsafe { (simulated.now)(g) },
        None => Nanos::now(),
    }
}

/// The point in time that `instant` denotes to the caller. An `Instant` of a simulation is as far from the present one as the
/// two are on its clock.
pub(crate) fn point_in_time(instant: Instant) -> Nanos {
    let left = instant.saturating_duration_since(instant_now());
    now() + Nanos::from_duration(left)
}

/// As [`now`], as an `Instant`. The clock of a simulation began at a true time, so it can be told from the difference to the true
/// time now.
pub(crate) fn instant_now() -> Instant {
    match here() {
        None => Instant::now(),
        // SAFETY: `g` is the caller.
        Some((g, simulated)) => unsafe { (simulated.instant)(g) },
    }
}

/// The `Instant` that a point in time of the caller's clock is; never earlier.
pub(crate) fn instant_of(point: Nanos) -> Instant {
    let now = now();
    let instant = instant_now();
    if point > now {
        instant + (point - now).to_duration()
    } else {
        instant
            .checked_sub((now - point).to_duration())
            .unwrap_or(instant)
    }
}
