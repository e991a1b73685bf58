//! Quarantine: where freed blocks wait before they are used again, the oldest leaving when there are too many.
//!
//! Each class has a ring of its own, for 128 KiB of blocks but no more than 1024 and no fewer than 4; large blocks have one for 256 MiB of address space. Small blocks are
//! poisoned; large ones are guarded and have no memory.
//!
//! Invariant: a block is in at most one place of a ring, and in none of anybody's hands meanwhile. A ring is changed under its lock, and with it what the span of a small block notes: a
//! bit is set exactly while the block is in the ring. So one that is freed again is known, whatever was written into it. What leaves belongs to
//! who took it out, who looks at its poison without the lock.

use crate::cache::CachePtr;
use crate::critical;
use crate::env::Os;
use crate::fatal::{self, Misuse, misuse};
use crate::hardening::{Entry, Ring, fill, first_change, this_thread};
use crate::heap::Heap;
use crate::large::pointer;
use crate::lock::Locked;
use crate::malloc::block_around;
use crate::page::PageCount;
use crate::size_class::SizeClass;
use crate::span::{Place, Slot, SpanPtr};
use std::ptr::{NonNull, with_exposed_provenance_mut};
use std::sync::atomic::Ordering::*;

/// Bytes of a class in quarantine.
const CLASS_BYTES: usize = 128 << 10;
/// Bytes of large blocks in quarantine: of address space, for they have no memory.
const LARGE_BYTES: usize = 256 << 20;
/// How many of these.
const LARGE_BLOCKS: usize = 1024;

/// How many blocks of a class wait.
fn capacity(class: SizeClass) -> usize {
    (CLASS_BYTES / class.size()).clamp(4, 1024)
}

/// Address and length of a span with its guards.
pub(super) fn guarded_bytes(span: SpanPtr) -> (usize, usize) {
    let guards = span.guards();
    (
        span.base() - guards.before.bytes(),
        span.pages().bytes() + guards.pages().bytes(),
    )
}

impl<O: Os> Heap<O> {
    fn ring(&self, index: usize, capacity: usize) -> Locked<'_, Ring> {
        let mut ring = self.hardening.quarantine[index].lock();
        if !ring.has_places() {
            let places = self.pages.lock().places(&self.os, capacity);
            if let Ok(places) = places {
                // SAFETY: just made, and as long-lived as the heap.
                unsafe { ring.set_places(places) };
            }
        }
        ring
    }

    /// Frees a small block of a malloc span. Called by who believes to own it, in a critical section.
    #[cold]
    pub(crate) fn free_hardened(&self, cache: Option<CachePtr>, span: SpanPtr, block: NonNull<u8>) {
        let (addr, class) = (block.as_ptr().addr(), span.class());
        if let Some(cache) = cache
            && cache.is_open(class)
        {
            self.empty_cache(cache);
        }
        let index = span.index_of(addr);
        if index >= span.count() {
            misuse(addr, Misuse::Inside(block_around(span, addr)));
        }
        if span.has_block(index) {
            misuse(addr, Misuse::Twice(span.block(index), None));
        }
        // SAFETY: a block of the size, which is the caller's, or in the ring. Before it is there, for it may leave at once.
        unsafe { fill(block, class.size(), self.hardening.poison(addr)) };
        let freed = Entry::now(addr, thread_of(cache));
        let mut ring = self.ring(class.index(), capacity(class));
        if span.is_noted(index) {
            let freed = ring.find(addr).map(Entry::told);
            misuse(addr, Misuse::Twice(span.block(index), freed));
        }
        span.note(index);
        let leaving = ring.push(freed);
        self.forget_noted(leaving);
        drop(ring);
        if let Some(leaving) = leaving {
            self.leave(class, leaving);
        }
    }

    /// A small block is in its ring no more. Called under the ring's lock.
    fn forget_noted(&self, leaving: Option<Entry>) {
        if let Some(freed) = leaving
            && let Some(span) = self.map.find(freed.addr)
        {
            span.forget(span.index_of(freed.addr));
        }
    }

    /// Puts a small block that was taken out of quarantine back into its span.
    fn leave(&self, class: SizeClass, freed: Entry) {
        let block = pointer(freed.addr);
        let word = self.hardening.poison(freed.addr);
        // SAFETY: a block of the size, which is in nobody's hands.
        if let Some(at) = unsafe { first_change(block, class.size(), word) } {
            let block = fatal::Block {
                start: freed.addr,
                size: class.size(),
            };
            misuse(freed.addr, Misuse::Written(block, freed.told(), at));
        }
        let block = with_exposed_provenance_mut(freed.addr);
        self.put_into_spans(class, &[Slot::new(block)]);
    }

    /// Frees the large block that the span is: nobody can touch it until it is used again.
    #[cold]
    pub(crate) fn quarantine_large(&self, span: SpanPtr) {
        let addr = span.base();
        let block = span.block(0);
        crate::samples::forget(span.sample());
        let mut ring = self.ring(0, LARGE_BLOCKS);
        if span.place() == Place::Quarantine {
            let freed = ring.find(addr).map(Entry::told);
            misuse(addr, Misuse::Twice(block, freed));
        }
        if span.guards().pages() == PageCount(0) && span.moved.load(Relaxed) != 0 {
            // Its pages have to be renewed anyway.
            drop(ring);
            return self.free_moved(span);
        }
        if self.is_marking() {
            // The collector may be reading it, believing that it lives. Marking begins and ends in stops, so not in this critical section.
            drop(ring);
            return self.free_span(span);
        }
        // SAFETY: pages that nobody is to use any more.
        if unsafe { self.os.guard(pointer(addr), span.pages().bytes()) }.is_err() {
            drop(ring);
            return self.free_span(span);
        }
        span.quarantine();
        let held = &self.hardening.large;
        held.fetch_add(guarded_bytes(span).1, Relaxed);
        let mut leaving = ring.push(Entry::now(addr, this_thread()));
        loop {
            if leaving.is_none() && held.load(Relaxed) > LARGE_BYTES {
                leaving = ring.pop();
            }
            drop(ring);
            let Some(freed) = leaving.take() else {
                return;
            };
            self.leave_large(freed);
            ring = self.ring(0, LARGE_BLOCKS);
        }
    }

    fn leave_large(&self, freed: Entry) {
        let Some(span) = self.map.find(freed.addr) else {
            return;
        };
        let bytes = guarded_bytes(span).1;
        // First, so that it is never counted twice.
        self.hardening.large.fetch_sub(bytes, Relaxed);
        self.free_span(span);
    }

    /// Has a large block be one of another size: elsewhere, so that the old address is of no use to whoever kept it.
    pub(crate) fn replace_large(
        &self,
        span: SpanPtr,
        wanted: PageCount,
        align: usize,
    ) -> Option<NonNull<u8>> {
        if span.place() == Place::Quarantine {
            misuse(span.base(), Misuse::Twice(span.block(0), None));
        }
        let (from, have) = (pointer(span.base()), span.pages());
        if wanted == have {
            return Some(from);
        }
        let new = self.large_span(wanted, align, PageCount(0), None).ok()?;
        let to = pointer(new.base());
        // SAFETY: two blocks of at least that many pages.
        unsafe { to.copy_from_nonoverlapping(from, wanted.min(have).bytes()) };
        self.quarantine_large(span);
        Some(to)
    }

    /// Has everything leave quarantine, for the memory's sake.
    pub(crate) fn end_quarantine(&self) {
        if !self.is_hardened() {
            return;
        }
        let _section = critical::enter();
        let rings = &self.hardening.quarantine;
        let pop_small = |class: SizeClass| {
            let mut ring = rings[class.index()].lock();
            let leaving = ring.pop();
            self.forget_noted(leaving);
            leaving
        };
        for class in SizeClass::all() {
            while let Some(freed) = pop_small(class) {
                self.leave(class, freed);
            }
        }
        let pop_large = || rings[0].lock().pop();
        while let Some(freed) = pop_large() {
            self.leave_large(freed);
        }
    }
}

/// The kernel's number of the cache's thread, which calls; 0 where there is no cache.
fn thread_of(cache: Option<CachePtr>) -> u32 {
    let Some(cache) = cache else {
        return 0;
    };
    if cache.thread.load(Relaxed) == 0 {
        cache.thread.store(this_thread(), Relaxed);
    }
    cache.thread.load(Relaxed)
}
