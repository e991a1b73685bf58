//! P: the right to run goroutines, with the queues and caches that go with it.
//!
//! # The owner word
//!
//! | word | meaning | who may change it |
//! | --- | --- | --- |
//! | `Free` | in the list of idle Ps, or in the hands of whoever took it out | who holds the list's lock, or took it out |
//! | `Owned(m)` | M `m` runs with it | `m` while in the runtime; the monitor, to `Taking(m)` |
//! | `Taking(m)` | the monitor is about to take it from `m` | `m`, back to `Owned(m)`; the monitor, either way |
//!
//! **Everything else in a P that is not atomic or locked may be touched only by its owner, and only
//! while that M is in the runtime** (`in_runtime` set, and the word then found to be `Owned(m)`).
//! That is what makes it possible to take a P from an M that runs user code, without the M's help:
//! see `sched/retake.rs`. Taking and giving a P are acquire and release operations on this word.

use crate::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::cell::Cell;

use crate::gmp::g::{GList, GRef, Header};
use crate::gmp::m::{M, MRef};
use crate::gmp::pace::Pace;
use crate::gmp::ring::Ring;
use crate::gmp::timer::Timers;
use crate::time::Nanos;

/// The owner word: an M's address with a tag in its low bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(*mut M);

impl Owner {
    pub(crate) const FREE: Owner = Owner(std::ptr::null_mut());

    #[inline]
    pub(crate) fn owned(m: &M) -> Owner {
        Owner(std::ptr::from_ref(m).cast_mut())
    }

    #[inline]
    pub(crate) fn taking(m: &M) -> Owner {
        Owner(Owner::owned(m).0.map_addr(|a| a | 1))
    }

    /// The M that runs with it, or did until a moment ago.
    pub(crate) fn m(self) -> Option<MRef> {
        // SAFETY: the address is null or that of an M given to `owned`, and those are never freed.
        unsafe { self.0.map_addr(|a| a & !1).as_ref() }
    }
}

/// How long goroutines that ready each other may pass the ring through `run_next`: they share one
/// slice, as in Go, so that a pair that works for long each time gets no more than one that works
/// briefly.
const SLICE: Nanos = Nanos::from_millis(3);

/// How many such passes between two looks at the clock; in between, the time when anybody last
/// looked is good enough.
const CLOCK_INTERVAL: u32 = 32;

/// Finished Gs kept here before half go to the pool of all.
const FREE_GS: u32 = 64;

/// Goroutine numbers taken at a time from the counter of all.
pub(crate) const ID_BATCH: u64 = 16;

pub(crate) struct P {
    pub(crate) index: u32,
    owner: AtomicPtr<M>,
    /// The G readied last by the one that runs: it runs next, while its data are still in the
    /// cache.
    run_next: AtomicPtr<Header>,
    /// How often in a row it has passed the ring, and since when.
    streak: Cell<u32>,
    slice_began: Cell<Nanos>,
    /// Of the goroutines that the poller finds.
    pub(crate) pace: Pace,
    pub(crate) ring: Ring,
    /// One up for each G that starts or goes on to run. Read by the monitor.
    pub(crate) tick: AtomicU32,
    /// The G that runs, by number; 0 for none. Read by the monitor.
    pub(crate) current: AtomicU64,
    free: Cell<*const Header>,
    free_len: AtomicU32,
    pub(crate) timers: Timers,
    /// Goroutines begun with it less those ended with it; wrapping. Written by the owner.
    live: AtomicUsize,
    /// Numbers not yet given out: the next, and how many.
    pub(crate) ids: Cell<(u64, u64)>,
}

// SAFETY: fields that are neither atomic nor locked belong to the owner of the P, as the module
// head says.
unsafe impl Sync for P {}
// SAFETY: as above; a P is bound to no thread.
unsafe impl Send for P {}

impl P {
    pub(crate) fn new(index: u32) -> P {
        P {
            index,
            owner: AtomicPtr::new(Owner::FREE.0),
            run_next: AtomicPtr::new(std::ptr::null_mut()),
            streak: Cell::new(0),
            slice_began: Cell::new(Nanos::ZERO),
            pace: Pace::new(),
            ring: Ring::new(),
            tick: AtomicU32::new(0),
            current: AtomicU64::new(0),
            free: Cell::new(std::ptr::null()),
            free_len: AtomicU32::new(0),
            timers: Timers::new(),
            live: AtomicUsize::new(0),
            ids: Cell::new((0, 0)),
        }
    }

    #[inline]
    pub(crate) fn owner(&self) -> Owner {
        Owner(self.owner.load(Ordering::Acquire))
    }

    /// Counts that a goroutine starts to run with it, or goes on after it gave way. By the M that has it.
    #[inline]
    pub(crate) fn count_tick(&self) {
        let tick = self.tick.load(Ordering::Relaxed);
        self.tick.store(tick.wrapping_add(1), Ordering::Relaxed);
    }

    /// Counts goroutines that begin, or end.
    ///
    /// # Safety
    /// 1. The caller owns the P and is in the runtime.
    #[inline]
    pub(crate) unsafe fn count_live(&self, more: isize) {
        let live = self.live.load(Ordering::Relaxed);
        self.live
            .store(live.wrapping_add_signed(more), Ordering::Relaxed);
    }

    /// Goroutines begun with it less those ended with it; wrapping.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Changes the word, or returns what it is instead.
    #[inline]
    pub(crate) fn exchange_owner(&self, from: Owner, to: Owner) -> Result<(), Owner> {
        self.owner
            .compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(Owner)
    }

    /// The M's half of the protocol in `sched/retake.rs`: whether the P is still `m`'s, which has
    /// entered the runtime.
    #[inline]
    pub(crate) fn keep(&self, m: &M) -> bool {
        self.keep_seen(m, self.owner())
    }

    /// As `keep`, from a look at the owner word on. If the exchange fails the monitor was first,
    /// and may have given the P back: so the word is judged anew.
    #[inline]
    pub(crate) fn keep_seen(&self, m: &M, mut seen: Owner) -> bool {
        let (mine, taking) = (Owner::owned(m), Owner::taking(m));
        loop {
            if seen == mine {
                return true;
            }
            if seen != taking {
                return false;
            }
            match self.exchange_owner(taking, mine) {
                Ok(()) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Sets the word outright: for an owner in the runtime that gives the P up, and for whoever
    /// holds a free one.
    #[inline]
    pub(crate) fn set_owner(&self, to: Owner) {
        self.owner.store(to.0, Ordering::Release);
    }

    /// Queued Gs, `run_next` included. A hint to anyone but the owner.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.ring.len() + usize::from(!self.run_next.load(Ordering::Acquire).is_null())
    }

    /// Gs in the free list.
    pub(crate) fn free_gs(&self) -> u32 {
        self.free_len.load(Ordering::Relaxed)
    }

    /// Makes `g` the one to run next; the one that was goes to the ring.
    ///
    /// # Safety
    /// 1. The caller owns the P and is in the runtime.
    #[inline]
    pub(crate) unsafe fn push_next(&self, g: GRef, overflow: &mut GList) {
        let before = self
            .run_next
            .swap(std::ptr::from_ref(g).cast_mut(), Ordering::AcqRel);
        if !before.is_null() {
            // SAFETY: obligation 1; the exchange made that G ours.
            unsafe { self.ring.push(&*before, overflow) };
        }
    }

    /// Takes the next to run. `about` is a time that lags behind by some milliseconds, `clock` the
    /// right one.
    ///
    /// # Safety
    /// 1. The caller owns the P and is in the runtime.
    #[inline]
    pub(crate) unsafe fn pop(&self, about: Nanos, clock: impl FnOnce() -> Nanos) -> Option<GRef> {
        if self.slice_lasts(about, clock)
            && let Some(g) = self.take_next()
        {
            self.streak.set(self.streak.get() + 1);
            return Some(g);
        }
        self.streak.set(0);
        // SAFETY: obligation 1.
        unsafe { self.ring.pop() }.or_else(|| self.take_next())
    }

    /// Whether `run_next` may pass the ring once more.
    #[inline]
    fn slice_lasts(&self, about: Nanos, clock: impl FnOnce() -> Nanos) -> bool {
        let streak = self.streak.get();
        if streak == 0 {
            self.slice_began.set(about);
            return true;
        }
        if !streak.is_multiple_of(CLOCK_INTERVAL) {
            return about - self.slice_began.get() < SLICE;
        }
        let now = clock();
        if streak == CLOCK_INTERVAL {
            // What the slice began with may have been a time long past.
            self.slice_began.set(now);
        }
        now - self.slice_began.get() < SLICE
    }

    /// Takes `run_next`, for the owner or, as a last resort, for a thief.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<GRef> {
        let g = self.run_next.load(Ordering::Acquire);
        if g.is_null() {
            return None;
        }
        #[cfg(explore)]
        if goexplore::planted("run_next is taken without an exchange") {
            self.run_next.store(std::ptr::null_mut(), Ordering::Release);
            // SAFETY: none: that is the bug.
            return Some(unsafe { &*g });
        }
        self.run_next
            .compare_exchange(g, std::ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            // SAFETY: the exchange made the G ours.
            .map(|g| unsafe { &*g })
    }

    /// Keeps a finished G; returns those that are too many.
    ///
    /// # Safety
    /// 1. The caller owns the P and is in the runtime, and `g` is pooled.
    pub(crate) unsafe fn put_free(&self, g: GRef) -> GList {
        g.next.set(self.free.get());
        self.free.set(g);
        let mut spill = GList::new();
        let mut len = self.free_len.load(Ordering::Relaxed) + 1;
        if len > FREE_GS {
            while len > FREE_GS / 2 {
                // SAFETY: the list has `len` Gs, which it owns.
                let g: GRef = unsafe { &*self.free.get() };
                self.free.set(g.next.get());
                spill.push(g);
                len -= 1;
            }
        }
        self.free_len.store(len, Ordering::Relaxed);
        spill
    }

    /// A finished G, if there is one.
    ///
    /// # Safety
    /// 1. The caller owns the P and is in the runtime.
    #[inline]
    pub(crate) unsafe fn take_free(&self) -> Option<GRef> {
        // SAFETY: null or a G that the list owns.
        let g: GRef = unsafe { self.free.get().as_ref() }?;
        self.free.set(g.next.get());
        g.next.set(std::ptr::null());
        self.free_len
            .store(self.free_len.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        Some(g)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gmp::forever;
    use crate::gmp::g::Ops;

    fn g(id: u64) -> GRef {
        let g = forever(Header::new(Ops::unreachable(), std::ptr::null()));
        g.id.store(id, Ordering::Relaxed);
        g
    }

    fn ids(mut take: impl FnMut() -> Option<GRef>) -> Vec<u64> {
        std::iter::from_fn(|| take().map(|g| g.id().0)).collect()
    }

    #[test]
    fn the_last_readied_runs_next_and_the_rest_in_order() {
        let p = P::new(0);
        let mut over = GList::new();
        // SAFETY: this test is the only user of the P.
        unsafe {
            for id in 1..=3 {
                p.push_next(g(id), &mut over);
            }
            assert_eq!(p.queued(), 3);
            assert_eq!(ids(|| p.pop(Nanos::ZERO, || Nanos::ZERO)), [3, 1, 2]);
        }
    }

    /// How often a pair passes the ring, whose members take so long each time, where somebody
    /// looks at the clock all the time or nobody does.
    fn passes(each: Nanos, is_watched: bool) -> u32 {
        let p = P::new(0);
        let mut over = GList::new();
        let (a, other) = (g(1), g(2));
        let start = Nanos::from_millis(1000);
        let mut now = start;
        // SAFETY: as above.
        unsafe {
            p.ring.push(other, &mut over);
            p.push_next(a, &mut over);
            let mut rounds = 0;
            while let Some(g) = p.pop(if is_watched { now } else { start }, || now) {
                if g.id().0 == 2 {
                    break;
                }
                rounds += 1;
                now = now + each;
                p.push_next(g, &mut over);
            }
            rounds
        }
    }

    #[test]
    fn a_pair_that_readies_itself_has_one_slice() {
        let (brief, long) = (Nanos(1000), Nanos::from_millis(1));
        assert_eq!(passes(long, true), 3);
        assert_eq!(passes(Nanos::from_millis(50), true), 1);
        // An interval more, in which it does not know when the slice began.
        assert_eq!(passes(long, false), 2 * CLOCK_INTERVAL);
        for is_watched in [false, true] {
            let passes = passes(brief, is_watched);
            assert!((3000..3100).contains(&passes), "{passes}");
        }
    }

    #[test]
    fn free_gs_spill_by_half() {
        let p = P::new(0);
        // SAFETY: as above.
        unsafe {
            for id in 0..u64::from(FREE_GS) {
                assert_eq!(p.put_free(g(id)).len(), 0);
            }
            let mut spill = p.put_free(g(99));
            assert_eq!(spill.len() as u32, FREE_GS + 1 - FREE_GS / 2);
            assert_eq!(spill.pop().unwrap().id().0, 99);
            assert_eq!(ids(|| p.take_free()).len() as u32, FREE_GS / 2);
        }
    }

    #[test]
    fn owner_words_are_distinct() {
        let (a, b) = (M::new(0), M::new(1));
        assert_ne!(Owner::owned(&a), Owner::FREE);
        assert_ne!(Owner::owned(&a), Owner::taking(&a));
        assert_ne!(Owner::owned(&a), Owner::owned(&b));
        assert_eq!(Owner::FREE.m().map(|m| m.id), None);
        assert_eq!(Owner::taking(&b).m().map(|m| m.id), Some(1));
    }
}
