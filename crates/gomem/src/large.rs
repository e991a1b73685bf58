//! Large blocks: those of more than 32 KiB, each a span of its own.

use crate::atomic::Ordering::*;
use crate::env::Os;
use crate::heap::Heap;
use crate::page::{PAGE_SIZE, PageCount};
use crate::span::{Kind, SpanPtr};
use std::ptr::{NonNull, with_exposed_provenance_mut};

/// A block for `malloc`, and what is known of its contents.
pub(crate) struct Fresh {
    pub(crate) block: NonNull<u8>,
    /// It reads as zero.
    pub(crate) zero: bool,
}

impl<O: Os> Heap<O> {
    /// A block that takes pages of its own.
    pub(crate) fn malloc_large(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        self.large_block(size, align).map(|fresh| fresh.block)
    }

    /// The same, with what is known of its contents.
    pub(crate) fn large_block(&self, size: usize, align: usize) -> Option<Fresh> {
        let pages = PageCount::holding(size)?;
        let span = self.new_span(Kind::MallocLarge, None, pages, align.max(PAGE_SIZE));
        let span = span.ok()?;
        span.used.store(1, Relaxed);
        self.counters.large_mallocs.fetch_add(1, Relaxed);
        Some(Fresh {
            block: NonNull::new(with_exposed_provenance_mut(span.base()))?,
            zero: !span.dirty.load(Relaxed),
        })
    }

    /// Frees the block that a span of the kind `MallocLarge` is.
    pub(crate) fn free_large(&self, span: SpanPtr) {
        self.free_span(span);
    }
}
