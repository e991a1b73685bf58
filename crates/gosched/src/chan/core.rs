//! A channel's state, and what may be done to it under its lock.
//!
//! Invariants, while the lock is free:
//!
//! - receivers wait only if the buffer is empty and no sender waits; senders wait only if the
//!   buffer is full;
//! - nobody waits on a closed channel;
//! - the buffer never holds more than the capacity (0 for an unbuffered channel).
//!
//! A party that waits has a [`Slot`] in its frame: a sender's holds the value, a receiver's is
//! empty. Whoever pops its node has claimed it, and moves the value over while the lock is held;
//! after the wake-up the node's `outcome` says whether that happened. No value is dropped under the
//! lock, for that would run code of the program in a critical section.

use crate::atomic::AtomicUsize;
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ptr;

use crate::critical;
use crate::lock::Lock;
use crate::simulated;
use crate::waiter::{Claimed, WaitList};

/// Where a value waits, or is waited for. Accessed by its frame's owner before and after the wait,
/// and between by the claimant.
pub(super) struct Slot<T>(UnsafeCell<Option<T>>);

impl<T> Slot<T> {
    pub(super) fn new(value: Option<T>) -> Slot<T> {
        Slot(UnsafeCell::new(value))
    }

    pub(super) fn address(&self) -> *const () {
        ptr::from_ref(self).cast()
    }

    /// # Safety
    /// 1. The caller owns the frame and does not wait, or has claimed the waiter.
    pub(super) unsafe fn take(&self) -> Option<T> {
        // SAFETY: obligation 1.
        unsafe { (*self.0.get()).take() }
    }

    /// # Safety
    /// 1. As `take`.
    pub(super) unsafe fn is_full(&self) -> bool {
        // SAFETY: obligation 1.
        unsafe { (*self.0.get()).is_some() }
    }

    /// # Safety
    /// 1. As `take`; the slot is empty.
    pub(super) unsafe fn put(&self, value: T) {
        // SAFETY: obligation 1: writing over `None` drops nothing.
        unsafe { *self.0.get() = Some(value) };
    }
}

/// # Safety
/// 1. The claimed node waits on a channel of `T`.
unsafe fn slot_of<T>(claimed: &Claimed) -> &Slot<T> {
    // SAFETY: obligation 1: its `slot` is the address of a `Slot<T>` in the frame, which lives
    // until the wake-up.
    unsafe { &*claimed.node().slot.cast::<Slot<T>>() }
}

/// What became of an attempt to send.
pub(super) enum Sent {
    /// The value is gone. Whom to wake for it, once the lock is released.
    Done(Option<Claimed>),
    /// It is still there.
    Full,
    /// Likewise.
    Closed,
}

/// What became of an attempt to receive.
pub(super) enum Received<T> {
    /// A value, and whom to wake.
    Value(T, Option<Claimed>),
    /// None now.
    Empty,
    /// None ever.
    Closed,
}

pub(super) struct State<T> {
    capacity: usize,
    buffer: VecDeque<T>,
    pub(super) senders: WaitList,
    pub(super) receivers: WaitList,
    closed: bool,
}

impl<T> State<T> {
    pub(super) fn try_send(&mut self, value: &Slot<T>) -> Sent {
        if self.closed {
            return Sent::Closed;
        }
        // SAFETY: the caller owns `value`'s frame and does not wait; a claimed receiver's slot is
        // ours.
        unsafe {
            if let Some(receiver) = self.receivers.pop() {
                let value = value.take().expect("a value to send");
                slot_of::<T>(&receiver).put(value);
                receiver.node().outcome.set(true);
                return Sent::Done(Some(receiver));
            }
            if self.buffer.len() < self.capacity {
                self.buffer
                    .push_back(value.take().expect("a value to send"));
                return Sent::Done(None);
            }
        }
        Sent::Full
    }

    pub(super) fn try_recv(&mut self) -> Received<T> {
        let buffered = self.buffer.pop_front();
        let sender = self.senders.pop();
        let sent = sender.as_ref().map(|sender| {
            sender.node().outcome.set(true);
            // SAFETY: a claimed sender's slot is ours, and holds its value.
            unsafe { slot_of::<T>(sender).take() }.expect("a sender waits with a value")
        });
        match (buffered, sent) {
            (Some(first), Some(last)) => {
                self.buffer.push_back(last);
                Received::Value(first, sender)
            }
            (Some(value), None) | (None, Some(value)) => Received::Value(value, sender),
            (None, None) if self.closed => Received::Closed,
            (None, None) => Received::Empty,
        }
    }
}

/// What the ends share.
pub(super) struct Channel<T> {
    pub(super) state: Lock<State<T>>,
    /// Ends of either kind.
    pub(super) sender_count: AtomicUsize,
    pub(super) receiver_count: AtomicUsize,
}

impl<T> Channel<T> {
    pub(super) fn new(capacity: usize) -> Channel<T> {
        Channel {
            state: Lock::new(State {
                capacity,
                buffer: VecDeque::with_capacity(capacity),
                senders: WaitList::new(),
                receivers: WaitList::new(),
                closed: false,
            }),
            sender_count: AtomicUsize::new(1),
            receiver_count: AtomicUsize::new(1),
        }
    }

    /// Closes it, and wakes all who wait. Returns false if it was closed.
    pub(super) fn close(&self) -> bool {
        simulated::point();
        let woken = {
            let inside = critical::enter();
            let mut state = self.state.lock(&inside);
            if state.closed {
                return false;
            }
            state.closed = true;
            let mut woken = state.senders.pop_all();
            woken.append(state.receivers.pop_all());
            woken
        };
        woken.wake_all();
        true
    }

    pub(super) fn is_closed(&self) -> bool {
        let inside = critical::enter();
        self.state.lock(&inside).closed
    }

    pub(super) fn len(&self) -> usize {
        let inside = critical::enter();
        self.state.lock(&inside).buffer.len()
    }

    pub(super) fn capacity(&self) -> usize {
        let inside = critical::enter();
        self.state.lock(&inside).capacity
    }
}
