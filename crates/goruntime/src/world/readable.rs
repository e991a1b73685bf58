//! How far a mapping can be read.
//!
//! A mapping may have *guards* in it (`MADV_GUARD_INSTALL`, Linux 6.13): pages that fault as if they were not mapped, which `/proc/self/maps` does not tell of. Stacks have them at
//! their low ends, those of glibc 2.42 among them. Who looks through a stack of which only the mapping is known would fault there. So the kernel is asked first to make
//! the pages present for reading (`MADV_POPULATE_READ`, Linux 5.14), which it refuses where there is a guard.
//!
//! Only a refusal that says so counts: whatever else goes wrong, the memory is there, and leaving it out would lose what it leads to.

use super::dirty::PAGE;
use std::ops::Range;
use std::ptr::with_exposed_provenance_mut;

/// What is asked for at once, before page by page.
const STEP: usize = 64 << 10;

/// Whether none of these whole pages faults when it is read.
fn can_be_read(pages: Range<usize>) -> bool {
    // SAFETY: only makes pages present, as reading them would.
    let refused = unsafe {
        let start = with_exposed_provenance_mut(pages.start);
        libc::madvise(start, pages.len(), libc::MADV_POPULATE_READ) != 0
    };
    !(refused && std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT))
}

/// The part of `range`, which lies in a mapping, from its start to where it can be read no further.
pub fn upwards(range: Range<usize>) -> Range<usize> {
    let mut end = range.start & !(PAGE - 1);
    for step in [STEP, PAGE] {
        while end < range.end {
            let next = ((end & !(step - 1)) + step).min(range.end.next_multiple_of(PAGE));
            if !can_be_read(end..next) {
                break;
            }
            end = next;
        }
    }
    range.start..end.clamp(range.start, range.end)
}

/// The part of `range`, which lies in a mapping, from where it can be read to its end.
pub fn downwards(range: Range<usize>) -> Range<usize> {
    let mut start = range.end.next_multiple_of(PAGE);
    for step in [STEP, PAGE] {
        while start > range.start {
            let next = ((start - 1) & !(step - 1)).max(range.start & !(PAGE - 1));
            if !can_be_read(next..start) {
                break;
            }
            start = next;
        }
    }
    start.clamp(range.start, range.end)..range.end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_within_a_mapping_ends_what_can_be_read() {
        const PAGES: usize = 100;
        const MADV_GUARD_INSTALL: i32 = 102;
        let rw = libc::PROT_READ | libc::PROT_WRITE;
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a mapping of its own, never unmapped, and a page of it.
        let (at, refused) = unsafe {
            let at = libc::mmap(std::ptr::null_mut(), PAGES * PAGE, rw, private, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            let guard = at.wrapping_byte_add(40 * PAGE);
            (at, libc::madvise(guard, PAGE, MADV_GUARD_INSTALL) != 0)
        };
        if refused {
            eprintln!("this kernel has no guards");
            return;
        }
        let page = |n: usize| at.expose_provenance() + n * PAGE;
        let whole = page(0) + 24..page(PAGES) - 24;
        assert_eq!(upwards(whole.clone()), whole.start..page(40));
        assert_eq!(downwards(whole.clone()), page(41)..whole.end);
        for clear in [page(41) + 8..whole.end, whole.start..page(40) - 8] {
            assert_eq!(upwards(clear.clone()), clear);
            assert_eq!(downwards(clear.clone()), clear);
        }
        let inside = page(40) + 16..page(40) + 32;
        assert!(upwards(inside.clone()).is_empty() && downwards(inside).is_empty());
    }
}
