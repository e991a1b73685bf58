//! Channels: many senders, many receivers, from goroutines and plain threads.
//!
//! Semantics are Go's where Rust does not know better: an unbuffered channel hands values over
//! directly, a bounded one queues; waiting parties are served first in, first out. Two things
//! differ. Sending on a closed channel is an error that gives the value back, not a panic. And a
//! channel also closes by itself when its last sender or its last receiver is dropped.
//!
//! `core` has the state and what is done under its lock, `ends` the two ends, `select` waiting for
//! several, `case` and `source` what those are made of; on a `timer` the clock sends.

mod case;
mod core;
mod ends;
pub mod error;
pub mod select;
mod source;
pub mod timer;

pub use ends::{Iter, Receiver, Sender, bounded, unbuffered};
pub use error::{RecvError, RecvUntilError, SendError, SendUntilError, TryRecvError, TrySendError};
pub use timer::{Ticker, Timer};
