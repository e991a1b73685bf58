//! The Rust heap as roots: the live blocks of malloc spans, for a collector that scans them conservatively.
//!
//! If the world is stopped outside of critical sections, caches and central lists are whole and nobody changes them, and what is found here is exact. It may
//! also be looked for while threads run: then it is out of date at once, and what can be said is less, see [`MallocShare::for_each_block`].
//! Free blocks are left out (what they hold is stale and would keep garbage alive), and so are blocks that were never handed
//! out (looking at them would make their pages resident). A block in a cache, or on its way between caches, is not in its span; so all of these are
//! noted in the spans' records first. In a hardened heap nothing lies there, and the notes are of quarantine (what lay in the cache of a thread that could not be reached when the
//! heap was hardened counts as live).

use crate::atomic::{Ordering::*, fence};
use crate::critical;
use crate::env::Os;
use crate::heap::Heap;
use crate::meta::SlabBlock;
use crate::size_class::SizeClass;
use crate::span::{Kind, Slot, Span};
use std::ops::Range;

/// A share of the malloc spans, for one of several scanning threads; see [`Heap::malloc_shares`].
#[derive(Clone, Copy)]
pub struct MallocShare<'h> {
    block: &'h SlabBlock<Span>,
}

// SAFETY: a share is a pointer to span records, which are atomics and never unmapped; the link in a block of them never changes.
unsafe impl Sync for MallocShare<'_> {}
// SAFETY: as above.
unsafe impl Send for MallocShare<'_> {}

impl MallocShare<'_> {
    /// Calls `visit` with the address ranges of the share's live blocks. Blocks that follow one another come as one range.
    /// All are multiples of 8, and of memory that can be read now and until marking ends, if it has begun: a hardened heap makes no guards in that time.
    ///
    /// If the world is stopped, and was when the shares were made, these are the live blocks. While threads run, a live block is left out only if its memory was
    /// none at some moment after [`Heap::malloc_shares`] was called: whatever is in it was written since.
    pub fn for_each_block(&self, visit: impl FnMut(Range<usize>)) {
        self.for_each_block_in(|_| true, visit);
    }

    /// The same, of the spans of which `wanted` says so when told their addresses.
    pub fn for_each_block_in(
        &self,
        mut wanted: impl FnMut(Range<usize>) -> bool,
        mut visit: impl FnMut(Range<usize>),
    ) {
        for record in &self.block.records {
            if !matches!(record.kind(), Kind::Malloc | Kind::MallocLarge) {
                continue;
            }
            let shape = record.shape();
            // A thread that runs may have made it another span meanwhile. It says first that it is none, and last what it is; so what is
            // the same before and after is all of one span.
            fence(Acquire);
            if record.shape() != shape || !wanted(shape.bytes()) {
                continue;
            }
            match shape.kind {
                // Not those that are freed and kept.
                Kind::MallocLarge if !record.is_kept() => visit(shape.bytes()),
                Kind::Malloc => record.visit_live(shape, &mut visit),
                _ => {}
            }
        }
    }

    /// Calls `visit` with the share's live blocks that have a span of their own, as all do of more than 32 KiB. As [`for_each_block`](Self::for_each_block) if the
    /// world is stopped.
    pub fn for_each_large_block(&self, mut visit: impl FnMut(Range<usize>)) {
        for record in &self.block.records {
            if record.kind() == Kind::MallocLarge && !record.is_kept() {
                visit(record.bytes());
            }
        }
    }

    /// Calls `visit` with the addresses of the share's spans, those of blocks that are freed and kept included.
    pub fn for_each_span(&self, mut visit: impl FnMut(Range<usize>)) {
        for record in &self.block.records {
            let kind = record.kind();
            if !matches!(kind, Kind::Malloc | Kind::MallocLarge) {
                continue;
            }
            let bytes = record.bytes();
            // As in `for_each_block_in`.
            fence(Acquire);
            if record.kind() == kind && record.bytes() == bytes {
                visit(bytes);
            }
        }
    }

    /// Calls `visit` with the index of each span's class and what is out of it. Zero is the class of large blocks.
    pub(crate) fn for_each_used(&self, mut visit: impl FnMut(usize, Used)) {
        for record in &self.block.records {
            let (blocks, free) = match record.kind() {
                Kind::MallocLarge if !record.is_kept() => (1, 0),
                Kind::Malloc => {
                    let free = record.available().min(record.count());
                    (record.count() - free, free)
                }
                _ => continue,
            };
            let used = Used {
                blocks,
                free,
                size: record.size(),
                bytes: record.pages().bytes(),
            };
            visit(record.class_index(), used);
        }
    }
}

/// What is out of a span.
pub(crate) struct Used {
    pub(crate) blocks: u32,
    /// Blocks that are in.
    pub(crate) free: u32,
    /// Bytes in a block.
    pub(crate) size: usize,
    /// Bytes of the span.
    pub(crate) bytes: usize,
}

impl<O: Os> Heap<O> {
    /// The malloc spans in shares of about the same number, which together make up all. Notes which blocks lie in caches, for
    /// [`MallocShare::for_each_block`]. For one thread at a time: another's notes replace these.
    pub fn malloc_shares(&self) -> impl Iterator<Item = MallocShare<'_>> {
        let _section = critical::enter();
        let _notes = self.reclaiming.lock();
        if self.is_hardened() {
            return self.malloc_spans();
        }
        self.forget_notes();
        self.noted.store(true, Relaxed);
        self.for_each_cached(|slots| {
            for slot in slots {
                let addr = slot.load(Relaxed).addr();
                // While threads run, the block may be none any more, and its memory be of collected objects.
                if let Some(span) = self.map.find(addr)
                    && span.kind() == Kind::Malloc
                {
                    span.note(span.index_of(addr));
                }
            }
        });
        self.malloc_spans()
    }

    /// Forgets the notes of the last [`malloc_shares`](Self::malloc_shares), whose shares must not be used any more. The next call does that otherwise, and takes longer for it:
    /// a look at every malloc span.
    pub fn forget_cached(&self) {
        let _section = critical::enter();
        let _notes = self.reclaiming.lock();
        self.forget_notes();
    }

    /// The same. The caller holds `reclaiming`.
    pub(crate) fn forget_notes(&self) {
        if !self.noted.swap(false, Relaxed) {
            return;
        }
        for share in self.malloc_spans() {
            for record in &share.block.records {
                if record.kind() == Kind::Malloc {
                    record.forget_all();
                }
            }
        }
    }

    /// Calls `visit` with the free blocks of caches, and with those on their way between caches.
    fn for_each_cached(&self, mut visit: impl FnMut(&[Slot])) {
        for class in SizeClass::all() {
            for cache in self.caches() {
                visit(cache.blocks(class));
            }
            visit(self.malloc[class.index()].lists.lock().transfer.blocks());
        }
    }

    /// The malloc spans, as [`malloc_shares`](Self::malloc_shares) without the note.
    pub fn malloc_spans(&self) -> impl Iterator<Item = MallocShare<'_>> {
        let section = critical::enter();
        let newest = self.pages.lock().slabs().0.newest();
        drop(section);
        // SAFETY: blocks are never unmapped and their links never change.
        std::iter::successors(newest, |block| unsafe { block.as_ref() }.next).map(|block| {
            MallocShare {
                // SAFETY: as above; records are atomics.
                block: unsafe { block.as_ref() },
            }
        })
    }

    /// Calls `visit` with the address ranges of all live malloc blocks, see [`MallocShare::for_each_block`].
    pub fn for_each_malloc_block(&self, mut visit: impl FnMut(Range<usize>)) {
        for share in self.malloc_shares() {
            share.for_each_block(&mut visit);
        }
    }

    /// The live malloc block that the address lies in. Of a [large block](MallocShare::for_each_large_block) only the first 8 KiB lead to it.
    ///
    /// Exact if the world is stopped, and was when [`malloc_shares`](Self::malloc_shares) was called last.
    pub fn find_malloc_block(&self, addr: usize) -> Option<Range<usize>> {
        let span = self.map.find(addr)?;
        match span.kind() {
            Kind::Malloc => {
                let index = span.index_of(addr);
                let block = span.block(index);
                span.is_live(index)
                    .then(|| block.start..block.start + block.size)
            }
            Kind::MallocLarge if !span.is_kept() => Some(span.bytes()),
            _ => None,
        }
    }

    /// Whether the address lies in memory that malloc of this heap handed out, or may hand out next; of a block of more than 32 KiB only if it lies
    /// in its first 8 KiB. With the address of a `Box` it tells whether this heap is behind the global allocator.
    #[inline]
    pub fn owns(&self, ptr: *const u8) -> bool {
        self.map
            .find(ptr.addr())
            .is_some_and(|span| matches!(span.kind(), Kind::Malloc | Kind::MallocLarge))
    }
}
