//! The Rust heap as roots: the live blocks of malloc spans, for a collector that scans them conservatively.
//!
//! Invariant relied on: the world is stopped outside of critical sections, so caches and central lists are whole and nobody changes them.
//! Free blocks are left out (what they hold is stale and would keep garbage alive), and so are blocks that were never handed
//! out (looking at them would make their pages resident). A block in a cache, or on its way between caches, is not in its span; so all of these are
//! noted in the spans' records first.

use crate::atomic::Ordering::*;
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
    /// All are multiples of 8.
    ///
    /// # Safety
    /// 1. No other thread is in a critical section, nor enters one before this returns: the world is stopped.
    pub unsafe fn for_each_block(&self, mut visit: impl FnMut(Range<usize>)) {
        for record in &self.block.records {
            let shape = record.shape();
            // A thread that could not be stopped may have made it another span meanwhile: then nobody who is stopped has a block of it.
            let is_still = record.shape() == shape;
            match shape.kind {
                // Not those that are freed and kept.
                Kind::MallocLarge if is_still && !record.is_kept() => {
                    visit(shape.base..shape.base + shape.size)
                }
                Kind::Malloc if is_still => record.visit_live(shape, &mut visit),
                _ => {}
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
    /// [`MallocShare::for_each_block`].
    ///
    /// # Safety
    /// 1. No other thread is in a critical section, nor enters one before the shares are done with: the world is stopped.
    pub unsafe fn malloc_shares(&self) -> impl Iterator<Item = MallocShare<'_>> {
        for share in self.shares() {
            for record in &share.block.records {
                if record.kind() == Kind::Malloc {
                    record.forget_cached();
                }
            }
        }
        self.for_each_cached(|slots| {
            for slot in slots {
                let addr = slot.load(Relaxed).addr();
                if let Some(span) = self.map.find(addr) {
                    span.note_cached(span.index_of(addr));
                }
            }
        });
        self.shares()
    }

    /// Calls `visit` with the free blocks of caches, and with those on their way between caches.
    fn for_each_cached(&self, mut visit: impl FnMut(&[Slot])) {
        let _section = critical::enter();
        for class in SizeClass::all() {
            for cache in self.caches() {
                visit(cache.blocks(class));
            }
            visit(self.malloc[class.index()].lists.lock().transfer.blocks());
        }
    }

    /// The malloc spans, as [`malloc_shares`](Self::malloc_shares) without the note.
    pub(crate) fn shares(&self) -> impl Iterator<Item = MallocShare<'_>> {
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
    ///
    /// # Safety
    /// 1. No other thread is in a critical section, nor enters one before this returns: the world is stopped.
    pub unsafe fn for_each_malloc_block(&self, mut visit: impl FnMut(Range<usize>)) {
        // SAFETY: (1).
        for share in unsafe { self.malloc_shares() } {
            // SAFETY: (1).
            unsafe { share.for_each_block(&mut visit) };
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
