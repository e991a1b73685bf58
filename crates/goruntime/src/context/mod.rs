//! When to stop: cancellation, deadlines and values that belong to one request, passed from call to call.
//!
//! A [`Context`] is made from another one, so contexts form a tree; what ends one ends all that were made from it. Nothing is stopped by force. Code that is to be stopped takes the
//! context and looks: it waits in a [`select!`](crate::select) with [`Context::done`] as one arm, or by way of the context ([`Context::recv`], [`send`](Context::send),
//! [`sleep`](Context::sleep)), or it asks [`Context::err`] between two steps. What knows nothing of contexts is woken by [`Context::after_func`], say by closing its connection.
//!
//! ```
//! use goruntime::{chan, context::{self, Context}, go, select, time::Duration};
//!
//! let (ctx, cancel) = Context::background().with_timeout(Duration::from_secs(60));
//! let (tx, rx) = chan::unbuffered();
//! let numbers = go(move || {
//!     for n in 0.. {
//!         select! {
//!             send(tx, n) -> _ => {}
//!             recv(ctx.done()) -> _ => return ctx.err(),
//!         }
//!     }
//!     None
//! });
//! assert_eq!(rx.iter().take(3).sum::<u32>(), 3);
//! cancel.cancel();
//! assert_eq!(numbers.join().unwrap(), Some(context::Error::Canceled));
//! ```
//!
//! # Against Go
//!
//! `Context` is a type and not an interface, and its makers are methods of it. A context that is dropped needs no cancellation: nothing is left of it. Values have types, which are
//! also their keys ([`Key`]).
//!
//! `canceler` is the tree and its protocol, `values` the list.

mod canceler;
mod values;

use crate::time::{Duration, Instant, now};
use canceler::Canceler;
use gosched::chan::select::{Chosen, Source, Wait, select};
use gosched::chan::{self, Receiver, Sender, Timer};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::{Arc, Weak};
use values::Values;

pub use values::Key;

/// The wider reason for a cancellation; see [`Context::cause`].
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why a context is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// It was cancelled, or one that it was made from.
    Canceled,
    /// Its deadline has passed.
    DeadlineExceeded,
}

/// The end of a request, as far as it is known, and what belongs to the request. Clones are the same context.
#[derive(Clone, Default)]
pub struct Context {
    canceler: Option<Arc<Canceler>>,
    values: Values,
}

impl Context {
    /// Never over, without deadline and values: the root of all others.
    pub fn background() -> Context {
        Context::default()
    }

    /// As [`background`](Self::background), to mark a place that ought to be passed a context and is not yet.
    pub fn todo() -> Context {
        Context::default()
    }

    /// One that is over when this one is, or when what is returned says so.
    pub fn with_cancel(&self) -> (Context, CancelFunc) {
        let canceler = Canceler::new(self.canceler.as_ref(), None);
        (self.over(&canceler), CancelFunc(canceler))
    }

    /// As [`with_cancel`](Self::with_cancel); who cancels says why.
    pub fn with_cancel_cause(&self) -> (Context, CancelCauseFunc) {
        let (context, cancel) = self.with_cancel();
        (context, CancelCauseFunc(cancel.0))
    }

    /// One that is over at `deadline`, or before if this one is or the function says so.
    ///
    /// # Panics
    /// When there is no memory for the goroutine that sees to all timers.
    pub fn with_deadline(&self, deadline: Instant) -> (Context, CancelFunc) {
        self.until(deadline, None)
    }

    /// As [`with_deadline`](Self::with_deadline), with the cause that the deadline has when it passes.
    ///
    /// # Panics
    /// As `with_deadline`.
    pub fn with_deadline_cause(
        &self,
        deadline: Instant,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> (Context, CancelFunc) {
        self.until(deadline, Some(Arc::from(cause.into())))
    }

    /// As [`with_deadline`](Self::with_deadline), so long from now.
    ///
    /// # Panics
    /// As `with_deadline`.
    pub fn with_timeout(&self, timeout: Duration) -> (Context, CancelFunc) {
        match now().checked_add(timeout) {
            Some(deadline) => self.with_deadline(deadline),
            None => self.with_cancel(),
        }
    }

    /// As [`with_deadline_cause`](Self::with_deadline_cause), so long from now.
    ///
    /// # Panics
    /// As `with_deadline`.
    pub fn with_timeout_cause(
        &self,
        timeout: Duration,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> (Context, CancelFunc) {
        match now().checked_add(timeout) {
            Some(deadline) => self.with_deadline_cause(deadline, cause),
            None => self.with_cancel(),
        }
    }

    fn until(&self, deadline: Instant, cause: Option<Cause>) -> (Context, CancelFunc) {
        let canceler = Canceler::new(self.canceler.as_ref(), Some(deadline));
        canceler.end_at(deadline, cause);
        (self.over(&canceler), CancelFunc(canceler))
    }

    fn over(&self, canceler: &Arc<Canceler>) -> Context {
        Context {
            canceler: Some(canceler.clone()),
            values: self.values.clone(),
        }
    }

    /// One with a value more, under the key `K`. For what belongs to the request and passes through code that need not know it; what a function works with is its parameter.
    ///
    /// ```
    /// use goruntime::context::{Context, Key};
    ///
    /// struct RequestId;
    /// impl Key for RequestId {
    ///     type Value = u64;
    /// }
    ///
    /// let ctx = Context::background().with_value::<RequestId>(7);
    /// assert_eq!(ctx.value::<RequestId>(), Some(&7));
    /// ```
    pub fn with_value<K: Key>(&self, value: K::Value) -> Context {
        Context {
            canceler: self.canceler.clone(),
            values: self.values.with::<K>(value),
        }
    }

    /// One with the values of this one, that is never over.
    pub fn without_cancel(&self) -> Context {
        Context {
            canceler: None,
            values: self.values.clone(),
        }
    }

    /// The value that was given last under the key `K`, here or to one that this was made from.
    pub fn value<K: Key>(&self) -> Option<&K::Value> {
        self.values.get::<K>()
    }

    /// When it will be over at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.canceler.as_ref()?.deadline()
    }

    /// Why it is over; `None` as long as it is not.
    pub fn err(&self) -> Option<Error> {
        self.canceler.as_ref()?.err()
    }

    /// The wider reason for its end: what was given to [`CancelCauseFunc::cancel`] or [`with_deadline_cause`](Self::with_deadline_cause), here or where the end came
    /// from; else what [`err`](Self::err) says. `None` as long as it is not over.
    pub fn cause(&self) -> Option<Cause> {
        self.canceler.as_ref()?.cause()
    }

    /// Its end, to be waited for: an arm `recv(ctx.done()) -> _` of a [`select!`](crate::select).
    pub fn done(&self) -> Done<'_> {
        Done(self.canceler.as_ref().map(|canceler| canceler.done()))
    }

    /// Calls `f` in a goroutine of its own when the context is over, at once if it is. What is returned can take that back; dropping it does not.
    ///
    /// This is how what knows nothing of contexts is stopped:
    ///
    /// ```
    /// # use goruntime::{context::Context, go, net::{TcpListener, TcpStream}};
    /// # use std::{io::Read, net::Shutdown, sync::Arc};
    /// # let listener = TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let stream = Arc::new(TcpStream::connect(address)?);
    /// let closes = stream.clone();
    /// let stop = ctx.after_func(move || _ = closes.shutdown(Shutdown::Both));
    /// go(move || cancel.cancel());
    /// assert_eq!((&*stream).read(&mut [0])?, 0);
    /// assert!(!stop.stop(), "too late to take it back");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn after_func(&self, f: impl FnOnce() + Send + 'static) -> StopFunc {
        let registered = self
            .canceler
            .as_ref()
            .map(|canceler| canceler.call_at_end(Location::caller(), Box::new(f)));
        StopFunc(match registered {
            None => Registered::Never(false.into()),
            Some(None) => Registered::Never(true.into()),
            Some(Some((canceler, key))) => Registered::At(canceler, key),
        })
    }

    /// Waits for `duration`, or until the context is over.
    ///
    /// # Errors
    /// When it is over first, or was before.
    pub fn sleep(&self, duration: Duration) -> Result<(), Error> {
        let timer = Timer::new(duration);
        self.unless_done(&timer).map(|_| ())
    }

    /// Receives, or waits until the context is over.
    ///
    /// # Errors
    /// When it is over first, or was before; when the channel is closed and empty.
    pub fn recv<T: Send>(&self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        let received = self.unless_done(receiver).map_err(RecvError::Done)?;
        received.map_err(|chan::RecvError| RecvError::Closed)
    }

    /// Sends, or waits until the context is over.
    ///
    /// # Errors
    /// When it is over first, or was before; when the channel is closed. The value comes back.
    pub fn send<T: Send>(&self, sender: &Sender<T>, value: T) -> Result<(), SendError<T>> {
        if let Some(error) = self.err() {
            return Err(SendError::Done(value, error));
        }
        let case = chan::select::SendCase::new(sender, value);
        match select(&[&case, &self.done().recv_case()], Wait::Forever) {
            Some(0) => case
                .take()
                .map_err(|chan::SendError(value)| SendError::Closed(value)),
            _ => {
                let value = case.into_inner().expect("it was not sent");
                Err(SendError::Done(value, self.why()))
            }
        }
    }

    /// What comes of `source`, unless the context is over first, or was before.
    fn unless_done<'a, S: Source>(
        &'a self,
        source: &'a S,
    ) -> Result<<S::Case<'a> as Chosen>::Outcome, Error> {
        if let Some(error) = self.err() {
            return Err(error);
        }
        let case = source.recv_case();
        match select(&[&case, &self.done().recv_case()], Wait::Forever) {
            Some(0) => Ok(case.outcome()),
            _ => Err(self.why()),
        }
    }

    fn why(&self) -> Error {
        self.err()
            .expect("a context is over when its end was received")
    }
}

/// The end of a context; see [`Context::done`].
#[derive(Clone, Copy)]
pub struct Done<'a>(Option<&'a Receiver<Infallible>>);

impl Done<'_> {
    /// Waits for the end; for ever, if it never comes.
    pub fn recv(&self) {
        let case = self.recv_case();
        select(&[&case], Wait::Forever);
    }

    /// Whether it has come.
    pub fn is_reached(&self) -> bool {
        self.0.is_some_and(Receiver::is_closed)
    }
}

impl<'d> Source for Done<'d> {
    type Case<'a>
        = <Option<&'d Receiver<Infallible>> as Source>::Case<'a>
    where
        Self: 'a;

    fn recv_case(&self) -> Self::Case<'_> {
        self.0.recv_case()
    }
}

/// Ends a context; see [`Context::with_cancel`]. Dropping it ends nothing.
#[derive(Clone)]
pub struct CancelFunc(Arc<Canceler>);

impl CancelFunc {
    /// Ends the context and all that were made from it, if they have not ended. May be called often, from anywhere; does not wait for what goes on under the context.
    ///
    /// When this returns, all of them are over, unless another call began it, which is under way.
    pub fn cancel(&self) {
        self.0.cancel(Error::Canceled, None);
    }

    /// Ends it when what is returned is dropped: Go's `defer cancel()`.
    ///
    /// ```
    /// use goruntime::context::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// {
    ///     let _cancel = cancel.defer();
    ///     assert!(!ctx.done().is_reached());
    /// }
    /// assert!(ctx.done().is_reached());
    /// ```
    pub fn defer(self) -> Deferred {
        Deferred(self)
    }
}

/// Ends a context when it is dropped; see [`CancelFunc::defer`].
#[must_use = "the context ends at once if this is not kept"]
#[derive(Debug)]
pub struct Deferred(CancelFunc);

impl Drop for Deferred {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Ends a context and says why; see [`Context::with_cancel_cause`]. Dropping it ends nothing.
#[derive(Clone)]
pub struct CancelCauseFunc(Arc<Canceler>);

impl CancelCauseFunc {
    /// As [`CancelFunc::cancel`], for a reason that [`Context::cause`] then tells, if the context had not ended.
    pub fn cancel(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        self.0
            .cancel(Error::Canceled, Some(Arc::from(cause.into())));
    }
}

/// Takes back what [`Context::after_func`] has registered.
pub struct StopFunc(Registered);

enum Registered {
    /// With a context that can end, under this key.
    At(Weak<Canceler>, u64),
    /// Nothing is going to happen any more; whether that has been asked before, or it has happened.
    Never(std::sync::atomic::AtomicBool),
}

impl StopFunc {
    /// Has the function not called. Returns false if it has been, or if this was called before; a call that is under way is not waited for.
    pub fn stop(&self) -> bool {
        match &self.0 {
            Registered::At(canceler, key) => canceler
                .upgrade()
                .is_some_and(|canceler| canceler.forget(*key)),
            Registered::Never(asked) => !asked.swap(true, std::sync::atomic::Ordering::Relaxed),
        }
    }
}

/// Nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// The channel is closed and empty.
    Closed,
    /// The context is over.
    Done(Error),
}

/// A value was not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<T> {
    /// The channel is closed.
    Closed(T),
    /// The context is over.
    Done(T, Error),
}

impl<T> SendError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Closed(value) | SendError::Done(value, _) => value,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Canceled => "context canceled",
            Error::DeadlineExceeded => "context deadline exceeded",
        })
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    /// A deadline is `TimedOut`. A cancellation is `Other`: `Interrupted` would be tried again.
    fn from(error: Error) -> io::Error {
        match error {
            Error::Canceled => io::Error::other(error),
            Error::DeadlineExceeded => io::Error::new(io::ErrorKind::TimedOut, error),
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Closed => chan::RecvError.fmt(f),
            RecvError::Done(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RecvError {}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed(_) => chan::SendError(()).fmt(f),
            SendError::Done(_, error) => error.fmt(f),
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed(_) => f.write_str("Closed(..)"),
            SendError::Done(_, error) => write!(f, "Done(.., {error:?})"),
        }
    }
}

impl<T> std::error::Error for SendError<T> {}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("deadline", &self.deadline())
            .field("err", &self.err())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Done").field(&self.is_reached()).finish()
    }
}

impl fmt::Debug for CancelFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelFunc(..)")
    }
}

impl fmt::Debug for CancelCauseFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelCauseFunc(..)")
    }
}

impl fmt::Debug for StopFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopFunc(..)")
    }
}

#[cfg(test)]
mod tests;
