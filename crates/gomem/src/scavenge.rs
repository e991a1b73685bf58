//! Giving physical memory back: the pages at the high end of the heap first, as in Go's `mgcscavenge.go`.
//!
//! A run is taken out of the free pages while the system call for it runs, so that no lock is held and nobody is given
//! its pages meanwhile. How much to give back and when is the embedder's policy.

use crate::critical;
use crate::env::Os;
use crate::heap::Heap;
use crate::page::{PageCount, PageId};
use std::ptr::{NonNull, with_exposed_provenance_mut};

/// Pages released by one system call: 4 MiB. Bounds how long a thread keeps a stopping collector waiting.
const STEP: PageCount = PageCount(512);

impl<O: Os> Heap<O> {
    /// Gives about `bytes` bytes of free memory back to the system, as far as there are. Returns how many were. The memory stays usable, and
    /// reads as zero when touched again.
    pub fn scavenge(&self, bytes: usize) -> usize {
        let section = critical::enter();
        self.drain_transfers(true);
        drop(section);
        let (mut released, mut limit) = (0, PageId(u32::MAX));
        while released < bytes {
            let _section = critical::enter();
            let most = PageCount::holding(bytes - released).map_or(STEP, |pages| pages.min(STEP));
            let Some((run, n)) = self.pages.lock().take_dirty(limit, most) else {
                break;
            };
            let start = NonNull::new(with_exposed_provenance_mut::<u8>(run.base));
            // SAFETY: committed pages of an arena that were free and are now ours.
            let result = start.map(|start| unsafe { self.os.release(start, n.bytes()) });
            let gone = matches!(result, Some(Ok(())));
            self.pages.lock().put(run.page, n, gone);
            if !gone {
                break;
            }
            released += n.bytes();
            limit = run.page;
        }
        released
    }

    /// Gives all free memory back. Returns how many bytes that were.
    pub fn release_all(&self) -> usize {
        self.scavenge(usize::MAX)
    }
}
