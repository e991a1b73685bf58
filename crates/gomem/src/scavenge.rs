//! Giving physical memory back: the pages at the high end of the heap first, as in Go's `mgcscavenge.go`.
//!
//! A run is taken out of the free pages while the system call for it runs, so that no lock is held and nobody is given
//! its pages meanwhile. How much to give back and when is the embedder's policy, or that of [`background`](crate::background).
//!
//! # Huge pages
//!
//! Where the system makes huge pages of any memory ([`Os::prefers_huge`]), or was asked for them, free memory is given back by whole huge pages
//! only: to give back a part splits the huge page, and what puts small pages together again (`khugepaged`, which by default needs one of 512
//! to be there) would fill what was given back. Only [`release_all`](Heap::release_all) gives back everything.

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
        self.reclaim_idle();
        self.free_spare();
        self.release_some(bytes, self.by_huge_pages())
    }

    /// Gives all free memory back. Returns how many bytes that were.
    pub fn release_all(&self) -> usize {
        self.reclaim_idle();
        let section = critical::enter();
        self.drain_transfers(true);
        self.end_quarantine();
        drop(section);
        self.free_spare();
        self.release_some(usize::MAX, false)
    }

    /// Whether memory is to be given back by huge pages.
    pub(crate) fn by_huge_pages(&self) -> bool {
        let _section = critical::enter();
        self.os.prefers_huge() || self.pages.lock().is_advised()
    }

    /// Asks the system for huge pages, in all of the heap's memory from now on. For programs with a large heap that is in use all the time: fewer
    /// misses of the processor's address cache, and fewer but longer page faults; more memory, because free memory is then given back by
    /// 2 MiB. Returns whether the system takes such advice.
    pub fn advise_huge_pages(&self) -> bool {
        let _section = critical::enter();
        self.pages.lock().advise_huge(&self.os)
    }

    /// Gives free pages back until that makes `bytes` bytes; of huge pages only if `huge`.
    pub(crate) fn release_some(&self, bytes: usize, huge: bool) -> usize {
        let (mut released, mut limit) = (0, PageId(u32::MAX));
        while released < bytes {
            let _section = critical::enter();
            let most = PageCount::holding(bytes - released).map_or(STEP, |pages| pages.min(STEP));
            let mut state = self.pages.lock();
            let before = state.surplus();
            let Some((run, n)) = state.take_dirty(limit, most, huge) else {
                break;
            };
            let dirty = before - state.surplus();
            drop(state);
            let start = NonNull::new(with_exposed_provenance_mut::<u8>(run.base));
            // SAFETY: committed pages of an arena that were free and are now ours.
            let result = start.map(|start| unsafe { self.os.release(start, n.bytes()) });
            let gone = matches!(result, Some(Ok(())));
            self.pages.lock().put(run.page, n, gone);
            if !gone {
                break;
            }
            released += dirty;
            limit = run.page;
        }
        released
    }
}
