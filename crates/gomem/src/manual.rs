//! Memory for those who manage it by hand: stacks, buffers of a collector.

use crate::critical;
use crate::env::Os;
use crate::fatal::{Misuse, misuse};
use crate::heap::Heap;
use crate::page::{PAGE_SIZE, PageCount};
use crate::span::Kind;
use std::ptr::{NonNull, with_exposed_provenance_mut};

impl<O: Os> Heap<O> {
    /// Whole pages of 8 KiB, at least `bytes` bytes, aligned to 8 KiB, with unspecified contents. `None` when out of memory.
    /// Neither scanned nor collected.
    pub fn alloc_manual(&self, bytes: usize) -> Option<NonNull<u8>> {
        let _section = critical::enter();
        let pages = PageCount::holding(bytes.max(1))?;
        let span = self.new_span(Kind::Manual, None, pages, PAGE_SIZE).ok()?;
        NonNull::new(with_exposed_provenance_mut(span.base()))
    }

    /// Frees memory of [`alloc_manual`](Self::alloc_manual). Aborts if it is not the start of such.
    ///
    /// # Safety
    /// 1. Nobody uses the memory any more.
    pub unsafe fn free_manual(&self, start: NonNull<u8>) {
        let _section = critical::enter();
        let addr = start.as_ptr().addr();
        match self.map.find(addr) {
            Some(span) if span.kind() == Kind::Manual && span.base() == addr => {
                self.free_span(span)
            }
            Some(_) => misuse(addr, Misuse::OtherKind),
            None => misuse(addr, Misuse::NotOurs),
        }
    }
}
