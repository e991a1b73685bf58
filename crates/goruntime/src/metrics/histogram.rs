//! How often something took how long.

use std::sync::atomic::{AtomicU64, Ordering::*};

/// How many values lay between which bounds, as Go's `runtime/metrics` has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// How many values lay in each bucket: `counts[n]` from `buckets[n]` up to, and without, `buckets[n + 1]`.
    pub counts: Vec<u64>,
    /// The bounds, in order; one more than there are buckets. The outermost may be infinite.
    pub buckets: Vec<f64>,
}

impl Histogram {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The value below which a part of all values lies, from 0 to 1, as exactly as the buckets tell: the upper bound of the bucket that it is in. `NaN` of none.
    pub fn quantile(&self, part: f64) -> f64 {
        let count = self.count();
        let rank = (part * count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (n, inside) in self.counts.iter().enumerate() {
            below += inside;
            if below >= rank {
                let (low, high) = (self.buckets[n], self.buckets[n + 1]);
                return if high.is_finite() { high } else { low };
            }
        }
        f64::NAN
    }
}

/// Buckets for each power of two: four, so a bound is at most a quarter above the last one.
const PARTS: u32 = 4;
/// The first bound above zero, as a power of two of nanoseconds.
const FIRST: u32 = 8;
/// The last one: 137 seconds.
const LAST: u32 = 37;
const BUCKETS: usize = ((LAST - FIRST) * PARTS) as usize + 2;

/// Times as they come, from any thread. Takes no lock.
pub(crate) struct Times {
    counts: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Times {
    pub(crate) const fn new() -> Times {
        Times {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            nanos: AtomicU64::new(0),
        }
    }

    pub(crate) fn add(&self, nanos: u64) {
        self.counts[bucket(nanos)].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// Their sum, in nanoseconds.
    pub(crate) fn sum(&self) -> u64 {
        self.nanos.load(Relaxed)
    }

    /// In seconds.
    pub(crate) fn histogram(&self) -> Histogram {
        let bounds = (0..BUCKETS).map(|n| lowest(n) as f64 / 1e9);
        Histogram {
            counts: self
                .counts
                .iter()
                .map(|count| count.load(Relaxed))
                .collect(),
            buckets: bounds.chain([f64::INFINITY]).collect(),
        }
    }
}

/// The bucket that a time belongs to.
fn bucket(nanos: u64) -> usize {
    let power = nanos.max(1).ilog2();
    if power < FIRST {
        return 0;
    }
    if power >= LAST {
        return BUCKETS - 1;
    }
    let part = (nanos >> (power - PARTS.ilog2())) as u32 % PARTS;
    ((power - FIRST) * PARTS + part) as usize + 1
}

/// The lowest time of a bucket.
fn lowest(bucket: usize) -> u64 {
    let Some(n) = (bucket as u32).checked_sub(1) else {
        return 0;
    };
    let (power, part) = (FIRST + n / PARTS, n % PARTS);
    u64::from(PARTS + part) << (power - PARTS.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_time_lies_in_its_bucket(nanos: u64) {
            for nanos in [nanos, nanos >> 20, nanos >> 40] {
                let n = bucket(nanos);
                prop_assert!(lowest(n) <= nanos);
                prop_assert!(n + 1 == BUCKETS || nanos < lowest(n + 1));
            }
        }
    }

    #[test]
    fn quantiles_are_bounds() {
        let times = Times::new();
        (1..=100).for_each(|ms| times.add(ms * 1_000_000));
        let histogram = times.histogram();
        assert_eq!((histogram.count(), times.sum()), (100, 5_050_000_000));
        let near = |part: f64, ms: f64| {
            let quantile = histogram.quantile(part) * 1e3;
            assert!(
                quantile >= ms && quantile <= ms * 1.3,
                "{part}: {quantile} ms"
            );
        };
        near(0.5, 50.0);
        near(0.99, 99.0);
        near(0.0, 1.0);
        assert!(Times::new().histogram().quantile(0.5).is_nan());
    }
}
