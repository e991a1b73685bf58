//! Monotonic time as the scheduler keeps it: nanoseconds in a `u64`.
//!
//! A number rather than `Instant`, because deadlines are kept in atomics, compared often and given
//! to the kernel.

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::clock;

/// A point on `CLOCK_MONOTONIC`, or a span of it, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Later than every deadline that is ever reached.
    pub const NEVER: Nanos = Nanos(u64::MAX);
    /// The origin; as a span, none at all.
    pub const ZERO: Nanos = Nanos(0);

    /// Now.
    #[inline]
    pub fn now() -> Nanos {
        Nanos(clock::monotonic())
    }

    /// A span of `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Nanos {
        Nanos(ms * 1_000_000)
    }

    /// A span, clipped at 584 years.
    pub fn from_duration(d: Duration) -> Nanos {
        Nanos(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The span as a `Duration`.
    pub fn to_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    pub(crate) fn to_timespec(self) -> libc::timespec {
        libc::timespec {
            tv_sec: (self.0 / 1_000_000_000) as libc::time_t,
            tv_nsec: (self.0 % 1_000_000_000) as libc::c_long,
        }
    }
}

impl Add for Nanos {
    type Output = Nanos;
    #[inline]
    fn add(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(other.0))
    }
}

impl Sub for Nanos {
    type Output = Nanos;
    #[inline]
    fn sub(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(other.0))
    }
}
