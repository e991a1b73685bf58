//! Signals as values from a channel (Go's `os/signal`).
//!
//! ```
//! use goruntime::signal::{self, Signal};
//!
//! let signals = signal::notify([Signal::INTERRUPT, Signal::TERMINATE])?;
//! # // SAFETY: sends a signal to this process, which has a handler.
//! # unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
//! // ... serve, until somebody wants it to end:
//! assert_eq!(signals.recv(), Ok(Signal::TERMINATE));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A signal that is asked for no longer does what it would do by itself. When nobody asks for it any more, it does again. A handler that was there before - a C library's - is called after
//! the signal was noted; the runtime's own for `SIGQUIT`, which prints all goroutines and ends the program, is not.
//!
//! While signals are asked for, "all goroutines are asleep" is not reported: a signal may wake one.

mod actions;
mod handler;
mod registry;

use crate::chan::Receiver;
use crate::chan::select::Source;
use crate::context::{CancelFunc, Context};
use crate::runtime::Builder;
use std::fmt;
use std::io;
use std::ops::Deref;

/// A signal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// `SIGHUP`: the terminal is gone; by custom, read the configuration again.
    pub const HANGUP: Signal = Signal(libc::SIGHUP);
    /// `SIGINT`: Ctrl-C.
    pub const INTERRUPT: Signal = Signal(libc::SIGINT);
    /// `SIGQUIT`: Ctrl-\.
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    /// `SIGKILL`: cannot be asked for, only sent.
    pub const KILL: Signal = Signal(libc::SIGKILL);
    /// `SIGUSR1`.
    pub const USER1: Signal = Signal(libc::SIGUSR1);
    /// `SIGUSR2`.
    pub const USER2: Signal = Signal(libc::SIGUSR2);
    /// `SIGPIPE`: a write to a pipe or socket that nobody reads. Rust programs ignore it, and see an error instead.
    pub const PIPE: Signal = Signal(libc::SIGPIPE);
    /// `SIGALRM`: a timer of the system's.
    pub const ALARM: Signal = Signal(libc::SIGALRM);
    /// `SIGTERM`: please end.
    pub const TERMINATE: Signal = Signal(libc::SIGTERM);
    /// `SIGCHLD`: a child has ended or stopped.
    pub const CHILD: Signal = Signal(libc::SIGCHLD);
    /// `SIGCONT`: go on after a stop.
    pub const CONTINUE: Signal = Signal(libc::SIGCONT);
    /// `SIGSTOP`: cannot be asked for, only sent.
    pub const STOP: Signal = Signal(libc::SIGSTOP);
    /// `SIGTSTP`: Ctrl-Z.
    pub const TERMINAL_STOP: Signal = Signal(libc::SIGTSTP);
    /// `SIGWINCH`: the terminal has another size.
    pub const WINDOW_CHANGE: Signal = Signal(libc::SIGWINCH);

    /// The signal with this number, if there is one.
    pub fn from_raw(number: i32) -> Option<Signal> {
        // The two between are libc's own.
        let is_one =
            (1..32).contains(&number) || (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number);
        is_one.then_some(Signal(number))
    }

    /// Its number.
    pub fn as_raw(self) -> i32 {
        self.0
    }

    /// What the system calls it, if it has a name.
    fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            libc::SIGHUP => "SIGHUP",
            libc::SIGINT => "SIGINT",
            libc::SIGQUIT => "SIGQUIT",
            libc::SIGILL => "SIGILL",
            libc::SIGTRAP => "SIGTRAP",
            libc::SIGABRT => "SIGABRT",
            libc::SIGBUS => "SIGBUS",
            libc::SIGFPE => "SIGFPE",
            libc::SIGKILL => "SIGKILL",
            libc::SIGUSR1 => "SIGUSR1",
            libc::SIGSEGV => "SIGSEGV",
            libc::SIGUSR2 => "SIGUSR2",
            libc::SIGPIPE => "SIGPIPE",
            libc::SIGALRM => "SIGALRM",
            libc::SIGTERM => "SIGTERM",
            libc::SIGSTKFLT => "SIGSTKFLT",
            libc::SIGCHLD => "SIGCHLD",
            libc::SIGCONT => "SIGCONT",
            libc::SIGSTOP => "SIGSTOP",
            libc::SIGTSTP => "SIGTSTP",
            libc::SIGTTIN => "SIGTTIN",
            libc::SIGTTOU => "SIGTTOU",
            libc::SIGURG => "SIGURG",
            libc::SIGXCPU => "SIGXCPU",
            libc::SIGXFSZ => "SIGXFSZ",
            libc::SIGVTALRM => "SIGVTALRM",
            libc::SIGPROF => "SIGPROF",
            libc::SIGWINCH => "SIGWINCH",
            libc::SIGIO => "SIGIO",
            libc::SIGPWR => "SIGPWR",
            libc::SIGSYS => "SIGSYS",
            _ => return None,
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Signals as they come: a channel to receive from, as itself or in a [`select!`](crate::select). Dropping it is Go's `signal.Stop`.
///
/// Dropping it while a signal is under way to this process leaves open which of the two that one finds.
///
/// The channel holds 16 signals. One that finds it full is lost, as is one that comes again before the first was noted.
pub struct Signals {
    receiver: Receiver<Signal>,
    id: u64,
}

impl Deref for Signals {
    type Target = Receiver<Signal>;

    fn deref(&self) -> &Receiver<Signal> {
        &self.receiver
    }
}

impl Source for Signals {
    type Case<'a> = <Receiver<Signal> as Source>::Case<'a>;

    fn recv_case(&self) -> Self::Case<'_> {
        self.receiver.recv_case()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        registry::forget(self.id);
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

/// Asks for signals from now on. Several may ask for the same one; each gets it.
///
/// # Errors
/// `InvalidInput` for signals that cannot be had: `SIGKILL` and `SIGSTOP`, those that tell a thread of its own mistake (`SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL`), and `SIGURG`, by which the
/// collector stops threads. The system's, when descriptors or memory are wanting.
pub fn notify(signals: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
    let (receiver, id) = registry::add(signals)?;
    Ok(Signals { receiver, id })
}

/// A context that ends when one of the signals arrives, when `parent` ends, or when what is returned with it is called (Go's `signal.NotifyContext`). The [cause](Context::cause) names
/// the signal. With any of these ends the signals do again what they did before: the second Ctrl-C ends a program that takes too long over the first.
///
/// ```no_run
/// use goruntime::{context::Context, signal::{self, Signal}, time::Duration};
///
/// let (ctx, _stop) = signal::notify_context(&Context::background(), [Signal::INTERRUPT])?;
/// while ctx.sleep(Duration::from_secs(1)).is_ok() {
///     println!("working");
/// }
/// println!("{}", ctx.cause().unwrap());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As [`notify`].
pub fn notify_context(
    parent: &Context,
    signals: impl IntoIterator<Item = Signal>,
) -> io::Result<(Context, CancelFunc)> {
    let signals = notify(signals)?;
    let (notified, cancel) = parent.with_cancel_cause();
    let (context, stop) = notified.with_cancel();
    let its = context.clone();
    let wait = move || {
        crate::select! {
            recv(signals) -> signal => if let Ok(signal) = signal {
                cancel.cancel(format!("{signal} was received"));
            },
            recv(its.done()) -> _ => {}
        }
    };
    let builder = Builder::new().name("signal context");
    builder.spawn(wait).map_err(io::Error::other)?;
    Ok((context, stop))
}

/// Ignores signals from now on, also where they were asked for (Go's `signal.Ignore`). Children that are started inherit that.
///
/// # Errors
/// As [`notify`].
pub fn ignore(signals: impl IntoIterator<Item = Signal>) -> io::Result<()> {
    registry::change(signals, true)
}

/// Has signals do again what they did at first, also where they were asked for (Go's `signal.Reset`).
///
/// # Errors
/// As [`notify`].
pub fn reset(signals: impl IntoIterator<Item = Signal>) -> io::Result<()> {
    registry::change(signals, false)
}

/// Whether a signal is ignored, by this program or since it was started.
pub fn is_ignored(signal: Signal) -> bool {
    actions::is_ignored(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        assert_eq!(Signal::from_raw(15), Some(Signal::TERMINATE));
        assert_eq!(Signal::TERMINATE.to_string(), "SIGTERM");
        let real_time = Signal::from_raw(libc::SIGRTMIN()).unwrap();
        assert_eq!(
            real_time.to_string(),
            format!("signal {}", libc::SIGRTMIN())
        );
        assert!([0, -1, 32, 65, i32::MAX].map(Signal::from_raw) == [None; 5]);
        assert!((1..32).all(|n| Signal(n).name().is_some()));
    }

    #[test]
    fn some_signals_are_not_to_be_had() {
        for number in [libc::SIGKILL, libc::SIGSEGV, libc::SIGURG] {
            let signal = Signal::from_raw(number).unwrap();
            let error = notify([signal]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(
                error.to_string().contains(signal.name().unwrap()),
                "{error}"
            );
            assert!(ignore([signal]).is_err() && reset([signal]).is_err());
        }
    }
}
