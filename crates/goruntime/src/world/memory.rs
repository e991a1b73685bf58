//! Memory from the system that is no root: for tables whose numbers look like pointers, and must not keep anything alive.

use crate::atomic::AtomicU64;
use std::ptr::null_mut;

/// A mapping, zeroed, unmapped when dropped.
#[derive(Debug, Default)]
pub struct Memory {
    start: usize,
    bytes: usize,
}

impl Memory {
    /// So many bytes, rounded up to whole words. `None` if the system refuses.
    pub fn new(bytes: usize) -> Option<Memory> {
        if bytes == 0 {
            return Some(Memory::default());
        }
        let (rw, private) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a fresh private mapping; touches nothing that exists.
        let at = unsafe { libc::mmap(null_mut(), bytes, rw, private, -1, 0) };
        (at != libc::MAP_FAILED).then(|| Memory {
            start: at.expose_provenance(),
            bytes,
        })
    }

    /// Its words.
    pub fn words(&self) -> &[AtomicU64] {
        if self.bytes == 0 {
            return &[];
        }
        let start = std::ptr::with_exposed_provenance::<AtomicU64>(self.start);
        // SAFETY: a mapping of this size, zeroed when it was made, that lives as long as `self`; a mapping's last page is whole.
        unsafe { std::slice::from_raw_parts(start, self.bytes.div_ceil(8)) }
    }
}

impl Memory {
    /// Gives its pages back; they are zero when they are next read, but for words that somebody writes meanwhile.
    pub fn discard(&self) {
        if self.bytes != 0 {
            let start = std::ptr::with_exposed_provenance_mut(self.start);
            // SAFETY: mapped by `new`, and its words are atomic, so they may change at any time. A refusal leaves them as they are.
            unsafe { libc::madvise(start, self.bytes, libc::MADV_DONTNEED) };
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.bytes != 0 {
            // SAFETY: mapped by `new`, and nobody uses it any more.
            unsafe {
                libc::munmap(
                    std::ptr::with_exposed_provenance_mut(self.start),
                    self.bytes,
                )
            };
        }
    }
}
