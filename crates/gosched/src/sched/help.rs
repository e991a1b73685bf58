//! Whether what the poller has found is worth a second M.
//!
//! A look into the poller makes a batch of goroutines runnable. In a server most of them run for microseconds: as long as it takes to read a request
//! and to answer it. Go wakes an M for every batch (`injectglist`), to share it. Where a processor is idle that M is there within
//! microseconds. Where all are busy - with the clients, with other programs - it lines up behind them for some hundred, comes when there is
//! nothing left, and has by then kept a client from its processor; or it comes in time, takes half of the batch, and is made to wait with it.
//!
//! So a second M is woken if the batch will take longer than twice the time that it takes an M to come: then it still finds half. How
//! long the batch will take, the P knows from the runs before ([`Pace`](crate::gmp::pace::Pace)). How long an M takes to come is measured when one comes. As no measurements are
//! taken while nobody is woken, the time is believed to shrink with each batch that is kept, until it is tried again.
//!
//! Only batches of the poller are treated so, and only whether they are shared is in question: they lie in the ring of a P that is about to run them.
//! If a goroutine runs for longer than was foretold, the others wait for it, until the monitor takes its P (`retake.rs`), as they would on a single P; and for a
//! while its P expects the like.

use crate::atomic::{AtomicU64, Ordering};

use crate::critical::Section;
use crate::env::Env;
use crate::gmp::p::P;
use crate::sched::Scheduler;
use crate::time::Nanos;

/// What is believed before one has come.
const UNKNOWN: Nanos = Nanos(10_000);
/// An M that is later than this says no more than one that comes then.
const LONGEST: Nanos = Nanos::from_millis(1);
/// One that comes sooner than is believed counts for one part in so many.
const MEMORY: u64 = 8;
/// And a batch that is kept for one part in so many.
const DOUBT: u64 = 256;

/// How long an M takes to come that is woken: a belief that any M may change. Changes that are lost do not matter.
pub(super) struct Coming(AtomicU64);

impl Coming {
    pub(super) fn new() -> Coming {
        Coming(AtomicU64::new(UNKNOWN.0))
    }

    /// One has come, so long after it was called.
    pub(super) fn took(&self, time: Nanos) {
        let (seen, believed) = (time.min(LONGEST).0, self.0.load(Ordering::Relaxed));
        let now = match believed > seen {
            true => believed - (believed - seen) / MEMORY,
            false => seen,
        };
        self.0.store(now, Ordering::Relaxed);
    }

    /// Whether an M that is woken now would find half of the work.
    fn is_in_time_for(&self, work: Nanos) -> bool {
        // The explorer has no time, and tries both.
        #[cfg(explore)]
        if goexplore::choose(2) == 0 {
            return false;
        }
        let believed = self.0.load(Ordering::Relaxed);
        let in_time = cfg!(explore) || work.0 / 2 >= believed;
        if !in_time {
            let less = believed - believed / DOUBT;
            self.0.store(less, Ordering::Relaxed);
        }
        in_time
    }
}

impl<V: Env> Scheduler<V> {
    /// A batch from the poller is in the ring of `p`, which the caller has and is about to run: wakes an M if that would come in time.
    pub(super) fn wake_for_batch(&'static self, p: &'static P, batch: usize, inside: &Section) {
        if self.coming.is_in_time_for(p.pace.expect(batch)) {
            self.wake_one(inside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1000;

    #[test]
    fn a_late_comer_is_believed_at_once_and_doubted_with_each_batch_that_is_kept() {
        let coming = Coming::new();
        assert!(coming.is_in_time_for(Nanos(20 * US)));
        assert!(!coming.is_in_time_for(Nanos(19 * US)));
        coming.took(Nanos(300 * US));
        let kept = (0..10_000)
            .take_while(|_| !coming.is_in_time_for(Nanos(250 * US)))
            .count();
        assert!((200..300).contains(&kept), "{kept}");
        for _ in 0..100 {
            coming.took(Nanos(10 * US));
        }
        assert!(coming.is_in_time_for(Nanos(25 * US)));
    }

    #[test]
    fn work_of_milliseconds_is_always_shared() {
        let coming = Coming::new();
        coming.took(Nanos::from_millis(80));
        assert!(coming.is_in_time_for(Nanos::from_millis(2)));
    }
}
