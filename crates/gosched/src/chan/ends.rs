//! The two ends of a channel.

use crate::atomic::Ordering;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::chan::core::{Channel, Received, Sent, Slot};
use crate::chan::error::{
    RecvError, RecvUntilError, SendError, SendUntilError, TryRecvError, TrySendError,
};
use crate::critical;
use crate::goroutine::WaitReason;
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::{Node, TIMED_OUT, Waiter};

/// A channel without a buffer: a send completes when a receiver takes the value.
pub fn unbuffered<T: Send>() -> (Sender<T>, Receiver<T>) {
    with_capacity(0)
}

/// A channel that holds up to `capacity` values; with 0 it is [`unbuffered`]. The room is allocated
/// now.
pub fn bounded<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    with_capacity(capacity)
}

fn with_capacity<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel::new(capacity));
    (Sender(channel.clone()), Receiver(channel))
}

/// The end that values go in at. Clones send on the same channel; it closes when the last is
/// dropped.
pub struct Sender<T>(pub(super) Arc<Channel<T>>);

/// The end that values come out at. Clones share them: each value goes to one. The channel closes
/// when the last is dropped.
pub struct Receiver<T>(pub(super) Arc<Channel<T>>);

/// How a blocking operation ended otherwise than well.
enum Failure {
    TimedOut,
    Closed,
}

impl<T: Send> Sender<T> {
    /// Sends, waiting for a receiver or for room.
    ///
    /// # Errors
    /// If the channel is closed, also while waiting.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_deadline(value, Nanos::NEVER)
            .map_err(|(value, _)| SendError(value))
    }

    /// Sends if that is possible without waiting.
    ///
    /// # Errors
    /// If it is not, or if the channel is closed.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        simulated::point();
        let slot = Slot::new(Some(value));
        let inside = critical::enter();
        let sent = self.0.state.lock(&inside).try_send(&slot);
        // SAFETY: the slot is in our frame and was not made known.
        let back = || unsafe { slot.take() }.expect("an unsent value is still there");
        match sent {
            Sent::Done(receiver) => {
                if let Some(receiver) = receiver {
                    receiver.wake(&inside);
                }
                Ok(())
            }
            Sent::Full => Err(TrySendError::Full(back())),
            Sent::Closed => Err(TrySendError::Closed(back())),
        }
    }

    /// Sends, waiting until the deadline at most.
    ///
    /// # Errors
    /// If the deadline passes first, or if the channel is closed.
    pub fn send_until(&self, value: T, deadline: Instant) -> Result<(), SendUntilError<T>> {
        self.send_deadline(value, simulated::point_in_time(deadline))
            .map_err(|(value, why)| match why {
                Failure::TimedOut => SendUntilError::TimedOut(value),
                Failure::Closed => SendUntilError::Closed(value),
            })
    }

    fn send_deadline(&self, value: T, deadline: Nanos) -> Result<(), (T, Failure)> {
        simulated::point();
        let slot = Slot::new(Some(value));
        let back = |why| {
            // SAFETY: the slot is in our frame, and is asked only when we do not wait.
            let value = unsafe { slot.take() };
            (value.expect("an unsent value is still there"), why)
        };
        let (waiter, node);
        {
            let inside = critical::enter();
            let mut state = self.0.state.lock(&inside);
            match state.try_send(&slot) {
                Sent::Done(receiver) => {
                    drop(state);
                    if let Some(receiver) = receiver {
                        receiver.wake(&inside);
                    }
                    return Ok(());
                }
                Sent::Closed => {
                    drop(state);
                    drop(inside);
                    return Err(back(Failure::Closed));
                }
                Sent::Full => {
                    waiter = Waiter::new_in(&inside);
                    node = Node::new(&waiter, 1, slot.address());
                    waiter.prepare(WaitReason::ChanSend, &*self.0);
                    // SAFETY: the node is popped or removed before the frame is left.
                    unsafe { state.senders.push_back(&node) };
                }
            }
        }
        if waiter.wait(deadline) == TIMED_OUT {
            let inside = critical::enter();
            // SAFETY: it is in this list or none.
            unsafe { self.0.state.lock(&inside).senders.remove(&node) };
            drop(inside);
            return Err(back(Failure::TimedOut));
        }
        if node.outcome.get() {
            Ok(())
        } else {
            Err(back(Failure::Closed))
        }
    }
}

impl<T> Sender<T> {
    /// Closes the channel: further sends fail, those that wait too; receivers get what is buffered
    /// and then an error. Returns false if it was closed already.
    pub fn close(&self) -> bool {
        self.0.close()
    }

    /// Whether the channel is closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Values in the buffer.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Room in the buffer, used or not.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<T: Send> Receiver<T> {
    /// Receives, waiting for a value.
    ///
    /// # Errors
    /// If the channel is closed and empty.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_deadline(Nanos::NEVER).map_err(|_| RecvError)
    }

    /// Receives if there is a value now.
    ///
    /// # Errors
    /// If there is none.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        simulated::point();
        let inside = critical::enter();
        let received = self.0.state.lock(&inside).try_recv();
        match received {
            Received::Value(value, sender) => {
                if let Some(sender) = sender {
                    sender.wake(&inside);
                }
                Ok(value)
            }
            Received::Empty => Err(TryRecvError::Empty),
            Received::Closed => Err(TryRecvError::Closed),
        }
    }

    /// Receives, waiting until the deadline at most.
    ///
    /// # Errors
    /// If the deadline passes first, or if the channel is closed and empty.
    pub fn recv_until(&self, deadline: Instant) -> Result<T, RecvUntilError> {
        self.recv_deadline(simulated::point_in_time(deadline))
            .map_err(|why| match why {
                Failure::TimedOut => RecvUntilError::TimedOut,
                Failure::Closed => RecvUntilError::Closed,
            })
    }

    /// Receives until the channel is closed and empty.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    fn recv_deadline(&self, deadline: Nanos) -> Result<T, Failure> {
        simulated::point();
        let slot = Slot::new(None);
        let (waiter, node);
        {
            let inside = critical::enter();
            let mut state = self.0.state.lock(&inside);
            match state.try_recv() {
                Received::Value(value, sender) => {
                    drop(state);
                    if let Some(sender) = sender {
                        sender.wake(&inside);
                    }
                    return Ok(value);
                }
                Received::Closed => return Err(Failure::Closed),
                Received::Empty => {
                    waiter = Waiter::new_in(&inside);
                    node = Node::new(&waiter, 1, slot.address());
                    waiter.prepare(WaitReason::ChanReceive, &*self.0);
                    // SAFETY: the node is popped or removed before the frame is left.
                    unsafe { state.receivers.push_back(&node) };
                }
            }
        }
        if waiter.wait(deadline) == TIMED_OUT {
            let inside = critical::enter();
            // SAFETY: it is in this list or none.
            unsafe { self.0.state.lock(&inside).receivers.remove(&node) };
            return Err(Failure::TimedOut);
        }
        // SAFETY: the wait is over, so the slot is ours again.
        unsafe { slot.take() }.ok_or(Failure::Closed)
    }
}

impl<T> Receiver<T> {
    /// Closes the channel, as [`Sender::close`] does.
    pub fn close(&self) -> bool {
        self.0.close()
    }

    /// Whether the channel is closed; there may be values left.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Values in the buffer.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Room in the buffer, used or not.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.sender_count.fetch_add(1, Ordering::Relaxed);
        Sender(self.0.clone())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.0.receiver_count.fetch_add(1, Ordering::Relaxed);
        Receiver(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.sender_count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.close();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.0.receiver_count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender(..)")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver(..)")
    }
}

/// Values as they are received; ends when the channel is closed and empty.
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

impl<T: Send> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<'a, T: Send> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
