//! Why a channel operation did not succeed.

use std::fmt;

/// The channel is closed. The value comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// A value was not sent at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// No receiver waits and the buffer is full.
    Full(T),
    /// The channel is closed.
    Closed(T),
}

/// A value was not sent in time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendUntilError<T> {
    /// The deadline passed.
    TimedOut(T),
    /// The channel is closed.
    Closed(T),
}

/// The channel is closed and empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvError;

/// No value was received at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// No sender waits and the buffer is empty.
    Empty,
    /// The channel is closed and empty.
    Closed,
}

/// No value was received in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvUntilError {
    /// The deadline passed.
    TimedOut,
    /// The channel is closed and empty.
    Closed,
}

const SEND_CLOSED: &str = "send on closed channel";
const RECV_CLOSED: &str = "receive on closed and empty channel";

impl<T> SendError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> TrySendError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(value) | TrySendError::Closed(value) => value,
        }
    }
}

impl<T> SendUntilError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            SendUntilError::TimedOut(value) | SendUntilError::Closed(value) => value,
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SEND_CLOSED)
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "send on full channel",
            TrySendError::Closed(_) => SEND_CLOSED,
        })
    }
}

impl<T> fmt::Display for SendUntilError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendUntilError::TimedOut(_) => "send timed out",
            SendUntilError::Closed(_) => SEND_CLOSED,
        })
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RECV_CLOSED)
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "receive on empty channel",
            TryRecvError::Closed => RECV_CLOSED,
        })
    }
}

impl fmt::Display for RecvUntilError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecvUntilError::TimedOut => "receive timed out",
            RecvUntilError::Closed => RECV_CLOSED,
        })
    }
}

// By hand, because a value need not be `Debug` to be sent.
impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Debug for SendUntilError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendUntilError::TimedOut(_) => "TimedOut(..)",
            SendUntilError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> std::error::Error for SendError<T> {}
impl<T> std::error::Error for TrySendError<T> {}
impl<T> std::error::Error for SendUntilError<T> {}
impl std::error::Error for RecvError {}
impl std::error::Error for TryRecvError {}
impl std::error::Error for RecvUntilError {}
