//! How long the world stood still, as a histogram.
//!
//! Go's shape (`runtime/histogram.go`): for each power of two of nanoseconds from 512 on four buckets, so that a bound is off by a quarter at most; one bucket for what is
//! shorter and one for what is longer. Recording is one addition, reading takes no lock.

use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Duration;

/// Buckets between one power of two and the next.
const SUB: u32 = 4;
/// The first power of two, and the one from which on nothing is told apart: half a microsecond and three days.
const FIRST: u32 = 9;
const LAST: u32 = 48;
const BUCKETS: usize = (SUB * (LAST - FIRST)) as usize + 2;

/// Counts of pauses by their length.
pub(crate) struct Recorder {
    counts: [AtomicU64; BUCKETS],
    total: AtomicU64,
    longest: AtomicU64,
}

/// Pauses by their length, as they were counted at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// How many there were from so many nanoseconds on, below the bound that follows: in order, beginning with those from 0 on.
    pub buckets: Vec<(u64, u64)>,
    /// All of them together, in nanoseconds.
    pub total_ns: u64,
    /// The longest, in nanoseconds.
    pub longest_ns: u64,
}

/// The bucket that so many nanoseconds fall into.
fn bucket(nanos: u64) -> usize {
    let power = nanos.checked_ilog2().unwrap_or(0);
    if power < FIRST {
        return 0;
    }
    if power >= LAST {
        return BUCKETS - 1;
    }
    let part = (nanos >> (power - SUB.ilog2())) as u32 % SUB;
    ((power - FIRST) * SUB + part) as usize + 1
}

/// Where a bucket begins, in nanoseconds.
fn bound(bucket: usize) -> u64 {
    let Some(bucket) = bucket.checked_sub(1) else {
        return 0;
    };
    let (power, part) = (bucket as u32 / SUB + FIRST, bucket as u64 % u64::from(SUB));
    (u64::from(SUB) + part) << (power - SUB.ilog2())
}

impl Recorder {
    pub(crate) const fn new() -> Recorder {
        Recorder {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            total: AtomicU64::new(0),
            longest: AtomicU64::new(0),
        }
    }

    pub(crate) fn record(&self, pause: Duration) {
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)].fetch_add(1, Relaxed);
        self.total.fetch_add(nanos, Relaxed);
        self.longest.fetch_max(nanos, Relaxed);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    pub(crate) fn longest(&self) -> u64 {
        self.longest.load(Relaxed)
    }

    pub(crate) fn read(&self) -> Pauses {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        Pauses {
            buckets: (0..).map(bound).zip(counts).collect(),
            total_ns: self.total(),
            longest_ns: self.longest(),
        }
    }
}

impl Pauses {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The length that so great a part of all is below, for instance 0.99, in nanoseconds: the end of a bucket, but no more than the longest. `None` if there was
    /// no pause.
    #[must_use]
    pub fn quantile_ns(&self, part: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * part).ceil().max(1.0) as u64;
        let mut below = 0;
        let at = self.buckets.iter().position(|(_, count)| {
            below += count;
            below >= wanted
        })?;
        let end = self.buckets.get(at + 1).map_or(u64::MAX, |next| next.0);
        Some(end.min(self.longest_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_falls_between_the_bounds_of_its_bucket(nanos in prop_oneof![0..2048_u64, any::<u64>()]) {
            let at = bucket(nanos);
            prop_assert!(bound(at) <= nanos);
            if at + 1 < BUCKETS {
                prop_assert!(nanos < bound(at + 1));
            }
        }
    }

    #[test]
    fn bounds_ascend_by_a_quarter_of_a_power_of_two() {
        let bounds: Vec<u64> = (0..7).map(bound).collect();
        assert_eq!(bounds, [0, 512, 640, 768, 896, 1024, 1280]);
        assert!((1..BUCKETS).all(|at| bound(at - 1) < bound(at)));
    }

    #[test]
    fn quantiles_are_ends_of_buckets() {
        let recorder = Recorder::new();
        assert_eq!(recorder.read().quantile_ns(0.5), None);
        for nanos in (1..=100).map(|n| n * 1000) {
            recorder.record(Duration::from_nanos(nanos));
        }
        let pauses = recorder.read();
        assert_eq!(
            (pauses.count(), pauses.longest_ns, pauses.total_ns),
            (100, 100_000, 5_050_000)
        );
        let half = pauses.quantile_ns(0.5).unwrap();
        assert!((50_000..62_500).contains(&half), "{half}");
        assert_eq!(pauses.quantile_ns(1.0), Some(100_000));
    }
}
