//! Waiting for the first of several channel operations.
//!
//! ```no_run
//! # use gosched::chan::{select::{self, RecvCase, SendCase, Wait}, Receiver, Sender};
//! # fn f(requests: Receiver<u32>, answers: Sender<u32>) {
//! let request = RecvCase::new(&requests);
//! let answer = SendCase::new(&answers, 7);
//! match select::select(&[&request, &answer], Wait::Forever) {
//!     Some(0) => println!("{:?}", request.take()),
//!     Some(_) => println!("{:?}", answer.take()),
//!     None => unreachable!("only with a deadline"),
//! }
//! # }
//! ```
//!
//! The algorithm is Go's (select.go). All channels are locked, in the order of their addresses, so
//! that two selects cannot wait for each other's locks. The cases are tried in random order, so
//! that a busy channel does not starve another. If none can proceed, the waiter queues on all, the
//! locks are released, and whoever claims the waiter first has chosen; then the other nodes are
//! taken out again.
//!
//! Cases are of different types, hence the trait object: one indirect call per case and step.
//!
//! A case may also go ahead without anybody waking the select: a timer's, when its time has come ([`Timer`](super::timer::Timer)). Then the select waits no
//! longer than that and tries again. Who waits for a timer that is set to another time is claimed so that it looks again; that is the one claim which does not
//! choose.

use std::ptr;
use std::time::Instant;

use crate::critical::{self, Section};
use crate::gmp::g::current;
use crate::goroutine::WaitReason;
use crate::rng::Rng;
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::{TIMED_OUT, Waiter};

pub use super::case::{RecvCase, SendCase};
pub use super::source::{Chosen, MaybeCase, Sink, Source};

/// How long to wait for a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until one can proceed.
    Forever,
    /// Not at all: Go's `default`.
    Not,
    /// Until one can proceed or this time.
    Until(Instant),
}

/// An operation that a `select` may choose. Implemented by [`RecvCase`], [`SendCase`], those of timers, and [`MaybeCase`].
pub trait Case: sealed::Steps {}

pub(super) mod sealed {
    use crate::lock::RawLock;
    use crate::time::Nanos;
    use crate::waiter::{Claimed, Waiter};

    /// The steps of a select, for one case. `attempt`, `enqueue` and `dequeue` are called with the
    /// lock held.
    pub trait Steps {
        /// Checks that the case can take part, and marks that it does.
        ///
        /// # Panics
        /// If it takes part already, or has been chosen before and not been renewed.
        #[doc(hidden)]
        fn begin(&self);
        /// The lock of what the case waits for; `None` if it can never go ahead.
        #[doc(hidden)]
        fn lock(&self) -> Option<Lock<'_>>;
        /// Tries; if it can proceed, does so and says whom to wake.
        #[doc(hidden)]
        fn attempt(&self) -> Attempt;
        /// Makes the waiter known. Returns when the case can go ahead though nobody wakes it.
        ///
        /// # Safety
        /// 1. The lock is held. The case does not move until `dequeue`.
        #[doc(hidden)]
        unsafe fn enqueue(&self, waiter: Known, token: u32) -> Nanos;
        /// # Safety
        /// 1. The lock is held, and `enqueue` has been called.
        #[doc(hidden)]
        unsafe fn dequeue(&self);
        /// Whether who claims the waiter through this case has done its operation, rather than asking to try again.
        #[doc(hidden)]
        fn is_done_by_claim(&self) -> bool {
            true
        }
        /// The select is over; `chosen` tells how for this case.
        #[doc(hidden)]
        fn conclude(&self, chosen: bool);
    }

    /// The lock of the case's channel.
    pub struct Lock<'a>(pub(crate) &'a RawLock);

    /// Outcome of an attempt.
    pub enum Attempt {
        /// It proceeded.
        Proceeds(Wakes),
        /// It would have to wait.
        Blocks,
    }

    /// Whom to wake.
    pub struct Wakes(pub(crate) Option<Claimed>);

    /// The waiter, by address.
    #[derive(Clone, Copy)]
    pub struct Known(pub(crate) *const Waiter);
}

use sealed::{Attempt, Known};

/// Cases for which the orders fit on the stack.
const INLINE: usize = 16;

/// Performs one of the operations, chosen at random among those that can proceed, or the first that
/// can when none can now. Returns its index; `None` if the wait ended without. An operation on a
/// closed channel can proceed (and fails).
///
/// With no cases and [`Wait::Forever`] it never returns.
///
/// # Panics
/// If a case is listed twice, or was chosen before and its outcome not taken, or has sent its value
/// before.
pub fn select(cases: &[&dyn Case], wait: Wait) -> Option<usize> {
    simulated::point();
    let n = cases.len();
    let (mut inline, mut heap);
    let orders: &mut [u32] = if n <= INLINE {
        inline = [0u32; 2 * INLINE];
        &mut inline[..2 * n]
    } else {
        heap = vec![0u32; 2 * n];
        &mut heap
    };
    let (random, by_lock) = orders.split_at_mut(n);
    shuffle(random);
    for (i, place) in by_lock.iter_mut().enumerate() {
        *place = i as u32;
    }
    by_lock.sort_unstable_by_key(|&i| address(cases, i));

    for case in cases {
        case.begin();
    }
    let chosen = run(cases, random, by_lock, wait);
    for (i, case) in cases.iter().enumerate() {
        case.conclude(chosen == Some(i));
    }
    chosen
}

fn run(cases: &[&dyn Case], random: &[u32], by_lock: &[u32], wait: Wait) -> Option<usize> {
    loop {
        let (waiter, due, limit);
        {
            let inside = critical::enter();
            lock_all(cases, by_lock, &inside);
            for &i in random {
                if let Attempt::Proceeds(wakes) = cases[i as usize].attempt() {
                    unlock_all(cases, by_lock);
                    if let Some(claimed) = wakes.0 {
                        claimed.wake(&inside);
                    }
                    return Some(i as usize);
                }
            }
            limit = match wait {
                Wait::Forever => Nanos::NEVER,
                Wait::Until(instant) => simulated::point_in_time(instant),
                Wait::Not => {
                    unlock_all(cases, by_lock);
                    return None;
                }
            };
            waiter = Waiter::new_in(&inside);
            let reason = if cases.is_empty() {
                WaitReason::SelectNoCases
            } else {
                WaitReason::Select
            };
            waiter.prepare(reason, &raw const cases);
            // In random order too: of two cases on one channel, whoever comes takes the one that queued first.
            let enqueue = |&i: &u32| {
                // SAFETY: every lock is held, and the borrow of the cases keeps them in place.
                unsafe { cases[i as usize].enqueue(Known(&waiter), i + 1) }
            };
            due = random.iter().map(enqueue).min().unwrap_or(Nanos::NEVER);
            unlock_all(cases, by_lock);
        }

        let token = waiter.wait(limit.min(due));

        let inside = critical::enter();
        lock_all(cases, by_lock, &inside);
        for case in cases {
            // SAFETY: every lock is held, and every case was enqueued.
            unsafe { case.dequeue() };
        }
        unlock_all(cases, by_lock);
        drop(inside);
        if token == TIMED_OUT {
            if limit < due {
                return None;
            }
        } else if cases[token as usize - 1].is_done_by_claim() {
            return Some(token as usize - 1);
        }
    }
}

/// Calls `each` with an address in each thing that a goroutine waits for which is parked in [`select`].
///
/// # Safety
/// 1. `cases` is what `run` has prepared the wait with, and the goroutine stands still.
pub(crate) unsafe fn for_each_source(cases: *const (), each: impl FnMut(usize)) {
    // SAFETY: obligation 1: they live in the frame of `run`, or are borrowed there.
    let cases = unsafe { *cases.cast::<&[&dyn Case]>() };
    (0..cases.len() as u32)
        .filter_map(|i| address(cases, i))
        .for_each(each);
}

/// The lock of a case by its address, for cases that have one.
fn address(cases: &[&dyn Case], i: u32) -> Option<usize> {
    let lock = cases[i as usize].lock()?;
    Some(ptr::from_ref(lock.0).addr())
}

/// Whether the channel at this place of the lock order is that of the place before, which then has
/// the lock.
fn is_repeat(cases: &[&dyn Case], by_lock: &[u32], at: usize) -> bool {
    at > 0 && address(cases, by_lock[at]) == address(cases, by_lock[at - 1])
}

fn lock_all(cases: &[&dyn Case], by_lock: &[u32], inside: &Section) {
    for (at, &i) in by_lock.iter().enumerate() {
        match cases[i as usize].lock() {
            Some(lock) if !is_repeat(cases, by_lock, at) => lock.0.lock(inside),
            _ => {}
        }
    }
}

fn unlock_all(cases: &[&dyn Case], by_lock: &[u32]) {
    for (at, &i) in by_lock.iter().enumerate() {
        match cases[i as usize].lock() {
            // SAFETY: `lock_all` has locked it.
            Some(lock) if !is_repeat(cases, by_lock, at) => unsafe { lock.0.unlock() },
            _ => {}
        }
    }
}

/// Fisher and Yates, inside out.
fn shuffle(order: &mut [u32]) {
    thread_local! {
        static RNG: Rng = const { Rng::new(0x5E1E_C7ED) };
    }
    let below = |n: u32| match current() {
        Some(g) => g.own_m().rng.below(n),
        None => RNG.with(|rng| rng.below(n)),
    };
    for i in 0..order.len() {
        let j = below(i as u32 + 1) as usize;
        order[i] = order[j];
        order[j] = i as u32;
    }
}
