//! Latencies, kept one by one, so that a percentile is a value that was measured.

use std::time::Duration;

/// What was measured, in nanoseconds, in no order.
#[derive(Debug, Default)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// Room for so many; recording those does not allocate.
    pub fn with_capacity(count: usize) -> Latencies {
        Latencies(Vec::with_capacity(count))
    }

    /// One more.
    pub fn record(&mut self, latency: Duration) {
        self.0
            .push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// All of another.
    pub fn append(&mut self, mut other: Latencies) {
        self.0.append(&mut other.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Prints `p50`, `p99` and `p99.9` in microseconds.
    ///
    /// # Errors
    /// When nothing was recorded.
    pub fn report(mut self) -> Result<(), String> {
        self.0.sort_unstable();
        for (name, mille) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
            let nanos = percentile(&self.0, mille);
            let nanos = nanos.ok_or("nothing was measured; give it a larger scale")?;
            crate::figure(name, nanos as f64 / 1e3, "us");
        }
        Ok(())
    }
}

/// The smallest value that so many of a thousand are not above.
fn percentile(sorted: &[u64], mille: usize) -> Option<u64> {
    let rank = (sorted.len() * mille).div_ceil(1000);
    sorted.get(rank.checked_sub(1)?).copied()
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Latencies {
        let mut latencies = Latencies::default();
        durations.into_iter().for_each(|d| latencies.record(d));
        latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_with_so_many_not_above_it() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 500), Some(50));
        assert_eq!(percentile(&hundred, 990), Some(99));
        assert_eq!(percentile(&[7], 999), Some(7));
        assert_eq!(percentile(&[], 500), None);
    }
}
