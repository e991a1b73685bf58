//! The operating system proper: virtual memory, waiting on a futex, and the end of threads.

mod exit;
#[cfg(not(explore))]
mod fence;
#[cfg(not(explore))]
mod futex;
mod guard;
mod linux;

pub(crate) use exit::ExitKey;
#[cfg(not(explore))]
pub(crate) use fence::heavy_fence;
#[cfg(not(explore))]
pub(crate) use futex::{futex_wait, futex_wake_one};
pub use linux::LinuxOs;

/// Restores `errno` when dropped: an allocator is called between a failing system call and the look at its error.
pub(crate) struct KeepErrno(i32);

impl KeepErrno {
    pub(crate) fn new() -> Self {
        // SAFETY: always a valid pointer to this thread's errno.
        KeepErrno(unsafe { *libc::__errno_location() })
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        // SAFETY: as in `new`.
        unsafe { *libc::__errno_location() = self.0 }
    }
}

/// The explorer's, in the place of the system calls.
#[cfg(explore)]
#[track_caller]
pub(crate) fn futex_wait(word: &crate::atomic::AtomicU32, expected: u32) {
    goexplore::futex::wait(word, expected, None);
}

/// As [`futex_wait`].
#[cfg(explore)]
#[track_caller]
pub(crate) fn futex_wake_one(word: &crate::atomic::AtomicU32) {
    goexplore::futex::wake(word, 1);
}

/// As [`futex_wait`].
#[cfg(explore)]
#[track_caller]
pub(crate) fn heavy_fence() -> bool {
    goexplore::futex::heavy_fence()
}
