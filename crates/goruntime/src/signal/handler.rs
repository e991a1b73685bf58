//! The handler: notes the signal and wakes whoever tells of it.
//!
//! Noting is setting a bit and then adding to an eventfd; the goroutine that reads the eventfd takes all bits after it has read. So a bit that it does not see was set by a handler whose
//! addition it has not read either, and it reads again. Handlers run on any thread, on the alternate stack, with all signals held back, so that a thread is never stopped inside of one.
//!
//! In a child between `fork` and `exec` the handler is still this one, and the eventfd is the parent's. There the signal is left to the system, which does what it would do without us.
//!
//! Invariant: what runs here is async-signal-safe: atomics, system calls, and the handler that was there before.

use super::actions;
use crate::world::threads::keeping_errno;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::mem::{transmute, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::*};

/// Signals that were noted and not yet told of: bit n - 1 for signal n.
static NOTED: AtomicU64 = AtomicU64::new(0);

/// The eventfd, for the handler; -1 before there is one.
static BELL: AtomicI32 = AtomicI32::new(-1);

/// This process; a forked child has another number.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// What the handler rings, made when first asked for and kept open for good.
pub(super) fn bell() -> io::Result<BorrowedFd<'static>> {
    static OPEN: OnceLock<OwnedFd> = OnceLock::new();
    if OPEN.get().is_none() {
        let new = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let kept = OPEN.get_or_init(|| new);
        // SAFETY: getpid has no arguments and cannot fail.
        PROCESS.store(unsafe { libc::getpid() }, Release);
        BELL.store(kept.as_raw_fd(), Release);
    }
    let bell = OPEN.get().expect("made above");
    Ok(std::os::fd::AsFd::as_fd(bell))
}

/// Has the goroutine that tells of signals look. Async-signal-safe.
pub(super) fn ring() {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the buffer is readable and of the length given. A count that is full has been rung enough.
    unsafe { libc::write(BELL.load(Acquire), one.as_ptr().cast(), one.len()) };
}

/// Takes what was noted.
pub(super) fn take() -> u64 {
    NOTED.swap(0, AcqRel)
}

/// The handler as an action.
pub(super) fn action() -> libc::sigaction {
    // SAFETY: an all-zero sigaction is valid, and the set is part of it.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigfillset(&mut action.sa_mask);
        // The handler that was there before may sleep, and a thread that sleeps with this one blocked is passed by when the world is stopped.
        libc::sigdelset(&mut action.sa_mask, crate::world::stop::SIGNAL);
        action
    }
}

/// Is it that one?
pub(super) fn is_it(action: &libc::sigaction) -> bool {
    action.sa_sigaction == on_signal as *const () as usize
}

unsafe extern "C" fn on_signal(
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    keeping_errno(|| {
        // SAFETY: getpid and raise take at most an integer; SIG_DFL is a valid action. The signal is held back until this handler has returned.
        unsafe {
            if libc::getpid() != PROCESS.load(Acquire) {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
                return;
            }
        }
        NOTED.fetch_or(1 << (signal - 1), AcqRel);
        ring();
        if let Some(before) = actions::first(signal) {
            // SAFETY: it is the handler that the system would call, with what the system passed.
            unsafe { call(before, signal, info, context) };
        }
    });
}

/// Calls the handler that an action names, if it names one that is not the runtime's own.
///
/// # Safety
/// 1. The action was the signal's, and the arguments are those that its handler expects.
unsafe fn call(
    action: &libc::sigaction,
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let address = action.sa_sigaction;
    if address == libc::SIG_DFL
        || address == libc::SIG_IGN
        || crate::goroutines::is_report_handler(address)
    {
        return;
    }
    // SAFETY: obligation 1: the flag says of which of the two types the function is.
    unsafe {
        if action.sa_flags & libc::SA_SIGINFO != 0 {
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                transmute(address);
            handler(signal, info, context);
        } else {
            let handler: extern "C" fn(i32) = transmute(address);
            handler(signal);
        }
    }
}
