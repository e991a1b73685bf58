//! When is marking over?
//!
//! Markers come and go as the embedder has threads: some may start late, some may run after others have
//! finished, and nobody knows beforehand how many there will be. So there is no barrier at which all meet,
//! and no count that somebody must reach.
//!
//! **The rule.** A marker *leaves* only when (1) its private queue is empty, (2) all root jobs are claimed,
//! and (3) it has then seen the shared stack of full buffers empty.
//!
//! **Claim.** When every marker has left, there is no grey object.
//!
//! **Proof.** Grey objects are in private queues, in shared full buffers, or will come from a root job. Of
//! the first, none is left, by (1); of the last, none, because a claimed job belongs to a marker that has not
//! left before it was done. Suppose that a full buffer is left. Consider the last push of any buffer onto the
//! shared stack, by marker *m*. *m* had not left then, so by (3) it saw the stack empty later on. The head of
//! the stack is one atomic word, so *m*'s load comes after its push in the order of that word's changes, and
//! the buffer had been popped in between; the stack was empty, and since that was the last push it stayed
//! empty. Contradiction. Whoever popped the buffer holds its work in private and, by (1), finishes it before
//! leaving. ∎
//!
//! Leaving early is therefore never wrong; it only wastes a thread. Hence the count of busy markers below: a
//! marker that has run dry stays while others are busy and may come to share. It is a hint, and the proof
//! does not use it.
//!
//! **While mutators run** there is more: they shade what they store, they assist, and neither tells anybody when it is the last time. So the rule
//! then only says when it is worth while to stop the world. What it is over by is the stop itself:
//!
//! 1. Workers have returned from the round, and each gives back what it has before it returns.
//! 2. Mutators hold grey objects only within sections in which the world does not stop; at the end of each they are in the pool.
//! 3. What a mutator's barrier has recorded and not yet handed over is among the roots of the stop.
//!
//! So in the stop all grey objects are in the pool or will come from its root jobs, and the claim above holds for the markers that work
//! in the stop, which nobody disturbs. If there turns out to be too much to do for a stop, the world runs on, the barrier still on, and all begins again
//! with more marked than before.

use crate::atomic::{AtomicUsize, Ordering};

use crate::backoff::Backoff;
use crate::buffer::{BufferPool, Owned};

/// The markers at work, for their mutual information.
#[derive(Default)]
pub(crate) struct Crew {
    /// Markers that have work or are getting some.
    busy: AtomicUsize,
    /// Markers that have run dry and wait for others to share.
    waiting: AtomicUsize,
    /// The next root job that nobody has claimed.
    next_job: AtomicUsize,
}

impl Crew {
    /// Prepares for a round with new root jobs. Nobody is at work on those of the last.
    pub(crate) fn reset(&self) {
        self.next_job.store(0, Ordering::Relaxed);
    }

    /// A marker begins. It ends with `None` from [`next`](Self::next).
    pub(crate) fn enter(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// A marker that works in slices ends one, having given back what it had.
    pub(crate) fn leave(&self) {
        self.busy.fetch_sub(1, Ordering::Release);
    }

    /// As [`next`](Self::next) for a marker that works in slices, but waits for some microseconds at most: `None` when they are over as well.
    ///
    /// The caller's queue is empty.
    pub(crate) fn wait_a_little<'p>(&self, pool: &'p BufferPool) -> Option<Owned<'p>> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_sub(1, Ordering::Release);
        let mut backoff = Backoff::default();
        let work = loop {
            if pool.has_full()
                && let Some(work) = pool.take_full()
            {
                break Some(work);
            }
            if self.idle() || !backoff.wait_shortly() {
                break None;
            }
        };
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        work
    }

    /// Whether no marker is at work: then all that they had is in the pool.
    pub(crate) fn idle(&self) -> bool {
        self.busy.load(Ordering::Acquire) == 0
    }

    /// Whether each of the root jobs `0..jobs` is claimed.
    pub(crate) fn all_claimed(&self, jobs: usize) -> bool {
        self.next_job.load(Ordering::Relaxed) >= jobs
    }

    /// Claims a root job out of `0..jobs`; each is claimed once.
    pub(crate) fn claim(&self, jobs: usize) -> Option<usize> {
        if self.next_job.load(Ordering::Relaxed) >= jobs {
            return None;
        }
        let job = self.next_job.fetch_add(1, Ordering::Relaxed);
        (job < jobs).then_some(job)
    }

    /// Whether some marker would be glad of work.
    #[inline]
    pub(crate) fn hungry(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Work from the pool, waiting for some while others are busy; `None` when the caller may leave.
    ///
    /// The caller's queue is empty and all root jobs are claimed.
    pub(crate) fn next<'p>(&self, pool: &'p BufferPool) -> Option<Owned<'p>> {
        #[cfg(explore)]
        if goexplore::planted("a marker leaves without a look at the shared stack") {
            return None;
        }
        if let Some(work) = pool.take_full() {
            return Some(work);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_sub(1, Ordering::Relaxed);
        let mut backoff = Backoff::default();
        let work = loop {
            if pool.has_full() {
                self.busy.fetch_add(1, Ordering::Relaxed);
                if let Some(work) = pool.take_full() {
                    break Some(work);
                }
                self.busy.fetch_sub(1, Ordering::Relaxed);
            } else if self.busy.load(Ordering::Relaxed) == 0 {
                break None;
            }
            backoff.wait();
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        work
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::gray::GrayQueue;
    use crate::testing::SimWorld;

    /// The two halves of a number, down to ones: `n` leads to `n` of them.
    fn children(n: usize) -> impl Iterator<Item = usize> {
        let left = n / 2;
        [left, n - left]
            .into_iter()
            .filter(move |&part| n > 1 && part > 0)
    }

    fn work(crew: &Crew, pool: &BufferPool, world: &SimWorld, jobs: usize, done: &AtomicU64) {
        crew.enter();
        let mut queue = GrayQueue::new(pool, world);
        loop {
            while let Some(job) = crew.claim(jobs) {
                queue.push(job + 1).unwrap();
            }
            while let Some(item) = queue.pop() {
                if item == 1 {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                children(item).for_each(|child| queue.push(child).unwrap());
                if crew.hungry() && !pool.has_full() {
                    queue.share();
                }
            }
            match crew.next(pool) {
                Some(work) => queue.adopt(work),
                None => return,
            }
        }
    }

    /// Job `j` splits into `j + 1` ones. However the threads interleave, start late or leave early, all are
    /// done when they have all returned.
    #[test]
    fn stress_nothing_is_left_when_all_have_left() {
        let world = SimWorld::new(1);
        let (jobs, rounds) = if cfg!(miri) { (10, 2) } else { (60, 300) };
        let expected = (jobs * (jobs + 1) / 2) as u64;
        let mut pool = BufferPool::new(&world).unwrap();
        let crew = Crew::default();
        for round in 0..rounds {
            crew.reset();
            let done = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..1 + round % 5 {
                    let (crew, pool, world, done) = (&crew, &pool, &world, &done);
                    scope.spawn(move || work(crew, pool, world, jobs, done));
                }
            });
            assert_eq!(done.into_inner(), expected);
            assert!(!pool.has_full());
        }
        pool.dispose(&world);
    }

    #[test]
    fn one_after_the_other_works_too() {
        let world = SimWorld::new(1);
        let mut pool = BufferPool::new(&world).unwrap();
        let crew = Crew::default();
        let done = AtomicU64::new(0);
        for _ in 0..3 {
            work(&crew, &pool, &world, 20, &done);
        }
        assert_eq!(done.into_inner(), 210);
        pool.dispose(&world);
    }
}
