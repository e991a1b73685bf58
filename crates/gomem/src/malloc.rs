//! `malloc` and `free` of small blocks, when the lists of a [`Cache`](crate::cache::Cache) do not suffice: filled from what threads share, and emptied into it.
//!
//! Blocks move between caches in batches and by way of [`Transfer`], where nobody looks at them; only what is too much there goes back into the spans, one by
//! one. So a block that one thread allocates and another frees costs each of them what it costs to use its own cache, and a share of a lock. Everything here runs in a
//! critical section.

use crate::atomic::Ordering::*;
use crate::cache::{CachePtr, NEVER};
use crate::central::Transfer;
use crate::env::Os;
use crate::fatal::{Block, Misuse, misuse};
use crate::heap::Heap;
use crate::page::{PAGE_SHIFT, PAGE_SIZE, PageCount};
use crate::size_class::SizeClass;
use crate::span::{Kind, Place, Slot, SpanList, SpanPtr};
use std::ptr::NonNull;

impl<O: Os> Heap<O> {
    /// A block of `class`, by way of the cache of the calling thread; `None` when out of memory.
    #[inline]
    pub(crate) fn malloc_small(&self, cache: CachePtr, class: SizeClass) -> Option<NonNull<u8>> {
        match cache.pop(class) {
            Some(block) => Some(block),
            None => self.refill(cache, class),
        }
    }

    #[cold]
    fn refill(&self, cache: CachePtr, class: SizeClass) -> Option<NonNull<u8>> {
        if cache.left(class) == 0 {
            let _arming = self.arming.lock();
            cache.arm(class, NEVER);
            if let Some(block) = cache.pop(class) {
                return Some(block);
            }
        }
        if self.is_hardened() && cache.is_open(class) {
            self.empty_cache(cache);
        }
        let n = self.take_blocks(class, cache.room_to_fill(class));
        cache.set_len(class, n);
        cache.pop(class)
    }

    /// A block for a thread without a cache.
    pub(crate) fn malloc_uncached(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let slot = [Slot::default()];
        if self.take_blocks(class, &slot) == 0 {
            return None;
        }
        self.counters.apart[class.index()].fetch_add(1, Relaxed);
        NonNull::new(slot[0].load(Relaxed))
    }

    /// Takes at least one block of those that threads share, or of a new span, if there is memory for one. Returns how many.
    fn take_blocks(&self, class: SizeClass, slots: &[Slot]) -> usize {
        if self.is_hardened() {
            return self.take_at_random(class, slots);
        }
        let n = self.malloc[class.index()].lists.lock().take(slots);
        if n != 0 {
            return n;
        }
        self.take_of_new_span(class, |span| span.take_blocks(slots))
    }

    /// Makes a span and has `take` take blocks out of it, some or all. Returns how many `take` says they were; 0 if there is no memory.
    pub(crate) fn take_of_new_span(
        &self,
        class: SizeClass,
        take: impl FnOnce(SpanPtr) -> usize,
    ) -> usize {
        let pages = PageCount(class.malloc_pages());
        let Ok(span) = self.new_span(Kind::Malloc, Some(class), pages, PAGE_SIZE) else {
            return 0;
        };
        // Nobody else knows the span yet.
        let n = take(span);
        if span.available() != 0 {
            let lists = self.malloc[class.index()].lists.lock();
            // Blocks of it cannot have come back before: the caller has them.
            lists.partial.push(span, Place::Partial);
        }
        n
    }

    /// Frees a block, on the thread of `cache` if it has one.
    ///
    /// # Safety
    /// 1. `block` was allocated by a malloc of this heap and is not used any more. (Breaking this is detected where that is cheap.)
    #[inline(always)]
    pub(crate) unsafe fn free_block(&self, cache: CachePtr, block: NonNull<u8>) {
        let class = self.map.malloc_class(block.as_ptr().addr());
        if !cache.push(class, block.as_ptr()) {
            // SAFETY: (1).
            unsafe { self.free_slow(Some(cache), block) }
        }
    }

    /// The same, for blocks that do not simply go on top of a list.
    ///
    /// # Safety
    /// 1. As for [`free_block`](Self::free_block).
    #[cold]
    pub(crate) unsafe fn free_slow(&self, cache: Option<CachePtr>, block: NonNull<u8>) {
        let addr = block.as_ptr().expose_provenance();
        let Some(span) = self.map.find(addr) else {
            misuse(addr, Misuse::NotOurs)
        };
        match span.kind() {
            Kind::Malloc if span.starts_block(addr) => {}
            Kind::MallocLarge if span.base() == addr => return self.free_large(span),
            Kind::Malloc | Kind::MallocLarge => {
                misuse(addr, Misuse::Inside(block_around(span, addr)))
            }
            Kind::Free => misuse(addr, Misuse::NotOurs),
            _ => misuse(addr, Misuse::OtherKind),
        }
        if self.is_hardened() {
            return self.free_hardened(cache, span, block);
        }
        let class = span.class();
        let Some(cache) = cache else {
            return self.put_into_spans(class, &[Slot::new(block.as_ptr())]);
        };
        let is_block = |slot: &Slot| slot.load(Relaxed) == block.as_ptr();
        if cache.blocks(class).iter().any(is_block) {
            misuse(addr, Misuse::Twice(span.block(span.index_of(addr)), None));
        }
        if !cache.push(class.index(), block.as_ptr()) {
            let surplus = cache.surplus(class);
            self.put_blocks(class, surplus);
            cache.remove_oldest(class, surplus.len());
            cache.push(class.index(), block.as_ptr());
        }
    }

    /// Gives blocks of a class to the threads at large. The slots are the caller's to reuse.
    pub(crate) fn put_blocks(&self, class: SizeClass, blocks: &[Slot]) {
        if blocks.is_empty() {
            return;
        }
        if self.is_hardened() {
            return self.put_into_spans(class, blocks);
        }
        let mut lists = self.malloc[class.index()].lists.lock();
        lists.used = true;
        if !lists.transfer.has_slots() {
            let n = Transfer::capacity(class);
            // Without slots everything goes back to the spans.
            if let Ok(slots) = self.pages.lock().places(&self.os, n) {
                // SAFETY: just made, and as long-lived as the heap.
                unsafe { lists.transfer.set_slots(slots) };
            }
        }
        if !lists.transfer.put(blocks) {
            drop(lists);
            self.put_into_spans(class, blocks);
        }
    }

    /// Puts blocks back into their spans, and gives those that are whole again to the page heap.
    pub(crate) fn put_into_spans(&self, class: SizeClass, blocks: &[Slot]) {
        // All records are fetched at once, before the lock is held, and not one after the other while others wait.
        let mut page = 0;
        for slot in blocks {
            let addr = slot.load(Relaxed).addr();
            if addr >> PAGE_SHIFT != page {
                page = addr >> PAGE_SHIFT;
                self.map.prefetch_span(addr);
            }
        }
        let whole = SpanList::new();
        let lists = self.malloc[class.index()].lists.lock();
        let mut rest = blocks;
        while let Some(first) = rest.first() {
            let span = self.span_of(first.load(Relaxed).addr(), class);
            match span.put_blocks(rest) {
                Ok(n) => rest = &rest[n..],
                Err(addr) => match span.starts_block(addr) && span.index_of(addr) < span.count() {
                    true => misuse(addr, Misuse::Twice(span.block(span.index_of(addr)), None)),
                    false => misuse(addr, Misuse::Inside(block_around(span, addr))),
                },
            }
            if span.available() == span.count() {
                if span.place() == Place::Partial {
                    lists.partial.remove(span);
                }
                whole.push(span, Place::Full);
            } else if span.place() == Place::None {
                lists.partial.push(span, Place::Partial);
            }
        }
        drop(lists);
        while let Some(span) = whole.pop() {
            self.free_span(span);
        }
    }

    /// The span that a block of this class is in. Ends the process if it is none: `addr` was freed wrongly, some time ago.
    fn span_of(&self, addr: usize, class: SizeClass) -> SpanPtr {
        match self.map.find(addr) {
            Some(span) if span.kind() == Kind::Malloc && span.class_index() == class.index() => {
                span
            }
            _ => misuse(addr, Misuse::NotOurs),
        }
    }

    /// Puts what lies in transfer back into the spans; of every class, or of those that nobody used since the last time this was called.
    pub(crate) fn drain_transfers(&self, all: bool) {
        for class in SizeClass::all() {
            let central = &self.malloc[class.index()];
            let mut lists = central.lists.lock();
            if std::mem::take(&mut lists.used) && !all {
                continue;
            }
            drop(lists);
            loop {
                const BATCH: usize = 64;
                let batch = [const { Slot::new(std::ptr::null_mut()) }; BATCH];
                let n = central.lists.lock().transfer.take(&batch);
                if n == 0 {
                    break;
                }
                self.put_into_spans(class, &batch[..n]);
            }
        }
    }

    /// Bytes in the block; may be more than were asked for.
    pub(crate) fn block_size(&self, block: NonNull<u8>) -> usize {
        let addr = block.as_ptr().addr();
        match self.map.find(addr) {
            Some(span) => span.size(),
            None => misuse(addr, Misuse::NotOurs),
        }
    }

    /// Gives everything that the cache holds back, and the cache to the next thread that needs one. Called by its thread.
    pub(crate) fn detach_cache(&self, cache: CachePtr) {
        self.empty_cache(cache);
        self.flush_objects(cache);
        self.pages.lock().put_cache(cache);
    }

    /// Gives the malloc blocks that a cache holds to the threads at large. Called by its thread, or by who has it to itself.
    pub(crate) fn empty_cache(&self, cache: CachePtr) {
        for class in SizeClass::all() {
            self.put_blocks(class, cache.blocks(class));
            if self.is_hardened() {
                cache.close(class);
            } else {
                cache.reset(class);
            }
        }
    }
}

/// The block that an address in a malloc span lies in, if it is in one.
pub(crate) fn block_around(span: SpanPtr, addr: usize) -> Option<Block> {
    let index = span.index_of(addr);
    (index < span.count()).then(|| span.block(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SimOs;

    /// What a thread leaves is used by the next, before any new span.
    #[test]
    fn what_an_exiting_thread_leaves_is_used() {
        let heap = Heap::new(SimOs::default());
        let class = SizeClass::of(1024);
        let first = heap.attach_cache().unwrap();
        let blocks: Vec<_> = (0..20)
            .map(|_| heap.malloc_small(first, class).unwrap())
            .collect();
        let in_use = heap.stats().malloc_inuse;
        let free = in_use / class.size() - blocks.len();
        heap.detach_cache(first);
        let second = heap.attach_cache().unwrap();
        let rest: Vec<_> = (0..free)
            .map(|_| heap.malloc_small(second, class).unwrap())
            .collect();
        assert_eq!(heap.stats().malloc_inuse, in_use, "no new span");
        for block in blocks.into_iter().chain(rest) {
            // SAFETY: live, freed once.
            unsafe { heap.free_block(second, block) };
        }
        heap.detach_cache(second);
        heap.drain_transfers(true);
        assert_eq!(heap.stats().malloc_inuse, 0);
    }

    /// A thread that only frees keeps little; one that allocates is given more at a time.
    #[test]
    fn lists_grow_with_what_is_allocated() {
        let heap = Heap::new(SimOs::default());
        let class = SizeClass::of(64);
        let (allocating, freeing) = (heap.attach_cache().unwrap(), heap.attach_cache().unwrap());
        let mut most = 0;
        for _ in 0..5000 {
            let block = heap.malloc_small(allocating, class).unwrap();
            most = most.max(allocating.blocks(class).len());
            // SAFETY: live, freed once.
            unsafe { heap.free_block(freeing, block) };
            assert!(freeing.blocks(class).len() <= 64);
        }
        assert!(most > 100, "{most}");
        let central = heap.malloc[class.index()].lists.lock();
        assert!(central.transfer.blocks().len() <= Transfer::capacity(class));
        drop(central);
        heap.detach_cache(allocating);
        heap.detach_cache(freeing);
        heap.drain_transfers(true);
        assert_eq!(heap.stats().malloc_inuse, 0);
        assert_eq!(heap.stats().mallocs, 5000);
        assert_eq!(heap.stats().frees, 5000);
    }

    /// What was not used between two calls is taken back, what was used stays.
    #[test]
    fn idle_transfers_are_drained() {
        let heap = Heap::new(SimOs::default());
        let class = SizeClass::of(512);
        let cache = heap.attach_cache().unwrap();
        let block = heap.malloc_small(cache, class).unwrap();
        // SAFETY: live, freed once.
        unsafe { heap.free_block(cache, block) };
        heap.detach_cache(cache);
        heap.drain_transfers(false);
        assert_ne!(heap.stats().malloc_inuse, 0);
        heap.drain_transfers(false);
        assert_eq!(heap.stats().malloc_inuse, 0);
    }
}
