//! The few kernel services that the scheduler is built on: futex, `membarrier`, the list of tasks.
//!
//! Nothing here allocates or takes a lock of libc's, so it may be called at any depth of the
//! scheduler. Every wait tolerates spurious wake-ups: callers loop on their own condition.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::time::Nanos;

/// Sleeps while `*word == expected`, at most until `deadline`. Returns false when the deadline has
/// passed.
///
/// May return true spuriously.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, deadline: Option<Nanos>) -> bool {
    let spec = deadline.map(Nanos::to_timespec);
    let timeout = spec
        .as_ref()
        .map_or(std::ptr::null(), |t| t as *const libc::timespec);
    // FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC deadline, so an early return needs no
    // arithmetic.
    // SAFETY: `word` and `timeout` outlive the call; the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
            expected,
            timeout,
            std::ptr::null::<u32>(),
            u32::MAX,
        )
    };
    !(result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT))
}

/// Wakes up to `count` sleepers on `word`.
///
/// The address is only a name to the kernel: it may have been freed since the word was last read,
/// in which case at worst a later user of that address wakes spuriously.
pub(crate) fn futex_wake(word: *const AtomicU32, count: i32) {
    // SAFETY: FUTEX_WAKE does not access the word.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word,
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            count,
        );
    }
}

/// The two halves of an asymmetric fence: cheap on the side that runs often, dear on the side that
/// runs seldom.
///
/// With `membarrier` the light side is a compiler fence. Where the kernel or a sandbox refuses it,
/// the light side becomes a full fence, which is slower but needs nothing from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsymmetricFence {
    /// `membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)` is registered for this process.
    Membarrier,
    /// Both sides execute a full fence.
    Symmetric,
}

const MEMBARRIER_CMD_PRIVATE_EXPEDITED: i32 = 1 << 3;
const MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;

impl AsymmetricFence {
    /// Registers with the kernel, or falls back.
    pub(crate) fn new() -> AsymmetricFence {
        if !cfg!(miri) && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED).is_ok() {
            AsymmetricFence::Membarrier
        } else {
            AsymmetricFence::Symmetric
        }
    }

    /// The side that runs often.
    #[inline]
    pub(crate) fn light(self) {
        match self {
            AsymmetricFence::Membarrier => {
                std::sync::atomic::compiler_fence(Ordering::SeqCst);
            }
            AsymmetricFence::Symmetric => std::sync::atomic::fence(Ordering::SeqCst),
        }
    }

    /// The side that runs seldom. Returns false when the fence could not be made, in which case
    /// nothing may be concluded from it.
    pub(crate) fn heavy(self) -> bool {
        match self {
            AsymmetricFence::Membarrier => membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED).is_ok(),
            AsymmetricFence::Symmetric => {
                std::sync::atomic::fence(Ordering::SeqCst);
                true
            }
        }
    }
}

fn membarrier(command: i32) -> io::Result<()> {
    // SAFETY: membarrier takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Processor time that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Nanos {
    let mut spec = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `spec` is writable; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut spec) };
    Nanos(spec.tv_sec as u64 * 1_000_000_000 + spec.tv_nsec as u64)
}

/// How many threads this process has, as the kernel counts them; `None` when `/proc` is not
/// readable.
pub(crate) fn count_threads() -> Option<usize> {
    std::fs::read_dir("/proc/self/task")
        .ok()
        .map(Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn futex_wait_respects_its_deadline() {
        let word = AtomicU32::new(7);
        let start = Nanos::now();
        let deadline = start + Nanos::from_millis(3);
        let mut in_time = true;
        while in_time {
            in_time = futex_wait(&word, 7, Some(deadline));
        }
        assert!(Nanos::now() >= deadline);
    }

    #[test]
    fn futex_wait_returns_at_once_when_the_word_differs() {
        assert!(futex_wait(&AtomicU32::new(1), 0, None));
    }

    #[test]
    fn both_fences_can_be_made() {
        assert!(AsymmetricFence::new().heavy());
        assert!(AsymmetricFence::Symmetric.heavy());
        AsymmetricFence::Symmetric.light();
    }

    #[test]
    fn this_process_has_threads() {
        assert!(count_threads().unwrap() >= 1);
    }
}
