//! The lock under `Mutex`, and the turns of descriptors: for goroutines and threads.
//!
//! `state` has two bits. Uncontended, locking and unlocking are one exchange each. Contended,
//! waiters queue first in, first out; who unlocks frees the lock and wakes the first, so that
//! anybody who comes by meanwhile may take it (*barging*): that keeps a busy lock on one core
//! instead of making each hand-over a switch. To bound the injustice, a waiter that was woken and
//! found the lock taken again queues at the front and **is handed the lock itself** the next time.
//! Go decides the same by a clock (its starvation mode).
//!
//! Whoever takes a lock for a `Mutex`, or for an `RwLock` to write, leaves its number in `holder`, for reports of those who wait for long: a goroutine's, or 0. Of a lock that is free, or
//! just being taken, it says who had it before.
//!
//! `WAITERS` changes only under the queue's lock; `LOCKED` is set by exchange from anybody and
//! cleared by the holder.

use crate::atomic::{AtomicU32, AtomicU64, Ordering, spin_loop};
use std::ptr;

use crate::contention;
use crate::critical;
use crate::gmp::g::{self, Blocked};
use crate::goroutine::WaitReason;
use crate::lock::Lock;
use crate::time::Nanos;
use crate::waiter::{Node, TIMED_OUT, WaitList, Waiter};

const LOCKED: u32 = 1;
const WAITERS: u32 = 2;

/// Tries before queueing.
const SPINS: u32 = if cfg!(explore) { 1 } else { 40 };

/// Marks the node of a waiter that is to be handed the lock.
const WANTS_HAND_OVER: *const () = ptr::without_provenance(1);

pub(crate) struct RawMutex {
    state: AtomicU32,
    queue: Lock<WaitList>,
    holder: AtomicU64,
}

impl RawMutex {
    pub(crate) const fn new() -> RawMutex {
        RawMutex {
            state: AtomicU32::new(0),
            queue: Lock::new(WaitList::new()),
            holder: AtomicU64::new(0),
        }
    }

    /// Says that the caller, which has taken the lock, holds it.
    #[inline]
    pub(crate) fn note_holder(&self) {
        let id = g::current().map_or(0, |g| g.id.load(Ordering::Relaxed));
        self.holder.store(id, Ordering::Relaxed);
    }

    /// Where the number of whoever holds it is, for those that wait for something else that the holder does.
    pub(crate) fn holder(&self) -> &AtomicU64 {
        &self.holder
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_lock(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & LOCKED == 0 {
            match self.state.compare_exchange_weak(
                state,
                state | LOCKED,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Takes the lock. Returns false if it was not free before the deadline.
    #[inline]
    pub(crate) fn lock(&self, reason: WaitReason, deadline: Nanos) -> bool {
        self.state
            .compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            || self.lock_slow(reason, deadline)
    }

    #[cold]
    fn lock_slow(&self, reason: WaitReason, deadline: Nanos) -> bool {
        for _ in 0..SPINS {
            if self.state.load(Ordering::Relaxed) & WAITERS != 0 {
                break;
            }
            if self.try_lock() {
                return true;
            }
            spin_loop();
        }
        let _blocked = Blocked::by(&self.holder);
        let mut lost = false;
        loop {
            let waiter = Waiter::new();
            let slot = if lost { WANTS_HAND_OVER } else { ptr::null() };
            let node = Node::new(&waiter, 1, slot);
            {
                let inside = critical::enter();
                let mut queue = self.queue.lock(&inside);
                if self.lock_or_announce() {
                    return true;
                }
                waiter.prepare(reason, self);
                // SAFETY: the node is taken out, by the claimant or below, before the frame is
                // left.
                unsafe {
                    if lost {
                        queue.push_front(&node);
                    } else {
                        queue.push_back(&node);
                    }
                }
            }
            if waiter.wait(deadline) == TIMED_OUT {
                let inside = critical::enter();
                let mut queue = self.queue.lock(&inside);
                // SAFETY: it is in this queue or none.
                unsafe { queue.remove(&node) };
                if queue.is_empty() {
                    self.state.fetch_and(!WAITERS, Ordering::Relaxed);
                }
                return false;
            }
            if node.outcome.get() || self.try_lock() {
                return true;
            }
            lost = true;
        }
    }

    /// Under the queue's lock: takes the lock, or makes the holder see that there are waiters.
    fn lock_or_announce(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            #[cfg(explore)]
            if state & LOCKED != 0 && goexplore::planted("a waiter does not announce itself") {
                return false;
            }
            let next = if state & LOCKED == 0 {
                state | LOCKED
            } else if state & WAITERS == 0 {
                state | WAITERS
            } else {
                return false;
            };
            match self.state.compare_exchange_weak(
                state,
                next,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) if state & LOCKED == 0 => return true,
                Ok(_) => return false,
                Err(now) => state = now,
            }
        }
    }

    /// # Safety
    /// 1. The caller, or whoever it acts for, has the lock.
    #[inline]
    pub(crate) unsafe fn unlock(&self) {
        if self
            .state
            .compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed)
            .is_err()
        {
            self.unlock_slow();
        }
    }

    #[cold]
    fn unlock_slow(&self) {
        let inside = critical::enter();
        let claimed = {
            let mut queue = self.queue.lock(&inside);
            let claimed = queue.pop();
            let waiters = if queue.is_empty() { 0 } else { WAITERS };
            let hand_over = claimed
                .as_ref()
                .is_some_and(|c| c.node().slot == WANTS_HAND_OVER);
            if let (true, Some(claimed)) = (hand_over, &claimed) {
                claimed.node().outcome.set(true);
            }
            let locked = if hand_over { LOCKED } else { 0 };
            self.state.store(locked | waiters, Ordering::Release);
            claimed
        };
        let Some(claimed) = claimed else { return };
        let told = contention::watched().map(|watch| (watch, claimed.waited(Nanos::now())));
        claimed.wake(&inside);
        drop(inside);
        if let Some((watch, time)) = told {
            (watch.released)(time);
        }
    }
}
