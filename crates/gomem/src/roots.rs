//! The Rust heap as roots: the live blocks of malloc spans, for a collector that scans them conservatively.
//!
//! Invariant relied on: the world is stopped outside of critical sections, so the lists of free blocks are whole and nobody changes them.
//! Free blocks are left out (what they hold is stale and would keep garbage alive), and so are blocks that were never handed
//! out (looking at them would make their pages resident).

use crate::atomic::Ordering::*;
use crate::cache::CachePtr;
use crate::critical;
use crate::env::Os;
use crate::heap::Heap;
use crate::meta::SlabBlock;
use crate::page::PAGE_SIZE;
use crate::span::{Kind, Span, SpanPtr, for_each_block};
use std::ops::Range;
use std::ptr::NonNull;

/// Blocks in a span of the smallest class.
const MAX_BLOCKS: usize = PAGE_SIZE / 8;

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
            match record.kind() {
                // Not those that are freed and kept.
                Kind::MallocLarge if record.used.load(Relaxed) != 0 => {
                    visit(record.base()..record.base() + record.size())
                }
                Kind::Malloc => {
                    // SAFETY: a record.
                    let span = unsafe { SpanPtr::new(NonNull::from(record)) };
                    live_blocks(span, &mut visit);
                }
                _ => {}
            }
        }
    }

    /// Calls `visit` with the blocks that are out of each span, and their size.
    pub(crate) fn for_each_used(&self, mut visit: impl FnMut(u32, usize)) {
        for record in &self.block.records {
            if matches!(record.kind(), Kind::Malloc | Kind::MallocLarge) {
                visit(record.used.load(Relaxed), record.size());
            }
        }
    }
}

impl<O: Os> Heap<O> {
    /// The malloc spans in shares of about the same number, which together make up all.
    pub fn malloc_shares(&self) -> impl Iterator<Item = MallocShare<'_>> {
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
        for share in self.malloc_shares() {
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

fn live_blocks(span: SpanPtr, visit: &mut impl FnMut(Range<usize>)) {
    let fresh = span.fresh.load(Relaxed);
    let mut free = [0u64; MAX_BLOCKS / 64];
    let mut set = |addr: usize| {
        let index = span.index_of(addr) as usize;
        free[index / 64] |= 1 << (index % 64);
    };
    span.for_each_free(&mut set);
    // SAFETY: an owner is null or a cache record.
    if let Some(cache) = unsafe { CachePtr::of_owner(span.owner.load(Relaxed)) }
        && cache.owned(span.class()).current() == Some(span)
    {
        // SAFETY: a list of free blocks of this span, which nobody changes now.
        unsafe { for_each_block(cache.list(span.class()), &mut set) };
    }
    let address = |index: u32| span.base() + index as usize * span.size();
    let mut start = None;
    for index in 0..fresh {
        let is_free = free[index as usize / 64] >> (index % 64) & 1 == 1;
        match start {
            None if !is_free => start = Some(index),
            Some(from) if is_free => {
                visit(address(from)..address(index));
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        visit(address(from)..address(fresh));
    }
}
