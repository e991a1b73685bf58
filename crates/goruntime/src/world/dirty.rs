//! Which pages of memory have been written: the operating system's write barrier.
//!
//! Linux can write-protect pages so that the first store to one lifts its protection and goes on, in the page fault, without anybody being asked (`userfaultfd` with
//! `UFFD_FEATURE_WP_ASYNC`), and tell of a range which pages are not protected, protecting them again in the same step (`PAGEMAP_SCAN`). Both came with kernel
//! 6.7, and need that `userfaultfd` is allowed to the process (`vm.unprivileged_userfaultfd`, or the right to trace).
//!
//! ```text
//!   protect ──► clean ──first store──► written ──written(Reset::Protect)──► clean
//! ```
//!
//! What is not known to be clean counts as written: memory that was never protected, or has lost its registration because other memory was
//! mapped or moved to its place. `PAGEMAP_SCAN` reports the latter as an error, and leaves no page out otherwise: a page that was written is present
//! or swapped out, and carries no protection.
//!
//! Invariant: between the return of `protect` and a call of `written` that does not name a page, no byte of that page has changed. A store in flight during
//! the call may fall on either side.

use super::memory::Memory;
use super::threads::{Fd, ioctl_number};
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;

/// The unit of protection.
pub const PAGE: usize = 4096;

/// Memory is registered in blocks of this size, at multiples of it: the heap's unit of reservation, so that no block has holes.
const BLOCK: usize = 64 << 20;

/// What becomes of pages that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// They are protected: written again, they are reported again.
    Protect,
    /// Nothing.
    Leave,
}

/// The two descriptors that it takes.
pub struct Tracker {
    uffd: Fd,
    pagemap: Fd,
    /// Where the kernel writes what it finds. Apart from the heap: a page's address may be that of an object.
    regions: Memory,
}

/// Words in the kernel's `struct page_region`: start, end, categories.
const REGION: usize = 3;

/// Regions that there is room for.
const REGIONS: usize = 1024;

/// The kernel's `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct WriteProtect {
    start: u64,
    len: u64,
    mode: u64,
}

const UFFDIO_API: libc::c_ulong = ioctl_number::<Api>(0xaa, 0x3f);
const UFFDIO_REGISTER: libc::c_ulong = ioctl_number::<Register>(0xaa, 0x00);
const UFFDIO_WRITEPROTECT: libc::c_ulong = ioctl_number::<WriteProtect>(0xaa, 0x06);
const PAGEMAP_SCAN: libc::c_ulong = ioctl_number::<Scan>(b'f', 16);

const UFFD_API: u64 = 0xaa;
const UFFD_USER_MODE_ONLY: i32 = 1;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const FEATURE_WP_ASYNC: u64 = 1 << 15;
const REGISTER_MODE_WP: u64 = 1 << 1;
const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;

impl Tracker {
    /// `None` where the kernel does not have it, or not for this process.
    pub fn new() -> Option<Tracker> {
        // SAFETY: makes a descriptor.
        let uffd = unsafe {
            libc::syscall(
                libc::SYS_userfaultfd,
                libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY,
            )
        };
        let uffd = (uffd >= 0).then(|| Fd::own(uffd as i32))?;
        let mut api = Api {
            api: UFFD_API,
            features: FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC,
            ioctls: 0,
        };
        uffd.ioctl(UFFDIO_API, &mut api).ok()?;
        let pagemap = Fd::open(c"/proc/self/pagemap", libc::O_RDONLY).ok()?;
        let mut tracker = Tracker {
            uffd,
            pagemap,
            regions: Memory::new(REGIONS * REGION * size_of::<u64>())?,
        };
        tracker.works().then_some(tracker)
    }

    /// Tries it out.
    fn works(&mut self) -> bool {
        const LEN: usize = 4 * PAGE;
        let (rw, private) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a mapping of its own.
        let at = unsafe { libc::mmap(null_mut(), LEN, rw, private, -1, 0) };
        if at == libc::MAP_FAILED {
            return false;
        }
        let (start, bytes) = (at as usize, at.cast::<u8>());
        let mut found = Vec::new();
        // SAFETY: writes to the mapping, which ends here.
        let result = unsafe {
            bytes.add(PAGE).write_volatile(1);
            let register = self.register(start..start + LEN);
            let protect = register.and_then(|()| self.protect_registered(start..start + LEN));
            bytes.add(PAGE).write_volatile(2);
            bytes.add(3 * PAGE).write_volatile(2);
            let written = protect
                .and_then(|()| self.written(start..start + LEN, Reset::Leave, |r| found.push(r)));
            libc::munmap(at, LEN);
            written
        };
        let expected = [1, 3].map(|n| start + n * PAGE..start + (n + 1) * PAGE);
        result.is_ok() && found == expected
    }

    fn register(&self, range: Range<usize>) -> Result<(), i32> {
        let mut register = Register {
            start: range.start as u64,
            len: range.len() as u64,
            mode: REGISTER_MODE_WP,
            ioctls: 0,
        };
        self.uffd.ioctl(UFFDIO_REGISTER, &mut register)
    }

    /// From now on all pages of the range, on page bounds, are clean until they are written. The blocks of 64 MiB that it lies in are mapped.
    ///
    /// # Errors
    /// The `errno`. Some of the pages may be protected then; what becomes of them is not known.
    pub fn protect(&mut self, range: Range<usize>) -> Result<(), i32> {
        self.protect_registered(range.clone()).or_else(|_| {
            let first = range.start & !(BLOCK - 1);
            self.register(first..range.end.next_multiple_of(BLOCK))?;
            self.protect_registered(range)
        })
    }

    fn protect_registered(&mut self, range: Range<usize>) -> Result<(), i32> {
        self.written(range, Reset::Protect, |_| ())
    }

    /// Calls `each` with every run of pages of the range, on page bounds, that are not clean.
    ///
    /// # Errors
    /// The `errno`. Then not all of the range is watched, or it is not known whether.
    pub fn written(
        &mut self,
        range: Range<usize>,
        reset: Reset,
        mut each: impl FnMut(Range<usize>),
    ) -> Result<(), i32> {
        let regions = self.regions.words();
        let mut from = range.start;
        while from < range.end {
            let mut scan = Scan {
                size: size_of::<Scan>() as u64,
                flags: PM_SCAN_CHECK_WPASYNC
                    | match reset {
                        Reset::Protect => PM_SCAN_WP_MATCHING,
                        Reset::Leave => 0,
                    },
                start: from as u64,
                end: range.end as u64,
                vec: regions.as_ptr().expose_provenance() as u64,
                vec_len: REGIONS as u64,
                category_mask: PAGE_IS_WRITTEN,
                return_mask: PAGE_IS_WRITTEN,
                ..Scan::default()
            };
            let n = self.pagemap.ioctl_for(PAGEMAP_SCAN, &mut scan)?;
            for region in regions.chunks_exact(REGION).take(n) {
                each(region[0].load(Relaxed) as usize..region[1].load(Relaxed) as usize);
            }
            if scan.walk_end as usize <= from {
                return Err(libc::EIO);
            }
            from = scan.walk_end as usize;
        }
        Ok(())
    }

    /// Lifts the protection of all pages of the range, so that nobody pays for it whom it does not serve.
    pub fn release(&self, range: Range<usize>) {
        let mut unprotect = WriteProtect {
            start: range.start as u64,
            len: range.len() as u64,
            mode: 0,
        };
        // Pages that stay protected cost a fault each, once.
        let _ = self.uffd.ioctl(UFFDIO_WRITEPROTECT, &mut unprotect);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mapping on a block's bounds.
    fn block(blocks: usize) -> *mut u8 {
        let len = (blocks + 1) * BLOCK;
        // SAFETY: a mapping of its own, never unmapped.
        let at = unsafe {
            libc::mmap(
                null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED);
        at.cast::<u8>().map_addr(|at| at.next_multiple_of(BLOCK))
    }

    fn pages(tracker: &mut Tracker, range: Range<usize>, reset: Reset) -> Vec<usize> {
        let mut pages = Vec::new();
        let start = range.start;
        tracker
            .written(range, reset, |run| {
                pages.extend(run.step_by(PAGE).map(|at| (at - start) / PAGE));
            })
            .unwrap();
        pages
    }

    #[test]
    fn what_is_written_is_reported_until_it_is_protected_again() {
        let Some(mut tracker) = Tracker::new() else {
            eprintln!("not allowed here");
            return;
        };
        let memory = block(1);
        let range = memory.addr() + PAGE..memory.addr() + 5000 * PAGE;
        let write = |page: usize| {
            // SAFETY: within the mapping.
            unsafe { memory.add((page + 1) * PAGE + 17).write_volatile(1) }
        };
        (0..100).for_each(write);
        tracker.protect(range.clone()).unwrap();
        assert_eq!(pages(&mut tracker, range.clone(), Reset::Leave), []);
        // One that had memory, and one that had none.
        write(7);
        write(3000);
        assert_eq!(pages(&mut tracker, range.clone(), Reset::Leave), [7, 3000]);
        assert_eq!(
            pages(&mut tracker, range.clone(), Reset::Protect),
            [7, 3000]
        );
        assert_eq!(pages(&mut tracker, range.clone(), Reset::Leave), []);
        // More runs than fit into one answer.
        let odd: Vec<usize> = (0..4900).filter(|page| page % 2 == 1).collect();
        odd.iter().copied().for_each(write);
        assert_eq!(pages(&mut tracker, range.clone(), Reset::Leave), odd);
        tracker.release(range.clone());
        assert!(pages(&mut tracker, range, Reset::Leave).len() >= 4900);
    }

    #[test]
    fn memory_that_was_given_back_and_written_is_reported() {
        let Some(mut tracker) = Tracker::new() else {
            return;
        };
        let memory = block(1);
        let range = memory.addr()..memory.addr() + 10 * PAGE;
        // SAFETY: within the mapping.
        unsafe {
            memory.write_volatile(1);
            tracker.protect(range.clone()).unwrap();
            libc::madvise(memory.cast(), 10 * PAGE, libc::MADV_DONTNEED);
            memory.add(PAGE).write_volatile(1);
        }
        assert!(pages(&mut tracker, range, Reset::Leave).contains(&1));
    }

    #[test]
    fn memory_that_was_replaced_is_an_error_and_can_be_protected_again() {
        let Some(mut tracker) = Tracker::new() else {
            return;
        };
        let memory = block(1);
        let range = memory.addr()..memory.addr() + 10 * PAGE;
        tracker.protect(range.clone()).unwrap();
        // SAFETY: replaces a part of the mapping.
        unsafe {
            libc::mmap(
                memory.add(2 * PAGE).cast(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            );
        }
        let lost = tracker.written(range.clone(), Reset::Leave, |_| ());
        assert_eq!(lost, Err(libc::EPERM));
        tracker.protect(range.clone()).unwrap();
        assert_eq!(pages(&mut tracker, range, Reset::Leave), []);
    }
}
