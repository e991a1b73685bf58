//! Latencies in buckets that are fine where latencies are short and coarse where they are long: each power of two is cut into
//! 32 equal parts, so that a bucket is never wider than 1/32 of its values (the layout of Gil Tene's HdrHistogram).
//!
//! Counts are atomic, so that the figures can be read while they are being taken.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const PART_BITS: u32 = 5;
const PARTS: usize = 1 << PART_BITS;

/// Enough for all of `u64`.
const BUCKETS: usize = PARTS * (65 - PART_BITS as usize);

/// Counts of values, in buckets.
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    max: AtomicU64,
}

/// The counts of a histogram, or of several together, at one moment.
#[derive(Clone, Debug)]
pub struct Counts {
    buckets: Vec<u64>,
    /// The largest value.
    pub max: u64,
}

fn bucket(value: u64) -> usize {
    let magnitude = value.max(1).ilog2();
    match magnitude.checked_sub(PART_BITS) {
        None => value as usize,
        Some(shift) => (shift as usize + 1) * PARTS + ((value >> shift) as usize - PARTS),
    }
}

/// The largest value that falls into a bucket.
fn upper(bucket: usize) -> u64 {
    match (bucket / PARTS).checked_sub(1) {
        None => bucket as u64,
        Some(shift) => {
            let first = (PARTS + bucket % PARTS) as u64;
            (first << shift) + ((1u64 << shift) - 1)
        }
    }
}

impl Histogram {
    /// No values.
    pub fn new() -> Histogram {
        Histogram {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            max: AtomicU64::new(0),
        }
    }

    /// Counts `value`, `times` times.
    pub fn record(&self, value: u64, times: u64) {
        self.buckets[bucket(value)].fetch_add(times, Relaxed);
        self.max.fetch_max(value, Relaxed);
    }
}

impl Counts {
    /// No counts.
    pub fn new() -> Counts {
        Counts {
            buckets: vec![0; BUCKETS],
            max: 0,
        }
    }

    /// Adds those of a histogram.
    pub fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.load(Relaxed);
        }
        self.max = self.max.max(histogram.max.load(Relaxed));
    }

    /// What was counted since `earlier`. The largest value stays that of all time.
    pub fn since(&self, earlier: &Counts) -> Counts {
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        Counts {
            buckets: pairs.map(|(now, then)| now - then).collect(),
            max: self.max,
        }
    }

    /// The number of values.
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The value that the fraction `quantile` of all values does not exceed, to the width of a bucket. 0 if there are no values.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((self.total() as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(bucket).min(self.max);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_cover_everything_in_order() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(upper(BUCKETS - 1), u64::MAX);
        for bucket in 1..BUCKETS {
            assert_eq!(super::bucket(upper(bucket)), bucket);
            assert_eq!(super::bucket(upper(bucket - 1) + 1), bucket);
        }
    }

    #[test]
    fn counts_since() {
        let histogram = Histogram::new();
        let snapshot = || {
            let mut counts = Counts::new();
            counts.add(&histogram);
            counts
        };
        histogram.record(10, 5);
        let before = snapshot();
        histogram.record(1000, 1);
        let after = snapshot();
        assert_eq!(after.since(&before).total(), 1);
        assert_eq!(after.since(&before).quantile(0.5), 1000);
        assert_eq!(after.quantile(0.5), 10);
        assert_eq!(Counts::new().quantile(0.99), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn quantiles_are_as_exact_as_promised(
            mut values in prop::collection::vec(any::<u64>().prop_map(|v| v >> (v % 64)), 1..200),
            quantile in 0.01f64..1.0,
        ) {
            let histogram = Histogram::new();
            values.iter().for_each(|value| histogram.record(*value, 1));
            let mut counts = Counts::new();
            counts.add(&histogram);
            values.sort_unstable();
            let exact = values[((values.len() as f64 * quantile).ceil() as usize).max(1) - 1];
            let found = counts.quantile(quantile);
            prop_assert!(found >= exact && found - exact <= exact / PARTS as u64);
            prop_assert_eq!(counts.max, values[values.len() - 1]);
        }
    }
}
