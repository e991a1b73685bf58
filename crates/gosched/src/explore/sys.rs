//! The kernel as the schedule explorer plays it: in place of the module `sys` in builds with `--cfg explore`.
//!
//! Time stands still, but a sleep with a deadline ends when nothing else can go on.

use crate::atomic::{AtomicU32, Ordering, fence};
use crate::time::Nanos;

/// As in the real module.
#[track_caller]
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, deadline: Option<Nanos>) -> bool {
    goexplore::futex::wait(word, expected, deadline.map(Nanos::to_duration))
}

/// As in the real module.
#[track_caller]
pub(crate) fn futex_wake(word: *const AtomicU32, count: i32) {
    goexplore::futex::wake(word, usize::try_from(count).unwrap_or(0));
}

/// As in the real module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsymmetricFence {
    /// As in the real module.
    Membarrier,
    /// As in the real module.
    #[allow(dead_code, reason = "for tests of the fallback")]
    Symmetric,
}

impl AsymmetricFence {
    /// The explorer never refuses it.
    pub(crate) fn new() -> AsymmetricFence {
        AsymmetricFence::Membarrier
    }

    /// As in the real module.
    #[inline]
    pub(crate) fn light(self) {
        match self {
            AsymmetricFence::Membarrier => goexplore::futex::light_fence(),
            AsymmetricFence::Symmetric => fence(Ordering::SeqCst),
        }
    }

    /// As in the real module.
    #[track_caller]
    pub(crate) fn heavy(self) -> bool {
        match self {
            AsymmetricFence::Membarrier => goexplore::futex::heavy_fence(),
            AsymmetricFence::Symmetric => {
                fence(Ordering::SeqCst);
                true
            }
        }
    }
}

/// Nobody asks: the models answer for the deadlock check themselves.
/// Nothing is measured here.
pub(crate) fn thread_cpu_time() -> Nanos {
    Nanos::ZERO
}

pub(crate) fn count_threads() -> Option<usize> {
    None
}
