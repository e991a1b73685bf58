//! Goroutines that work on one thing, of which the first error counts: Go's `golang.org/x/sync/errgroup`.
//!
//! ```
//! use goruntime::{context::Context, sync::errgroup::Group};
//! use std::num::ParseIntError;
//! use std::sync::{Arc, atomic::{AtomicI64, Ordering}};
//!
//! let (group, ctx) = Group::<ParseIntError>::with_context(&Context::background());
//! let sum = Arc::new(AtomicI64::new(0));
//! for word in ["1", "2", "three"] {
//!     let (ctx, sum) = (ctx.clone(), sum.clone());
//!     group.go(move || {
//!         let number = word.parse::<i64>()?;
//!         // One that would take long looks whether it is still wanted.
//!         if !ctx.done().is_reached() {
//!             sum.fetch_add(number, Ordering::Relaxed);
//!         }
//!         Ok(())
//!     });
//! }
//! assert!(group.wait().is_err());
//! assert!(ctx.cause().unwrap().to_string().contains("invalid digit"));
//! ```

use crate::context::{CancelCauseFunc, Context};
use crate::runtime::Builder;
use gosched::sync::{Mutex, Semaphore, WaitGroup};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Goroutines whose errors are collected. Clones are the same group.
///
/// A panic in one of them ends up in [`wait`](Self::wait), since here it does not end the program as in Go: work that was not done must not look done.
pub struct Group<E> {
    shared: Arc<Shared<E>>,
    limit: Option<Arc<Semaphore>>,
}

struct Shared<E> {
    running: WaitGroup,
    first: Mutex<First<E>>,
    cancel: Option<Cancel<E>>,
}

/// How the group's context is told.
struct Cancel<E> {
    context: CancelCauseFunc,
    text: fn(&E) -> String,
}

/// What the first that failed left.
enum First<E> {
    None,
    Error(E),
    Panic(Box<dyn Any + Send>),
}

impl<E: Send + 'static> Group<E> {
    /// One without limit, that cancels nothing.
    pub fn new() -> Group<E> {
        Group::with(None)
    }

    /// One with a context, made from `parent`, that is over when the first of the goroutines fails, and when [`wait`](Self::wait) returns. Its cause is the error's text.
    pub fn with_context(parent: &Context) -> (Group<E>, Context)
    where
        E: fmt::Display,
    {
        let (context, cancel) = parent.with_cancel_cause();
        let cancel = Cancel {
            context: cancel,
            text: E::to_string,
        };
        (Group::with(Some(cancel)), context)
    }

    fn with(cancel: Option<Cancel<E>>) -> Group<E> {
        Group {
            shared: Arc::new(Shared {
                running: WaitGroup::new(),
                first: Mutex::new(First::None),
                cancel,
            }),
            limit: None,
        }
    }

    /// Lets at most `limit` goroutines of the group run at the same time from now on, which the clones made from now on share; `None` for any number. With 0 none can be
    /// started.
    ///
    /// # Panics
    /// If goroutines of the group are running.
    pub fn set_limit(&mut self, limit: Option<usize>) {
        let running = self.shared.running.count();
        assert!(
            running == 0,
            "the limit of a group is set while {running} of its goroutines are running"
        );
        self.limit = limit.map(|limit| Arc::new(Semaphore::new(limit)));
    }

    /// Starts a goroutine. Waits, if as many are running as may.
    ///
    /// # Panics
    /// When there is no memory for its stack.
    #[track_caller]
    pub fn go(&self, f: impl FnOnce() -> Result<(), E> + Send + 'static) {
        if let Some(limit) = &self.limit {
            limit.acquire(1);
        }
        self.start(Location::caller(), f);
    }

    /// Starts a goroutine, unless as many are running as may. Returns whether it did.
    ///
    /// # Panics
    /// When there is no memory for its stack.
    #[track_caller]
    pub fn try_go(&self, f: impl FnOnce() -> Result<(), E> + Send + 'static) -> bool {
        if let Some(limit) = &self.limit
            && !limit.try_acquire(1)
        {
            return false;
        }
        self.start(Location::caller(), f);
        true
    }

    fn start(
        &self,
        site: &'static Location<'static>,
        f: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) {
        self.shared.running.add(1);
        // Dropped with the closure if there is no goroutine for it.
        let running = Running {
            shared: self.shared.clone(),
            limit: self.limit.clone(),
        };
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(f));
            running.shared.end(result);
            drop(running);
        };
        if let Err(error) = Builder::new().spawn_at(site, body) {
            panic!("{error}");
        }
    }

    /// Waits until all goroutines of the group have ended.
    ///
    /// # Errors
    /// The error of the first that failed since the last `wait`.
    ///
    /// # Panics
    /// As the first of them that failed, if it panicked.
    pub fn wait(&self) -> Result<(), E> {
        self.shared.running.wait();
        let first = std::mem::replace(&mut *self.shared.first.lock(), First::None);
        if let Some(cancel) = &self.shared.cancel {
            cancel.context.cancel(crate::context::Error::Canceled);
        }
        match first {
            First::None => Ok(()),
            First::Error(error) => Err(error),
            First::Panic(payload) => resume_unwind(payload),
        }
    }
}

impl<E> Shared<E> {
    fn end(&self, result: Result<Result<(), E>, Box<dyn Any + Send>>) {
        let (failed, cause) = match result {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                let text = |cancel: &Cancel<E>| {
                    // The error is what counts, also if it cannot be printed.
                    let text = catch_unwind(AssertUnwindSafe(|| (cancel.text)(&error)));
                    text.unwrap_or_else(|_| "a goroutine of the group failed".to_owned())
                };
                let cause = self.cancel.as_ref().map(text);
                (First::Error(error), cause)
            }
            Err(payload) => {
                let cause = "a goroutine of the group panicked".to_owned();
                (First::Panic(payload), Some(cause))
            }
        };
        {
            let mut first = self.first.lock();
            if !matches!(*first, First::None) {
                return;
            }
            *first = failed;
        }
        if let (Some(cancel), Some(cause)) = (&self.cancel, cause) {
            cancel.context.cancel(cause);
        }
    }
}

/// A goroutine that is running, or about to.
struct Running<E> {
    shared: Arc<Shared<E>>,
    limit: Option<Arc<Semaphore>>,
}

impl<E> Drop for Running<E> {
    fn drop(&mut self) {
        if let Some(limit) = &self.limit {
            limit.release(1);
        }
        self.shared.running.done();
    }
}

impl<E> Clone for Group<E> {
    fn clone(&self) -> Group<E> {
        Group {
            shared: self.shared.clone(),
            limit: self.limit.clone(),
        }
    }
}

impl<E: Send + 'static> Default for Group<E> {
    fn default() -> Group<E> {
        Group::new()
    }
}

impl<E> fmt::Debug for Group<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("running", &self.shared.running.count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
