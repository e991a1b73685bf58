//! Sleeping, timers, and what time it is.
//!
//! | | |
//! | --- | --- |
//! | [`sleep`], [`sleep_until`] | wait |
//! | [`after`], [`Timer`] | an event to be received, once; an arm of a [`select!`](crate::select) |
//! | [`Ticker`] | one every so often |
//! | [`after_func`] | a goroutine at a time to come |
//! | [`timeout`] | waiting for something, but not for longer |
//!
//! Timers have Go's semantics since 1.23: one that nobody refers to any more costs nothing, and after `stop` or `reset` nothing is received that was due before.
//!
//! In a [`simulation`](crate::simulation) all of them go by its clock.

pub use gosched::chan::timer::{Ticker, Timer};
pub use std::time::{Duration, Instant};

use crate::runtime::{Builder, go, scheduler_here};
use gosched::chan::{RecvUntilError, bounded};
use gosched::sync::Mutex;
use gosched::{Alarm, JoinHandle};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// What time it is: [`Instant::now`], and inside a [`simulation`](crate::simulation) the time on its clock. Deadlines that are to
/// work in simulations are made from this one.
pub fn now() -> Instant {
    gosched::now()
}

/// Parks the goroutine for `duration`. On a plain thread, the thread sleeps.
pub fn sleep(duration: Duration) {
    gosched::sleep(duration);
}

/// Parks the goroutine until `deadline`.
pub fn sleep_until(deadline: Instant) {
    gosched::sleep_until(deadline);
}

/// A timer that is due after `duration`, to be received from.
///
/// ```
/// use goruntime::{chan, select, time::{Duration, after}};
///
/// let (_tx, rx) = chan::unbuffered::<u32>();
/// let late = select! {
///     recv(rx) -> _ => false,
///     recv(after(Duration::from_millis(5))) -> _ => true,
/// };
/// assert!(late);
/// ```
pub fn after(duration: Duration) -> Timer {
    Timer::new(duration)
}

/// Calls `f` in a goroutine of its own after `duration`. Dropping what is returned lets it come.
///
/// `f` is called again when [`FuncTimer::reset`] is; two calls are never at the same time. When there is no memory for the goroutine, `f` is called by the one that
/// sees to all timers; if it waits then, they are late.
///
/// ```
/// use goruntime::{chan, time::{Duration, after_func}};
///
/// let (tx, rx) = chan::bounded(1);
/// after_func(Duration::from_millis(5), move || tx.send("now").unwrap());
/// let never = after_func(Duration::from_secs(3600), || unreachable!());
/// assert_eq!(rx.recv(), Ok("now"));
/// assert!(never.stop());
/// ```
///
/// # Panics
/// When there is no memory for the goroutine that sees to all timers, which is started with the first.
#[track_caller]
pub fn after_func(duration: Duration, f: impl FnMut() + Send + 'static) -> FuncTimer {
    let site = Location::caller();
    let f = Arc::new(Mutex::new(f));
    let alarm = scheduler_here().alarm(move |alarm| {
        let f = f.clone();
        go_or_call(site, move || {
            (f.lock())();
            // Here and not where alarms are run: `f` may be dropped with it.
            drop(alarm);
        });
    });
    let timer = FuncTimer { alarm };
    timer.reset(duration);
    timer
}

/// A function that is going to be called; see [`after_func`].
#[derive(Clone, Debug)]
pub struct FuncTimer {
    alarm: Alarm,
}

impl FuncTimer {
    /// Has it not called. Returns false if it has been, or has never been going to; a call that is under way is not waited for.
    pub fn stop(&self) -> bool {
        self.alarm.cancel()
    }

    /// Has it called after `duration` from now, and not when it would have been. Returns false if it was not going to be called any more.
    pub fn reset(&self, duration: Duration) -> bool {
        match now().checked_add(duration) {
            Some(instant) => self.alarm.set(instant),
            // Beyond what the clock can tell.
            None => self.alarm.cancel(),
        }
    }
}

/// Calls `f` in a goroutine of its own, or at once where there is no memory for one.
pub(crate) fn go_or_call(site: &'static Location<'static>, f: impl FnOnce() + Send + 'static) {
    // A goroutine that cannot be started drops what it was to call, so that is kept here too.
    let f = Arc::new(Mutex::new(Some(f)));
    let again = f.clone();
    if Builder::new()
        .spawn_at(site, move || take_and_call(&f))
        .is_err()
    {
        take_and_call(&again);
    }
}

fn take_and_call(f: &Mutex<Option<impl FnOnce()>>) {
    let f = f.lock().take();
    if let Some(f) = f {
        f();
    }
}

/// Waits for `f`, which runs in a goroutine of its own, but not for longer than `duration`.
///
/// Code that blocks cannot be stopped from outside: when the time is up `f` **runs on**, and its result is dropped. Code that is to end in time takes a
/// [`Context`](crate::context::Context) and looks at it, or waits with deadlines of its own (`recv_until`, `lock_until`, `set_read_timeout`).
///
/// ```
/// use goruntime::time::{self, Duration};
///
/// let quick = time::timeout(Duration::from_secs(60), || 6 * 7);
/// assert_eq!(quick, Ok(42));
/// let slow = time::timeout(Duration::from_millis(5), || time::sleep(Duration::from_millis(50)));
/// assert_eq!(slow, Err(time::Elapsed));
/// ```
///
/// # Errors
/// When the time is up.
///
/// # Panics
/// As `f` does, if that is in time.
#[track_caller]
pub fn timeout<T: Send + 'static>(
    duration: Duration,
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Elapsed> {
    let deadline = now().checked_add(duration);
    let (tx, rx) = bounded(1);
    let handle: JoinHandle<()> = go(move || _ = tx.send(f()));
    let received = match deadline {
        Some(deadline) => rx.recv_until(deadline),
        None => rx.recv().map_err(|_| RecvUntilError::Closed),
    };
    match received {
        Ok(value) => Ok(value),
        Err(RecvUntilError::TimedOut) => Err(Elapsed),
        Err(RecvUntilError::Closed) => match handle.join() {
            Err(panic) => panic.resume(),
            Ok(()) => unreachable!("who returns has sent its result"),
        },
    }
}

/// The time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is up")
    }
}

impl std::error::Error for Elapsed {}

#[cfg(test)]
mod tests;
