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

use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::time::Instant;

use crate::chan::core::{Received, Sent, Slot};
use crate::chan::ends::{Receiver, Sender};
use crate::chan::error::{RecvError, SendError};
use crate::critical::{self, Section};
use crate::gmp::g::current;
use crate::goroutine::WaitReason;
use crate::lock::RawLock;
use crate::rng::Rng;
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::{Claimed, Node, TIMED_OUT, Waiter};

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

/// An operation that a `select` may choose. Implemented by [`RecvCase`] and [`SendCase`].
pub trait Case: sealed::Steps {}

mod sealed {
    use super::{Claimed, RawLock, Waiter};

    /// The steps of a select, for one case. `attempt`, `enqueue` and `dequeue` are called with the
    /// lock held.
    pub trait Steps {
        /// Checks that the case can take part, and marks that it does.
        ///
        /// # Panics
        /// If it takes part already, or has been chosen before and not been renewed.
        #[doc(hidden)]
        fn begin(&self);
        #[doc(hidden)]
        fn lock(&self) -> Lock<'_>;
        /// Tries; if it can proceed, does so and says whom to wake.
        #[doc(hidden)]
        fn attempt(&self) -> Attempt;
        /// # Safety
        /// 1. The lock is held. The case does not move until `dequeue`.
        #[doc(hidden)]
        unsafe fn enqueue(&self, waiter: Known, token: u32);
        /// # Safety
        /// 1. The lock is held, and `enqueue` has been called.
        #[doc(hidden)]
        unsafe fn dequeue(&self);
        /// The select is over; `chosen` tells how for this case.
        #[doc(hidden)]
        fn conclude(&self, chosen: bool);
    }

    /// The lock of the case's channel.
    pub struct Lock<'a>(pub(super) &'a RawLock);

    /// Outcome of an attempt.
    pub enum Attempt {
        /// It proceeded.
        Proceeds(Wakes),
        /// It would have to wait.
        Blocks,
    }

    /// Whom to wake.
    pub struct Wakes(pub(super) Option<Claimed>);

    /// The waiter, by address.
    #[derive(Clone, Copy)]
    pub struct Known(pub(super) *const Waiter);
}

use sealed::{Attempt, Known, Lock, Steps, Wakes};

/// Where a case is between `new` and `take`. Checked before anything is locked, since a case that
/// took part twice at once would have two places for one node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Selecting,
    Chosen,
}

impl Phase {
    fn begun(self) -> Phase {
        match self {
            Phase::Idle => Phase::Selecting,
            Phase::Selecting => panic!("a case takes part in a select twice"),
            Phase::Chosen => panic!("a case was chosen and its outcome has not been taken"),
        }
    }

    fn after(chosen: bool) -> Phase {
        if chosen { Phase::Chosen } else { Phase::Idle }
    }

    fn taken(self) -> Phase {
        assert!(self == Phase::Chosen, "the case was not chosen");
        Phase::Idle
    }
}

/// Receiving from one channel. After its outcome has been taken it may be used again.
pub struct RecvCase<'a, T> {
    receiver: &'a Receiver<T>,
    slot: Slot<T>,
    node: UnsafeCell<Option<Node>>,
    phase: Cell<Phase>,
}

/// Sending one value to one channel.
pub struct SendCase<'a, T> {
    sender: &'a Sender<T>,
    slot: Slot<T>,
    node: UnsafeCell<Option<Node>>,
    phase: Cell<Phase>,
}

impl<'a, T: Send> RecvCase<'a, T> {
    /// To be passed to [`select`].
    pub fn new(receiver: &'a Receiver<T>) -> RecvCase<'a, T> {
        RecvCase {
            receiver,
            slot: Slot::new(None),
            node: UnsafeCell::new(None),
            phase: Cell::new(Phase::Idle),
        }
    }

    /// What was received, after `select` has chosen this case; once.
    ///
    /// # Errors
    /// If the channel is closed and empty.
    ///
    /// # Panics
    /// If the case was not chosen.
    pub fn take(&self) -> Result<T, RecvError> {
        self.phase.set(self.phase.get().taken());
        // SAFETY: the wait is over, so the slot is ours.
        unsafe { self.slot.take() }.ok_or(RecvError)
    }
}

impl<'a, T: Send> SendCase<'a, T> {
    /// To be passed to [`select`].
    pub fn new(sender: &'a Sender<T>, value: T) -> SendCase<'a, T> {
        SendCase {
            sender,
            slot: Slot::new(Some(value)),
            node: UnsafeCell::new(None),
            phase: Cell::new(Phase::Idle),
        }
    }

    /// How sending went, after `select` has chosen this case; once.
    ///
    /// # Errors
    /// If the channel is closed; the value comes back.
    ///
    /// # Panics
    /// If the case was not chosen.
    pub fn take(&self) -> Result<(), SendError<T>> {
        self.phase.set(self.phase.get().taken());
        // SAFETY: the wait is over, so the slot is ours.
        match unsafe { self.slot.take() } {
            None => Ok(()),
            Some(value) => Err(SendError(value)),
        }
    }

    /// The value, of a case that was not chosen or that failed.
    pub fn into_inner(self) -> Option<T> {
        // SAFETY: no select is under way, for it would borrow the case.
        unsafe { self.slot.take() }
    }
}

impl<T: Send> Case for RecvCase<'_, T> {}

impl<T: Send> Steps for RecvCase<'_, T> {
    fn begin(&self) {
        self.phase.set(self.phase.get().begun());
    }

    fn lock(&self) -> Lock<'_> {
        Lock(self.receiver.0.state.raw())
    }

    fn attempt(&self) -> Attempt {
        // SAFETY: `select` holds the lock, and no other reference to the state is alive.
        match unsafe { self.receiver.0.state.data() }.try_recv() {
            Received::Value(value, sender) => {
                // SAFETY: the case does not wait.
                unsafe { self.slot.put(value) };
                Attempt::Proceeds(Wakes(sender))
            }
            Received::Closed => Attempt::Proceeds(Wakes(None)),
            Received::Empty => Attempt::Blocks,
        }
    }

    unsafe fn enqueue(&self, waiter: Known, token: u32) {
        // SAFETY: obligation 1; the node is not in use.
        unsafe {
            let node = (*self.node.get()).insert(Node::new(waiter.0, token, self.slot.address()));
            self.receiver.0.state.data().receivers.push_back(node);
        }
    }

    unsafe fn dequeue(&self) {
        // SAFETY: obligation 1.
        unsafe {
            if let Some(node) = &*self.node.get() {
                self.receiver.0.state.data().receivers.remove(node);
            }
        }
    }

    fn conclude(&self, chosen: bool) {
        self.phase.set(Phase::after(chosen));
    }
}

impl<T: Send> Case for SendCase<'_, T> {}

impl<T: Send> Steps for SendCase<'_, T> {
    fn begin(&self) {
        // SAFETY: no select is under way with this case, or the next line panics; the reference
        // ends here.
        let has_value = unsafe { self.slot.is_full() };
        assert!(has_value, "the value of the case was sent before");
        self.phase.set(self.phase.get().begun());
    }

    fn lock(&self) -> Lock<'_> {
        Lock(self.sender.0.state.raw())
    }

    fn attempt(&self) -> Attempt {
        // SAFETY: as for `RecvCase`.
        match unsafe { self.sender.0.state.data() }.try_send(&self.slot) {
            Sent::Done(receiver) => Attempt::Proceeds(Wakes(receiver)),
            Sent::Closed => Attempt::Proceeds(Wakes(None)),
            Sent::Full => Attempt::Blocks,
        }
    }

    unsafe fn enqueue(&self, waiter: Known, token: u32) {
        // SAFETY: obligation 1; the node is not in use.
        unsafe {
            let node = (*self.node.get()).insert(Node::new(waiter.0, token, self.slot.address()));
            self.sender.0.state.data().senders.push_back(node);
        }
    }

    unsafe fn dequeue(&self) {
        // SAFETY: obligation 1.
        unsafe {
            if let Some(node) = &*self.node.get() {
                self.sender.0.state.data().senders.remove(node);
            }
        }
    }

    fn conclude(&self, chosen: bool) {
        self.phase.set(Phase::after(chosen));
    }
}

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
    let deadline = match wait {
        Wait::Forever => Nanos::NEVER,
        Wait::Until(instant) => simulated::point_in_time(instant),
        Wait::Not => {
            unlock_all(cases, by_lock);
            return None;
        }
    };
    let waiter = Waiter::new();
    waiter.prepare(
        if cases.is_empty() {
            WaitReason::SelectNoCases
        } else {
            WaitReason::Select
        },
        &raw const cases,
    );
    // In random order too: of two cases on one channel, whoever comes takes the one that queued first.
    for &i in random {
        // SAFETY: every lock is held, and the borrow of the cases keeps them in place.
        unsafe { cases[i as usize].enqueue(Known(&waiter), i + 1) };
    }
    unlock_all(cases, by_lock);
    drop(inside);

    let token = waiter.wait(deadline);

    let inside = critical::enter();
    lock_all(cases, by_lock, &inside);
    for case in cases {
        // SAFETY: every lock is held, and every case was enqueued.
        unsafe { case.dequeue() };
    }
    unlock_all(cases, by_lock);
    drop(inside);
    (token != TIMED_OUT).then(|| token as usize - 1)
}

/// Calls `each` with the addresses of the channels of a goroutine that is parked in [`select`].
///
/// # Safety
/// 1. `cases` is what `run` has prepared the wait with, and the goroutine stands still.
pub(crate) unsafe fn for_each_channel(cases: *const (), mut each: impl FnMut(usize)) {
    // SAFETY: obligation 1: they live in the frame of `run`, or are borrowed there.
    let cases = unsafe { *cases.cast::<&[&dyn Case]>() };
    (0..cases.len() as u32).for_each(|i| each(address(cases, i)));
}

fn address(cases: &[&dyn Case], i: u32) -> usize {
    ptr::from_ref(cases[i as usize].lock().0).addr()
}

/// Whether the channel at this place of the lock order is that of the place before, which then has
/// the lock.
fn is_repeat(cases: &[&dyn Case], by_lock: &[u32], at: usize) -> bool {
    at > 0 && address(cases, by_lock[at]) == address(cases, by_lock[at - 1])
}

fn lock_all(cases: &[&dyn Case], by_lock: &[u32], inside: &Section) {
    for (at, &i) in by_lock.iter().enumerate() {
        if !is_repeat(cases, by_lock, at) {
            cases[i as usize].lock().0.lock(inside);
        }
    }
}

fn unlock_all(cases: &[&dyn Case], by_lock: &[u32]) {
    for (at, &i) in by_lock.iter().enumerate() {
        if !is_repeat(cases, by_lock, at) {
            // SAFETY: `lock_all` has locked it.
            unsafe { cases[i as usize].lock().0.unlock() };
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
