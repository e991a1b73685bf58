//! The Ps, and changing how many there are while goroutines run.
//!
//! A P is made when it is first needed and never freed, so a reference to one may be kept anywhere. Ps 0 to n-1 are *in use*, n being
//! `GOMAXPROCS`; those above are *retired*: free, with nothing in them, and in nobody's hands but of who changes the number.
//!
//! # Fewer
//!
//! Go stops the world for this. Here the limit of `idle` is lowered, so that from then on nobody takes a P above it out of the idle ones but the thread that
//! changes the number. That takes those that are idle, and the others from their Ms, by the protocol of
//! `retake.rs`: the M of a goroutine that computes finds out when it next enters the scheduler. An M that is in the scheduler is in it for a
//! moment only; it is tried again until all are retired. What their queues hold moves to the global queue, and their timers to P 0.
//! Until then whatever a P above the limit holds is seen by thieves and by whoever goes idle, because they look at every P that there is.
//!
//! # More
//!
//! Retired Ps and new ones become idle, and one M is woken to look for work; the last that looks wakes the next.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crossbeam_utils::CachePadded;

use crate::atomic::thread;
use crate::critical::{self, Section};
use crate::env::Env;
use crate::gmp::g::GList;
use crate::gmp::p::P;
use crate::sched::retake::{Retake, take};
use crate::sched::{MAX_PROCS, Scheduler};
use crate::time::Nanos;

/// Between two attempts to take a P from an M that is in the scheduler.
const PATIENCE: Nanos = Nanos(20_000);

/// The Ps by index.
pub(super) struct Procs {
    /// Apart from one another: most are never made, and the table would be 2 MiB of heap.
    slots: Box<[OnceLock<Box<CachePadded<P>>>]>,
    /// How many have been made.
    made: AtomicU32,
    /// How many are in use.
    in_use: AtomicU32,
    /// The retired Ps, by number. One change at a time.
    retired: Mutex<BTreeSet<usize>>,
}

impl Procs {
    /// `n` of them, in use.
    pub(super) fn new(n: usize) -> Procs {
        let procs = Procs {
            slots: (0..MAX_PROCS).map(|_| OnceLock::new()).collect(),
            made: AtomicU32::new(0),
            in_use: AtomicU32::new(n as u32),
            retired: Mutex::new(BTreeSet::new()),
        };
        procs.make(n);
        procs
    }

    /// Makes what is missing of the first `n`. One at a time.
    fn make(&self, n: usize) {
        for index in self.made()..n {
            self.slots[index].get_or_init(|| Box::new(CachePadded::new(P::new(index as u32))));
            self.made.store(index as u32 + 1, Ordering::Release);
        }
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Acquire) as usize
    }

    /// How many are in use.
    #[inline]
    pub(super) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed) as usize
    }

    /// The P with this index, which has been made.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &P {
        self.slots[index].get().expect("a P that has been made")
    }

    /// All that there are, in use or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = &P> {
        self.slots[..self.made()]
            .iter()
            .filter_map(OnceLock::get)
            .map(|p| &***p)
    }

    /// How many [`iter`](Self::iter) passes over.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.made()
    }
}

impl<V: Env> Scheduler<V> {
    /// Has `n` goroutines run at the same time from now on (`GOMAXPROCS`), clipped to 1 and [`MAX_PROCS`]. Returns how many it was before.
    ///
    /// When it returns, no goroutine runs with a P beyond the `n`. From any thread, and from goroutines; one that loses its
    /// P by this gets another when it next needs one. In a simulation it stays at 1.
    pub fn set_procs(&'static self, n: usize) -> usize {
        let n = n.clamp(1, MAX_PROCS);
        let mut retired = self
            .ps
            .retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = self.ps.in_use();
        if n == before || self.simulation().is_some() {
            return before;
        }
        if n > before {
            self.ps.make(n);
        }
        self.ps.in_use.store(n as u32, Ordering::Relaxed);
        if n > before {
            self.add_procs(before..n, &mut retired);
        } else {
            self.retire_procs(n, &mut retired);
        }
        before
    }

    fn add_procs(&'static self, new: Range<usize>, retired: &mut BTreeSet<usize>) {
        let inside = critical::enter();
        self.idle.set_limit(new.end as u32);
        for index in new {
            retired.remove(&index);
            self.idle.put_p(self.ps.get(index));
        }
        #[cfg(explore)]
        if goexplore::planted("nobody is woken for a new P") {
            return;
        }
        if self.is_work_anywhere() {
            self.wake_one(&inside);
        }
    }

    fn retire_procs(&'static self, n: usize, retired: &mut BTreeSet<usize>) {
        self.idle.set_limit(n as u32);
        loop {
            #[cfg(explore)]
            if goexplore::planted("a P is emptied before it has been retired") {
                break;
            }
            for index in n..self.ps.len() {
                if !retired.contains(&index) && self.take_for_good(index) {
                    retired.insert(index);
                }
            }
            if (n..self.ps.len()).all(|index| retired.contains(&index)) {
                break;
            }
            thread::sleep(PATIENCE.to_duration());
        }
        let inside = critical::enter();
        (n..self.ps.len()).for_each(|i| self.empty(self.ps.get(i), &inside));
        if self.is_work_anywhere() {
            self.wake_one(&inside);
        }
        let deadline = self.ps.get(0).timers.next();
        if deadline != Nanos::NEVER {
            self.ensure_polled(deadline, &inside);
        }
    }

    /// Takes a P that is idle, or from its M if that does not need it this moment. Returns whether it has.
    fn take_for_good(&'static self, index: usize) -> bool {
        let _inside = critical::enter();
        if self.idle.take_this_p(index as u32) {
            return true;
        }
        if self.retaking.swap(true, crate::atomic::Ordering::Acquire) {
            return false;
        }
        let p = self.ps.get(index);
        let taken = take(p, || self.fence.heavy()) == Retake::Taken;
        self.retaking.store(false, crate::atomic::Ordering::Release);
        if taken {
            p.current.store(0, crate::atomic::Ordering::Relaxed);
        }
        taken
    }

    /// Moves everything out of a retired P.
    fn empty(&'static self, p: &'static P, inside: &Section) {
        let (mut queued, mut free) = (GList::new(), GList::new());
        // SAFETY: it is retired, hence free and in our hands.
        unsafe {
            while let Some(g) = p.ring.pop().or_else(|| p.take_next()) {
                queued.push(g);
            }
            while let Some(g) = p.take_free() {
                free.push(g);
            }
        }
        self.global.push_all(&mut queued, inside);
        self.pool.lock(inside).append(&mut free);
        p.timers.move_to(&self.ps.get(0).timers, inside);
    }
}
