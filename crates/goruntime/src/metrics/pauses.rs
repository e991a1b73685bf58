//! For how long the world stood still.
//!
//! A pause begins when the first thread is asked to stop, and ends when nothing is left to be done that the others had to stand still for; *stopping* is the part of it
//! until the last one stands. What it takes to wake them is not in it: the first may have the processor of the thread that wakes, and it would be counted until that one
//! gets it back. (As in Go.)
//!
//! Invariant: what is called while the world stands still takes no lock and allocates nothing.

use super::histogram::Times;
use crate::events::{self, What};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::time::Instant;

/// Pauses that are kept one by one, the last ones. As many as in Go's `MemStats`.
const KEPT: usize = 256;

/// Pauses of one kind.
pub(crate) struct Pauses {
    pub(crate) stopping: Times,
    pub(crate) total: Times,
    last: [AtomicU64; KEPT],
    count: AtomicUsize,
    by_collector: bool,
}

/// Those that the collector needs, and all others.
pub(crate) static GC: Pauses = Pauses::new(true);
pub(crate) static OTHER: Pauses = Pauses::new(false);

impl Pauses {
    const fn new(by_collector: bool) -> Pauses {
        Pauses {
            stopping: Times::new(),
            total: Times::new(),
            last: [const { AtomicU64::new(0) }; KEPT],
            count: AtomicUsize::new(0),
            by_collector,
        }
    }

    /// One begins, which lasts until the value is dropped.
    pub(crate) fn begin(&'static self) -> Pause {
        events::note_other(What::Stopping {
            by_collector: self.by_collector,
        });
        Pause {
            kind: self,
            begin: Instant::now(),
        }
    }

    /// The last ones, in nanoseconds, in no order.
    pub(crate) fn last(&self) -> Vec<u64> {
        let count = self.count.load(Relaxed).min(KEPT);
        let kept = self.last[..count].iter();
        kept.map(|nanos| nanos.load(Relaxed)).collect()
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    fn add(&self, nanos: u64) {
        self.total.add(nanos);
        let n = self.count.fetch_add(1, Relaxed);
        self.last[n % KEPT].store(nanos, Relaxed);
    }
}

/// A pause that is under way.
pub(crate) struct Pause {
    kind: &'static Pauses,
    begin: Instant,
}

impl Pause {
    fn elapsed(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Everybody stands still. The pause lasts until what is returned is dropped, which is to be while they still do.
    pub(crate) fn stopped(self) -> Pause {
        self.kind.stopping.add(self.elapsed());
        events::note_other(What::Stopped);
        self
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.kind.add(self.elapsed());
        events::note_other(What::Started);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept() {
        static SOME: Pauses = Pauses::new(false);
        for n in 0..KEPT as u64 + 10 {
            SOME.add(n);
        }
        let mut last = SOME.last();
        last.sort_unstable();
        let expected: Vec<u64> = (10..KEPT as u64 + 10).collect();
        assert_eq!((SOME.count(), last), (KEPT + 10, expected));
        drop(SOME.begin().stopped());
        assert_eq!(
            (SOME.count(), SOME.stopping.histogram().count()),
            (KEPT + 11, 1)
        );
    }
}
