//! When the helper gives how much memory back: policy over plain numbers, which tests run without waiting.
//!
//! Kept are a tenth over the most that was in use in the last half second, and one MiB; what is free beyond that is given back. A program that
//! allocates and frees in turn keeps its memory; one that has shrunk does not have it for long. What was in use before the first look is not known: what is free then counts as
//! having been, for it is that which was just freed that has the helper started. (Go keeps a tenth over what its pacer
//! expects the next cycle to need. `malloc` has no cycles: what was just in use is its best guess.)
//!
//! The work may take a hundredth of a processor. What is not used of that is saved up to [`CREDIT_MAX`], so a peak is gone in a moment, and a program
//! that goes up and down pays no more than the hundredth. While the heap is quiet, with as much in use as at the last look, it may be a twentieth: nobody is
//! there to be disturbed, or nobody who allocates, and what is left to do becomes less.

/// How long from one look to the next.
pub(super) const PERIOD: u64 = 100_000_000;
/// Looks that are remembered.
const WINDOW: usize = 5;
/// Free memory that is not worth a system call.
const LEAST: usize = 1 << 20;
/// Nanoseconds of work that can be saved up: the share of ten seconds. Two gigabytes take about 130 ms.
const CREDIT_MAX: i64 = 100_000_000;
/// Of so many nanoseconds one may be spent.
const SHARE: u64 = 100;
const QUIET_SHARE: u64 = 20;

pub(super) struct Pacing {
    /// Bytes in use at the last looks.
    recent: [usize; WINDOW],
    next: usize,
    /// As much was in use at the last look as at the one before.
    quiet: bool,
    /// Nanoseconds of work that may be done.
    credit: i64,
    /// When that was last brought up to date.
    counted: u64,
}

impl Pacing {
    /// To begin when the heap has `bytes` bytes, in use and free.
    pub(super) fn new(now: u64, bytes: usize) -> Pacing {
        Pacing {
            recent: [bytes; WINDOW],
            next: 0,
            quiet: false,
            credit: CREDIT_MAX,
            counted: now,
        }
    }

    /// How many bytes of the `idle` ones are to be given back. Called once per [`PERIOD`].
    pub(super) fn look(&mut self, in_use: usize, idle: usize) -> usize {
        let before = self.recent[(self.next + WINDOW - 1) % WINDOW];
        self.quiet = in_use == before;
        self.recent[self.next] = in_use;
        self.next = (self.next + 1) % WINDOW;
        let most = self.recent.iter().fold(0, |most, &bytes| most.max(bytes));
        let kept = most + most / 10 + LEAST;
        (in_use + idle).saturating_sub(kept).min(idle)
    }

    /// Whether there is time for some work.
    pub(super) fn may_work(&mut self, now: u64) -> bool {
        let share = if self.quiet { QUIET_SHARE } else { SHARE };
        let earned = now.saturating_sub(self.counted) / share;
        self.credit = (self.credit + earned as i64).min(CREDIT_MAX);
        self.counted = now;
        self.credit > 0
    }

    /// Work took so many nanoseconds.
    pub(super) fn worked(&mut self, nanos: u64) {
        self.credit -= nanos as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_was_just_in_use_is_kept_for_a_while() {
        let mut pacing = Pacing::new(0, 0);
        assert_eq!(pacing.look(200 * MIB, 0), 0);
        for _ in 1..WINDOW {
            assert_eq!(pacing.look(50 * MIB, 150 * MIB), 0);
        }
        assert_eq!(pacing.look(50 * MIB, 150 * MIB), 144 * MIB);
        assert_eq!(pacing.look(50 * MIB, 6 * MIB), 0);
        assert_eq!(pacing.look(0, 100 * MIB), 44 * MIB);
    }

    #[test]
    fn what_was_free_at_the_start_counts_as_used_until_then() {
        let mut pacing = Pacing::new(0, 100 * MIB);
        for _ in 1..WINDOW {
            assert_eq!(pacing.look(10 * MIB, 90 * MIB), 0);
        }
        assert_eq!(pacing.look(10 * MIB, 90 * MIB), 88 * MIB);
    }

    #[test]
    fn all_that_is_free_is_no_more_than_there_is() {
        let mut pacing = Pacing::new(0, 0);
        for _ in 0..WINDOW {
            pacing.look(0, 0);
        }
        assert_eq!(pacing.look(0, MIB / 2), 0);
        assert_eq!(pacing.look(0, 3 * MIB), 2 * MIB);
    }

    #[test]
    fn work_takes_its_share_of_the_time_in_the_long_run() {
        for (share, change) in [(SHARE, 1), (QUIET_SHARE, 0)] {
            its_share(share, change);
        }
    }

    fn its_share(share: u64, change: usize) {
        let mut pacing = Pacing::new(0, 0);
        let (mut spent, step, minute) = (0u64, 1_000_000, 60_000_000_000);
        for now in (0..minute).step_by(10_000_000) {
            pacing.look(MIB + now as usize * change, MIB);
            if pacing.may_work(now) {
                pacing.worked(step);
                spent += step;
            }
        }
        let allowed = minute / share + CREDIT_MAX as u64;
        assert!(
            (allowed - 2 * step..allowed + 2 * step).contains(&spent),
            "{spent}"
        );
    }

    #[test]
    fn a_peak_is_given_back_at_once() {
        let mut pacing = Pacing::new(0, 0);
        let mut steps = 0;
        while pacing.may_work(0) {
            pacing.worked(1_000_000);
            steps += 1;
        }
        assert_eq!(steps, 100);
        pacing.worked(2_000_000);
        assert!(!pacing.may_work(PERIOD));
        assert!(pacing.may_work(3 * PERIOD));
    }
}
