//! How much processor time collection may take before it has to stand back.
//!
//! A bucket that collection fills and mutators drain, each by the processor time that they get; what does not fit is lost. It can only become full, and stay so, if
//! collection gets more than half. Then assists are called off until it is no longer full, and the heap grows instead: a program over its memory limit
//! had better be over it than dead. (Go, `runtime/mgclimit.go`.)

use crate::units::Nanos;

/// How much the bucket holds per processor: so long may collection take more than half.
const CAPACITY: Nanos = Nanos::millis(1000);

/// The bucket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limiter {
    filled: u64,
    at: Nanos,
    full: bool,
}

impl Limiter {
    /// From the last call until `now`, `collection` is the time that collection got of all `procs` processors together.
    pub fn update(&mut self, now: Nanos, collection: Nanos, procs: usize) {
        let procs = procs.max(1) as u64;
        let all = now.saturating_sub(self.at).0.saturating_mul(procs);
        self.at = self.at.max(now);
        let collection = collection.0.min(all);
        let mutators = all - collection;
        let capacity = CAPACITY.0.saturating_mul(procs);
        let filled = self.filled.saturating_add(collection);
        self.filled = filled.saturating_sub(mutators).min(capacity);
        self.full = self.filled == capacity;
    }

    /// Whether collection has to stand back.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Advances by a second, of which collection gets a part, in percent.
    fn second(limiter: &mut Limiter, now: &mut u64, percent: u64) -> bool {
        for _ in 0..10 {
            *now += 100_000_000;
            limiter.update(Nanos(*now), Nanos(2 * 1_000_000 * percent), 2);
        }
        limiter.is_full()
    }

    #[test]
    fn half_of_the_time_is_never_limited() {
        let (mut limiter, mut now) = (Limiter::default(), 0);
        assert!((0..100).all(|_| !second(&mut limiter, &mut now, 50)));
    }

    #[test]
    fn more_than_half_is_for_a_while_only() {
        let (mut limiter, mut now) = (Limiter::default(), 0);
        let seconds = (1..100).find(|_| second(&mut limiter, &mut now, 75));
        assert_eq!(
            seconds,
            Some(2),
            "a second of two processors' time too much in each"
        );
        assert!(!second(&mut limiter, &mut now, 10), "it recovers");
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_does_no_harm() {
        let mut limiter = Limiter::default();
        limiter.update(Nanos(500), Nanos(u64::MAX), 4);
        limiter.update(Nanos(400), Nanos(u64::MAX), 0);
        limiter.update(Nanos(u64::MAX), Nanos(0), usize::MAX);
        assert!(!limiter.is_full());
    }
}
