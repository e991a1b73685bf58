//! Sleeping on a word until another thread changes it: the one way of waiting that a signal handler may use.
//!
//! A waiter returns when it was woken, when the word did not hold what it expected, or for no reason at all; so callers look at the
//! word again. A change to the word that comes before the wake is seen by whoever was woken.

use crate::atomic::AtomicU32;
use std::ptr::null;
use std::time::Duration;

/// Wakes up to `n` threads that sleep on `word`.
pub(crate) fn wake(word: &AtomicU32, n: usize) {
    // SAFETY: wakes waiters on a word of ours.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            n.min(i32::MAX as usize) as i32,
        )
    };
}

/// Sleeps while `word` holds `expected`, `timeout` at most. False when the time ran out.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> bool {
    let spec = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs() as i64,
        tv_nsec: t.subsec_nanos() as i64,
    });
    let spec = spec.as_ref().map_or(null(), |s| s as *const libc::timespec);
    // SAFETY: waits on a word of ours; the timeout outlives the call.
    let r = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            spec,
        )
    };
    // SAFETY: errno is the calling context's own.
    r == 0 || unsafe { *libc::__errno_location() } != libc::ETIMEDOUT
}
