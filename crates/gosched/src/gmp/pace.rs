//! How long a P's goroutines run at a time, of late.
//!
//! Measured from one look into the poller to the next, where the clock is read anyway: the time between them, by the number of goroutines that ran. A
//! lap that was slower counts at once, one that was faster by and by, so that a few long runs are remembered for some laps.

use std::cell::Cell;

use crate::time::Nanos;

/// What a run is taken to last as long as nothing is known of it.
const UNKNOWN: Nanos = Nanos::from_millis(1);

/// A faster lap counts for one part in so many.
const MEMORY: u64 = 16;

/// Belongs to the owner of the P.
pub(crate) struct Pace {
    /// When the lap began, `NEVER` if none did, and the P's tick then.
    began: Cell<(Nanos, u32)>,
    run: Cell<Nanos>,
}

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace {
            began: Cell::new((Nanos::NEVER, 0)),
            run: Cell::new(UNKNOWN),
        }
    }

    /// A lap begins; what was before it does not count, for the P was idle.
    pub(crate) fn start(&self, now: Nanos, tick: u32) {
        self.began.set((now, tick));
    }

    /// A lap ends, and the next begins.
    pub(crate) fn lap(&self, now: Nanos, tick: u32) {
        let (began, first) = self.began.replace((now, tick));
        let runs = u64::from(tick.wrapping_sub(first));
        if began == Nanos::NEVER || runs == 0 {
            return;
        }
        let (seen, known) = ((now - began).0 / runs, self.run.get().0);
        self.run.set(Nanos(match known > seen {
            true => known - (known - seen) / MEMORY,
            false => seen,
        }));
    }

    /// How long so many goroutines will take one after the other, if they run as those before.
    pub(crate) fn expect(&self, goroutines: usize) -> Nanos {
        Nanos(self.run.get().0.saturating_mul(goroutines as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1000;

    /// Laps of ten runs that last so long each.
    fn laps(pace: &Pace, count: u32, each: u64) {
        let start = Nanos::from_millis(5);
        pace.start(start, u32::MAX);
        for lap in 1..=count {
            let now = Nanos(start.0 + u64::from(lap) * 10 * each);
            pace.lap(now, u32::MAX.wrapping_add(10 * lap));
        }
    }

    #[test]
    fn a_slow_lap_counts_at_once_and_a_fast_one_by_and_by() {
        let pace = Pace::new();
        assert_eq!(pace.expect(3), Nanos::from_millis(3));
        laps(&pace, 200, 5 * US);
        assert!((10 * US..11 * US).contains(&pace.expect(2).0));
        laps(&pace, 1, 300 * US);
        assert_eq!(pace.expect(2), Nanos(600 * US));
        laps(&pace, 1, 5 * US);
        assert!(pace.expect(1) > Nanos(250 * US));
        laps(&pace, 200, 5 * US);
        assert!(pace.expect(1) < Nanos(6 * US));
    }

    #[test]
    fn time_without_a_run_or_before_the_start_is_not_counted() {
        let pace = Pace::new();
        pace.lap(Nanos::from_millis(7), 3);
        assert_eq!(pace.expect(1), UNKNOWN);
        pace.lap(Nanos::from_millis(9), 3);
        assert_eq!(pace.expect(1), UNKNOWN);
        laps(&pace, 200, US);
        pace.start(Nanos::from_millis(5000), 9);
        pace.lap(Nanos::from_millis(5001), 1009);
        assert!(pace.expect(1) < Nanos(2 * US));
    }
}
