//! What a `select!` takes: anything that values come from or go to.
//!
//! `Source` and `Sink` make a case out of a place; `Chosen` gives a case's outcome. A place that may be missing (`Option`) makes a case that may be missing, which never goes
//! ahead: Go's nil channel, by which an arm of a loop is switched off.

use std::rc::Rc;
use std::sync::Arc;

use crate::chan::case::{RecvCase, SendCase};
use crate::chan::ends::{Receiver, Sender};
use crate::chan::error::{RecvError, SendError};
use crate::chan::select::Case;
use crate::chan::select::sealed::{Attempt, Known, Lock, Steps};
use crate::time::Nanos;

/// A case whose outcome can be taken once a `select` has chosen it.
pub trait Chosen: Case {
    /// What became of the operation.
    type Outcome;

    /// The outcome, once.
    ///
    /// # Panics
    /// If the case was not chosen.
    fn outcome(&self) -> Self::Outcome;
}

/// What a `select!` can receive from: a channel, a timer, a context's end; references and smart pointers to these; and `Option`s of them, of which
/// `None` is never ready.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that a `select!` can receive from",
    label = "not a `Receiver`, a timer or the like"
)]
pub trait Source {
    /// The operation.
    type Case<'a>: Chosen
    where
        Self: 'a;

    /// The operation, to be passed to [`select`](super::select::select).
    fn recv_case(&self) -> Self::Case<'_>;
}

/// What a `select!` can send to: a channel; references and smart pointers to one; and `Option`s of these, of which `None` is never ready.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that a `select!` can send to",
    label = "not a `Sender`"
)]
pub trait Sink {
    /// What can be sent.
    type Value;
    /// The operation.
    type Case<'a>: Chosen
    where
        Self: 'a;

    /// The operation, to be passed to [`select`](super::select::select).
    fn send_case(&self, value: Self::Value) -> Self::Case<'_>;
}

impl<T: Send> Chosen for RecvCase<'_, T> {
    type Outcome = Result<T, RecvError>;

    fn outcome(&self) -> Result<T, RecvError> {
        self.take()
    }
}

impl<T: Send> Chosen for SendCase<'_, T> {
    type Outcome = Result<(), SendError<T>>;

    fn outcome(&self) -> Result<(), SendError<T>> {
        self.take()
    }
}

impl<T: Send> Source for Receiver<T> {
    type Case<'a>
        = RecvCase<'a, T>
    where
        T: 'a;

    fn recv_case(&self) -> RecvCase<'_, T> {
        RecvCase::new(self)
    }
}

impl<T: Send> Sink for Sender<T> {
    type Value = T;
    type Case<'a>
        = SendCase<'a, T>
    where
        T: 'a;

    fn send_case(&self, value: T) -> SendCase<'_, T> {
        SendCase::new(self, value)
    }
}

macro_rules! through_pointers {
    ($($pointer:ty),*) => {$(
        impl<S: Source + ?Sized> Source for $pointer {
            type Case<'a> = S::Case<'a> where Self: 'a;

            fn recv_case(&self) -> Self::Case<'_> {
                (**self).recv_case()
            }
        }

        impl<S: Sink + ?Sized> Sink for $pointer {
            type Value = S::Value;
            type Case<'a> = S::Case<'a> where Self: 'a;

            fn send_case(&self, value: S::Value) -> Self::Case<'_> {
                (**self).send_case(value)
            }
        }
    )*};
}

through_pointers!(&S, &mut S, Box<S>, Rc<S>, Arc<S>);

/// A case that may be missing, and then never goes ahead.
pub struct MaybeCase<C>(Option<C>);

impl<S: Source> Source for Option<S> {
    type Case<'a>
        = MaybeCase<S::Case<'a>>
    where
        Self: 'a;

    fn recv_case(&self) -> Self::Case<'_> {
        MaybeCase(self.as_ref().map(Source::recv_case))
    }
}

impl<S: Sink> Sink for Option<S> {
    type Value = S::Value;
    type Case<'a>
        = MaybeCase<S::Case<'a>>
    where
        Self: 'a;

    fn send_case(&self, value: S::Value) -> Self::Case<'_> {
        MaybeCase(self.as_ref().map(|sink| sink.send_case(value)))
    }
}

impl<C: Case> Case for MaybeCase<C> {}

impl<C: Chosen> Chosen for MaybeCase<C> {
    type Outcome = C::Outcome;

    fn outcome(&self) -> C::Outcome {
        let case = self.0.as_ref();
        case.expect("a case that is missing was not chosen")
            .outcome()
    }
}

impl<C: Steps> Steps for MaybeCase<C> {
    fn begin(&self) {
        if let Some(case) = &self.0 {
            case.begin();
        }
    }

    fn lock(&self) -> Option<Lock<'_>> {
        self.0.as_ref()?.lock()
    }

    fn attempt(&self) -> Attempt {
        self.0.as_ref().map_or(Attempt::Blocks, Steps::attempt)
    }

    unsafe fn enqueue(&self, waiter: Known, token: u32) -> Nanos {
        match &self.0 {
            // SAFETY: the obligations are the same.
            Some(case) => unsafe { case.enqueue(waiter, token) },
            None => Nanos::NEVER,
        }
    }

    unsafe fn dequeue(&self) {
        if let Some(case) = &self.0 {
            // SAFETY: the obligations are the same.
            unsafe { case.dequeue() }
        }
    }

    fn is_done_by_claim(&self) -> bool {
        self.0.as_ref().is_none_or(Steps::is_done_by_claim)
    }

    fn conclude(&self, chosen: bool) {
        if let Some(case) = &self.0 {
            case.conclude(chosen);
        }
    }
}
