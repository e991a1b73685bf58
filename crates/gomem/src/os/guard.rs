//! Memory that faults when it is touched, by `MADV_GUARD_INSTALL` or by page protection.
//!
//! The first (Linux 6.13) is a mark in the page tables: it leaves the kernel's mappings as they are. The second makes two mappings more of every guard, of
//! the 65,530 that a process may have by default (`vm.max_map_count`); then the kernel refuses, and so does this.
//!
//! Invariant: all guards of a process are of one sort, chosen when the first is installed, so that whoever removes one knows how. Whatever is refused, the
//! range is usable.

use crate::env::Refused;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// From the kernel's `include/uapi/asm-generic/mman-common.h`.
const MADV_GUARD_INSTALL: i32 = 102;
const MADV_GUARD_REMOVE: i32 = 103;

/// How guards are made in this process.
static SORT: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const MARKS: u8 = 1;
const PROTECTION: u8 = 2;

/// Guards the range and drops its contents.
///
/// # Safety
/// 1. A mapped range of whole pages in nobody's use.
pub(super) unsafe fn install(start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
    let sort = SORT.load(Relaxed);
    // SAFETY: (1), here and below.
    if sort != PROTECTION && unsafe { advise(start, bytes, MADV_GUARD_INSTALL) }.is_ok() {
        // Another thread may have found that they do not work, for it: then all guards are of the other sort.
        match SORT.compare_exchange(UNKNOWN, MARKS, Relaxed, Relaxed) {
            // SAFETY: (1).
            Err(PROTECTION) => unsafe { advise(start, bytes, MADV_GUARD_REMOVE)? },
            _ => return Ok(()),
        }
    }
    if sort == MARKS {
        return Err(Refused);
    }
    // SAFETY: (1). Without contents first, so that they read as zero later.
    unsafe {
        advise(start, bytes, libc::MADV_DONTNEED)?;
        protect(start, bytes, libc::PROT_NONE)?;
    }
    // Another thread may have found marks to work meanwhile: then this guard could not be removed as those are.
    let agreed = SORT.compare_exchange(UNKNOWN, PROTECTION, Relaxed, Relaxed);
    if agreed.is_err_and(|sort| sort == MARKS) {
        // SAFETY: (1).
        unsafe { protect(start, bytes, libc::PROT_READ | libc::PROT_WRITE)? };
        return Err(Refused);
    }
    Ok(())
}

/// Removes the guards of the range.
///
/// # Safety
/// 1. A range of whole pages that was mapped for reading and writing, parts of which may have been guarded since.
pub(super) unsafe fn remove(start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
    // SAFETY: (1).
    unsafe {
        match SORT.load(Relaxed) {
            MARKS => advise(start, bytes, MADV_GUARD_REMOVE),
            _ => protect(start, bytes, libc::PROT_READ | libc::PROT_WRITE),
        }
    }
}

/// # Safety
/// 1. As `madvise` has it.
unsafe fn advise(start: NonNull<u8>, bytes: usize, advice: i32) -> Result<(), Refused> {
    // SAFETY: (1).
    let result = unsafe { libc::madvise(start.as_ptr().cast(), bytes, advice) };
    if result == 0 { Ok(()) } else { Err(Refused) }
}

/// # Safety
/// 1. As `mprotect` has it.
unsafe fn protect(start: NonNull<u8>, bytes: usize, access: i32) -> Result<(), Refused> {
    // SAFETY: (1).
    let result = unsafe { libc::mprotect(start.as_ptr().cast(), bytes, access) };
    if result == 0 { Ok(()) } else { Err(Refused) }
}

// Miri has no guards.
#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::env::Os;
    use crate::os::LinuxOs;

    /// Whether the kernel can read the byte; it says so instead of a signal.
    fn is_readable(at: NonNull<u8>) -> bool {
        let mut pipe = [0; 2];
        // SAFETY: two descriptors of our own; the kernel checks the address.
        unsafe {
            assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
            let written = libc::write(pipe[1], at.as_ptr().cast(), 1);
            libc::close(pipe[0]);
            libc::close(pipe[1]);
            written == 1
        }
    }

    /// Both sorts, one after the other: a process has one, which the test changes.
    #[test]
    fn a_guard_is_felt_until_it_is_removed() {
        const PAGE: usize = 8192;
        for sort in [UNKNOWN, PROTECTION] {
            SORT.store(sort, Relaxed);
            let start = LinuxOs.reserve(4 * PAGE, PAGE).unwrap();
            // SAFETY: within the reservation, whole pages, used by this test alone.
            unsafe {
                LinuxOs.commit(start, 4 * PAGE).unwrap();
                start.write_bytes(7, 4 * PAGE);
                let inner = start.add(PAGE);
                LinuxOs.guard(inner, PAGE).unwrap();
                assert!(!is_readable(inner) && is_readable(start) && is_readable(inner.add(PAGE)));
                LinuxOs.unguard(start, 4 * PAGE).unwrap();
                assert_eq!(
                    (inner.read(), start.read(), inner.add(PAGE).read()),
                    (0, 7, 7)
                );
                inner.write(1);
                LinuxOs.unreserve(start, 4 * PAGE);
            }
        }
        SORT.store(UNKNOWN, Relaxed);
    }
}
