//! What the system does with a signal: this program's handler, nothing, or what it did at first.
//!
//! Invariant: the first action of a signal, the one that was there before ours, is read before it is changed, and kept for good: the handler may look at it at any time.

use super::Signal;
use super::handler;
use std::io;
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// Signals have numbers from 1 to this.
pub(super) const LAST: i32 = 64;

/// The action that each had at first, by number; null if it was never changed.
static FIRST: [AtomicPtr<libc::sigaction>; LAST as usize + 1] =
    [const { AtomicPtr::new(null_mut()) }; LAST as usize + 1];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// As it was at first.
    First,
    /// Nothing.
    Ignore,
    /// It is noted.
    Note,
}

/// The action that a signal had at first, if that has been changed. Async-signal-safe.
pub(super) fn first(signal: i32) -> Option<&'static libc::sigaction> {
    let place = FIRST.get(usize::try_from(signal).ok()?)?;
    // SAFETY: null, or an action that is never changed nor freed.
    unsafe { place.load(Acquire).as_ref() }
}

/// Has the system do `action`. The caller sees to it that nobody else changes the same signal.
pub(super) fn set(signal: Signal, action: Action) -> io::Result<()> {
    let Some(place) = FIRST.get(signal.0 as usize) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let now = current(signal)?;
    let is_first = place.load(Acquire).is_null();
    if is_first || !is_ours(&now) {
        // Nothing of ours is there: it is as it was at first, or somebody else has taken it over meanwhile.
        if action == Action::First {
            return Ok(());
        }
        // The one before is kept: a handler may be looking at it.
        place.store(Box::into_raw(Box::new(now)), Release);
    }
    let new = match (action, first(signal.0)) {
        (Action::First, Some(first)) => *first,
        (Action::Note, _) => handler::action(),
        // SAFETY: an all-zero sigaction is valid.
        _ => unsafe {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = libc::SIG_IGN;
            action
        },
    };
    // SAFETY: the action is valid, and its handler async-signal-safe.
    match unsafe { libc::sigaction(signal.0, &new, null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == libc::SIG_IGN || handler::is_it(action)
}

fn current(signal: Signal) -> io::Result<libc::sigaction> {
    // SAFETY: reads the action into a local.
    unsafe {
        let mut now: libc::sigaction = zeroed();
        match libc::sigaction(signal.0, null(), &mut now) {
            0 => Ok(now),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

pub(super) fn is_ignored(signal: Signal) -> bool {
    current(signal).is_ok_and(|action| action.sa_sigaction == libc::SIG_IGN)
}
