//! Waiting for another marker without hindering it.
//!
//! A marker that has run dry waits only as long as another is busy, which is usually microseconds: it spins a
//! little with growing pauses, then gives its processor away on each round, so that markers in excess of the
//! processors cost nothing but the yields.

use crate::atomic::{spin_loop, yield_now};

/// The state of one wait.
#[derive(Default)]
pub(crate) struct Backoff {
    round: u32,
}

impl Backoff {
    /// Rounds of spinning before yielding; the last one pauses 64 times.
    const SPIN_ROUNDS: u32 = 7;

    /// Rounds of spinning and yielding that are worth while for who has something else to do: some microseconds.
    const SHORT: u32 = if cfg!(explore) {
        1
    } else {
        Self::SPIN_ROUNDS + 4
    };

    /// As [`wait`](Self::wait), unless that has been done for some microseconds: then false.
    pub(crate) fn wait_shortly(&mut self) -> bool {
        if self.round == Self::SHORT {
            return false;
        }
        self.wait();
        true
    }

    /// Waits a little longer than the last time.
    pub(crate) fn wait(&mut self) {
        if self.round < Self::SPIN_ROUNDS {
            for _ in 0..1u32 << self.round {
                spin_loop();
            }
        } else {
            yield_now();
        }
        self.round = self.round.saturating_add(1);
    }
}
