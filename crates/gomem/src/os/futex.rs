//! Waiting on a word in memory: the two system calls under [`Lock`](crate::lock::Lock).
//!
//! Neither allocates, and neither fails in a way that matters: a wait may end early for any reason, and its caller looks
//! at the word again.

use super::KeepErrno;
use crate::atomic::AtomicU32;

/// Sleeps while `word` holds `expected`. Returns at a wake-up, at once if the word differs, or for no reason.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32) {
    let _errno = KeepErrno::new();
    // SAFETY: the word outlives the call; the kernel only reads it.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            std::ptr::null::<libc::timespec>(),
        );
    }
}

/// Wakes one thread that sleeps on `word`.
pub(crate) fn futex_wake_one(word: &AtomicU32) {
    let _errno = KeepErrno::new();
    // SAFETY: the kernel uses the address as a key only.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        );
    }
}
