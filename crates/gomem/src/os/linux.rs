//! Virtual memory of Linux, by `mmap`, `mprotect` and `madvise`.
//!
//! A reservation is a private anonymous mapping without access rights: the kernel charges nothing for it under any overcommit
//! policy. Committing changes its protection, and neighbouring ranges merge into one kernel mapping again, so the number of
//! mappings stays small. Releasing is `MADV_DONTNEED`, which frees at once and makes resident memory an honest figure (`MADV_FREE`
//! would not).

use super::KeepErrno;
use crate::env::{Os, Refused};
use std::ptr::NonNull;

/// The kernel that the process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxOs;

/// Bytes in a page of the processor; the only size that x86-64 has for single pages.
const SYSTEM_PAGE: usize = 4096;

impl LinuxOs {
    /// Undoes a reservation, committed or not.
    ///
    /// # Safety
    /// 1. `start` and `bytes` are those of a `reserve`, or of a part of it cut at multiples of 4 KiB.
    /// 2. Nothing uses the range any more.
    pub(crate) unsafe fn unreserve(&self, start: NonNull<u8>, bytes: usize) {
        let _errno = KeepErrno::new();
        if bytes != 0 {
            // SAFETY: (1), (2).
            unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
        }
    }
}

// SAFETY: 1: a fresh private mapping, aligned by cutting off what sticks out. 2: fresh anonymous pages are zero, and
// mprotect changes no contents. 3: MADV_DONTNEED on private anonymous memory. 4: system calls only, errno kept.
unsafe impl Os for LinuxOs {
    fn reserve(&self, bytes: usize, align: usize) -> Result<NonNull<u8>, Refused> {
        let _errno = KeepErrno::new();
        let slack = if align > SYSTEM_PAGE { align } else { 0 };
        let whole = bytes.checked_add(slack).ok_or(Refused)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                whole,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Refused);
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(Refused)?;
        if slack == 0 {
            return Ok(start);
        }
        let before = start.as_ptr().align_offset(align);
        // SAFETY: both cuts lie in the mapping just made, which nobody knows yet.
        unsafe {
            let aligned = start.add(before);
            self.unreserve(start, before);
            self.unreserve(aligned.add(bytes), slack - before);
            Ok(aligned)
        }
    }

    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        let _errno = KeepErrno::new();
        // SAFETY: the range is the heap's own (obligation 1).
        let result = unsafe {
            libc::mprotect(
                start.as_ptr().cast(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
            )
        };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        let _errno = KeepErrno::new();
        // SAFETY: the range is the heap's own and its contents are not wanted (obligations 1 and 3).
        let result = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }
}

// Miri has no mappings without access rights.
#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn reserved_memory_is_aligned_zero_and_zero_again() {
        let os = LinuxOs;
        let start = os.reserve(1 << 20, 1 << 26).unwrap();
        assert_eq!(start.as_ptr() as usize % (1 << 26), 0);
        // SAFETY: within the reservation, whole pages, used by this test alone.
        unsafe {
            os.commit(start, 1 << 16).unwrap();
            assert_eq!(start.as_ptr().read(), 0);
            start.as_ptr().write(7);
            os.commit(start, 1 << 16).unwrap();
            assert_eq!(start.as_ptr().read(), 7);
            os.release(start, 1 << 16).unwrap();
            assert_eq!(start.as_ptr().read(), 0);
            os.unreserve(start, 1 << 20);
        }
    }

    #[test]
    fn impossible_sizes_are_refused_and_errno_stays() {
        // SAFETY: this thread's errno.
        unsafe { *libc::__errno_location() = 42 };
        assert_eq!(LinuxOs.reserve(usize::MAX / 2, 8), Err(Refused));
        assert_eq!(LinuxOs.reserve(usize::MAX, 1 << 26), Err(Refused));
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, 42);
    }
}
