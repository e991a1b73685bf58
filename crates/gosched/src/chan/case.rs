//! The cases of a `select` that send and receive.
//!
//! A case is made for one select after the other and lies in the frame of whoever selects: its slot holds the value that is sent or received, its node waits in the
//! channel's queue. Invariant: between `enqueue` and `dequeue` neither moves, because the select borrows the case meanwhile.

use std::cell::{Cell, UnsafeCell};

use crate::chan::core::{Received, Sent, Slot};
use crate::chan::ends::{Receiver, Sender};
use crate::chan::error::{RecvError, SendError};
use crate::chan::select::Case;
use crate::chan::select::sealed::{Attempt, Known, Lock, Steps, Wakes};
use crate::time::Nanos;
use crate::waiter::Node;

/// Where a case is between `new` and `take`. Checked before anything is locked, since a case that
/// took part twice at once would have two places for one node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Selecting,
    Chosen,
}

impl Phase {
    pub(super) fn begun(self) -> Phase {
        match self {
            Phase::Idle => Phase::Selecting,
            Phase::Selecting => panic!("a case takes part in a select twice"),
            Phase::Chosen => panic!("a case was chosen and its outcome has not been taken"),
        }
    }

    pub(super) fn after(chosen: bool) -> Phase {
        if chosen { Phase::Chosen } else { Phase::Idle }
    }

    pub(super) fn taken(self) -> Phase {
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
    /// To be passed to [`select`](super::select::select).
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
    /// To be passed to [`select`](super::select::select).
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

    fn lock(&self) -> Option<Lock<'_>> {
        Some(Lock(self.receiver.0.state.raw()))
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

    unsafe fn enqueue(&self, waiter: Known, token: u32) -> Nanos {
        // SAFETY: obligation 1; the node is not in use.
        unsafe {
            let node = (*self.node.get()).insert(Node::new(waiter.0, token, self.slot.address()));
            self.receiver.0.state.data().receivers.push_back(node);
        }
        Nanos::NEVER
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

    fn lock(&self) -> Option<Lock<'_>> {
        Some(Lock(self.sender.0.state.raw()))
    }

    fn attempt(&self) -> Attempt {
        // SAFETY: as for `RecvCase`.
        match unsafe { self.sender.0.state.data() }.try_send(&self.slot) {
            Sent::Done(receiver) => Attempt::Proceeds(Wakes(receiver)),
            Sent::Closed => Attempt::Proceeds(Wakes(None)),
            Sent::Full => Attempt::Blocks,
        }
    }

    unsafe fn enqueue(&self, waiter: Known, token: u32) -> Nanos {
        // SAFETY: obligation 1; the node is not in use.
        unsafe {
            let node = (*self.node.get()).insert(Node::new(waiter.0, token, self.slot.address()));
            self.sender.0.state.data().senders.push_back(node);
        }
        Nanos::NEVER
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
