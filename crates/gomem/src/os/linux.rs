//! Virtual memory of Linux, by `mmap`, `mprotect` and `madvise`.
//!
//! A reservation is a private anonymous mapping without access rights: the kernel charges nothing for it under any overcommit
//! policy. Committing changes its protection, and neighbouring ranges merge into one kernel mapping again, so the number of
//! mappings stays small. Memory is moved by `mremap`, which leaves a mapping that does not merge with its neighbours, until it is
//! replaced by a new one. Releasing is `MADV_DONTNEED`, which frees at once and makes resident memory an honest figure (`MADV_FREE`
//! would not).

use super::{KeepErrno, guard};
use crate::env::{Os, Refused, Unmoved};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

/// The kernel that the process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxOs;

/// The kernel does not know `MREMAP_DONTUNMAP` (it came with 5.7).
static CANNOT_MOVE: AtomicBool = AtomicBool::new(false);

/// What [`Os::prefers_huge`] found: 0 for nothing yet, 1 for no, 2 for yes.
static PREFERS_HUGE: AtomicU8 = AtomicU8::new(0);

/// Bytes in a page of the processor; the only size that x86-64 has for single pages.
const SYSTEM_PAGE: usize = 4096;

impl LinuxOs {
    /// Maps fresh memory at `start`, in the place of what is there if `replace`, and else if nothing is.
    ///
    /// # Safety
    /// 1. The range is the heap's own, and what it holds is not wanted; if not `replace`, it may also be somebody else's.
    unsafe fn map(&self, start: NonNull<u8>, bytes: usize, replace: bool) -> bool {
        let how = if replace {
            libc::MAP_FIXED
        } else {
            libc::MAP_FIXED_NOREPLACE
        };
        // SAFETY: (1).
        let result = unsafe {
            libc::mmap(
                start.as_ptr().cast(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | how,
                -1,
                0,
            )
        };
        result == start.as_ptr().cast()
    }

    /// Whether there is a limit on address space. With one, the process may be over it already, and then the kernel refuses every mapping, one in the place of
    /// another too. What can do without is not tried.
    fn is_limited(&self) -> bool {
        self.limit() != usize::MAX
    }

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
// mprotect changes no contents. 3: MADV_DONTNEED on private anonymous memory. 4: mremap that leaves the old range in place, and what it may leave
// behind when it fails is put in order or reported. 5: as `guard` says. 6: system calls only, errno kept.
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

    unsafe fn move_memory(
        &self,
        from: NonNull<u8>,
        to: NonNull<u8>,
        bytes: usize,
    ) -> Result<(), Unmoved> {
        if CANNOT_MOVE.load(Relaxed) || self.is_limited() {
            return Err(Unmoved::Kept);
        }
        let _errno = KeepErrno::new();
        // SAFETY: both ranges are the heap's own; the contents of the second are not wanted (obligations 1 and 3).
        let result = unsafe {
            libc::mremap(
                from.as_ptr().cast(),
                bytes,
                bytes,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP,
                to.as_ptr(),
            )
        };
        if result == to.as_ptr().cast() {
            return Ok(());
        }
        // SAFETY: this thread's errno.
        if unsafe { *libc::__errno_location() } == libc::EINVAL {
            // Refused before anything was done.
            CANNOT_MOVE.store(true, Relaxed);
            return Err(Unmoved::Kept);
        }
        // The kernel unmaps the second range before it looks for what may be in its way, so there may be a hole now, which another thread may
        // have filled already. If it is a hole it is filled; else nobody knows whose it is.
        // SAFETY: the range was the heap's own, and nothing is replaced.
        if unsafe { self.map(to, bytes, false) } {
            Err(Unmoved::Kept)
        } else {
            Err(Unmoved::Lost)
        }
    }

    unsafe fn renew(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        if self.is_limited() {
            // The mapping stays one of its own.
            // SAFETY: obligation 1.
            return unsafe { self.release(start, bytes) };
        }
        let _errno = KeepErrno::new();
        // SAFETY: the range is the heap's own and its contents are not wanted (obligation 1).
        if unsafe { self.map(start, bytes, true) } {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    unsafe fn guard(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        let _errno = KeepErrno::new();
        // SAFETY: the range is the heap's own and its contents are not wanted (obligations 1 and 3).
        unsafe { guard::install(start, bytes) }
    }

    unsafe fn unguard(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        let _errno = KeepErrno::new();
        // SAFETY: the range is the heap's own (obligation 1).
        unsafe { guard::remove(start, bytes) }
    }

    unsafe fn resident(&self, start: NonNull<u8>, bytes: usize) -> Option<usize> {
        /// System pages asked about at a time.
        const STEP: usize = 1024;
        let _errno = KeepErrno::new();
        let (mut seen, mut resident) = ([0u8; STEP], 0);
        for offset in (0..bytes).step_by(STEP * SYSTEM_PAGE) {
            let part = (bytes - offset).min(STEP * SYSTEM_PAGE);
            let pages = &mut seen[..part / SYSTEM_PAGE];
            // SAFETY: a part of a range that is mapped, and a byte for each of its pages.
            let result = unsafe {
                let at = start.as_ptr().add(offset).cast();
                libc::mincore(at, part, pages.as_mut_ptr())
            };
            if result != 0 {
                return None;
            }
            resident += pages
                .iter()
                .map(|&page| usize::from(page & 1))
                .sum::<usize>();
        }
        Some(resident * SYSTEM_PAGE)
    }

    unsafe fn populate(&self, start: NonNull<u8>, bytes: usize) {
        let _errno = KeepErrno::new();
        // Kernels before 5.14 do not know it, and faults do instead.
        // SAFETY: the range is the heap's own; touching it changes no contents.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_POPULATE_WRITE) };
    }

    unsafe fn advise_huge(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        let _errno = KeepErrno::new();
        // SAFETY: advice on a range of the heap's own changes no contents.
        let result = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }

    /// The limit on the process's address space. What else is in it is not looked at: where memory is reserved ahead the kernel does not hold the limit against it,
    /// and where not it counts by itself.
    fn limit(&self) -> usize {
        let _errno = KeepErrno::new();
        let mut limit = libc::rlimit {
            rlim_cur: libc::RLIM_INFINITY,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: a place for the limit. Where that is not told there is none.
        unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
        usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
    }

    fn prefers_huge(&self) -> bool {
        let mut known = PREFERS_HUGE.load(Relaxed);
        if known == 0 {
            let _errno = KeepErrno::new();
            known = 1 + u8::from(huge_pages_always());
            PREFERS_HUGE.store(known, Relaxed);
        }
        known == 2
    }
}

/// Whether the kernel's setting for transparent huge pages is `always`. By plain system calls: the functions of the C library are where a
/// thread can be cancelled.
fn huge_pages_always() -> bool {
    let path = c"/sys/kernel/mm/transparent_hugepage/enabled";
    let mut text = [0u8; 64];
    // SAFETY: a C string, a buffer of the length given, and a descriptor of our own.
    let n = unsafe {
        let file = libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        );
        if file < 0 {
            return false;
        }
        let n = libc::syscall(libc::SYS_read, file, text.as_mut_ptr(), text.len());
        libc::syscall(libc::SYS_close, file);
        n.max(0) as usize
    };
    text[..n].starts_with(b"[always]")
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
