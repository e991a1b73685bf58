//! `malloc` and `free` over spans: what happens when the lists of a [`Cache`] do not suffice.
//!
//! The states of a span and who may touch what are at the head of [`span`](crate::span). Everything here runs in a critical section.

use crate::atomic::{Ordering::*, spin_loop};
use crate::cache::{Cache, CachePtr, Owned};
use crate::env::Os;
use crate::fatal::{Misuse, misuse};
use crate::heap::Heap;
use crate::page::{PAGE_SIZE, PageCount};
use crate::size_class::SizeClass;
use crate::span::{Block, Inbox, Kind, NEVER, Place, Pushed, SpanList, SpanPtr, for_each_block};
use std::ptr::{NonNull, null_mut, with_exposed_provenance_mut};

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
        if !cache.inbox.is_empty() {
            self.collect_inbox(cache);
        }
        let owned = cache.owned(class);
        if let Some(span) = owned.current() {
            if let Some(block) = self.fill_from(cache, class, span) {
                return Some(block);
            }
            // Every block of it is out.
            owned.set_current(None);
            span.notify.store(span.count() - 1, Relaxed);
            owned.full.push(span, Place::Full);
        }
        let span = match owned.partial.pop() {
            Some(span) => span,
            None => self.adopt(cache, class).or_else(|| {
                let pages = PageCount(class.pages());
                let span = self.new_span(Kind::Malloc, Some(class), pages, PAGE_SIZE);
                let span = span.ok()?;
                span.owner.store(cache.as_owner(), Release);
                Some(span)
            })?,
        };
        span.notify.store(NEVER, Relaxed);
        owned.set_current(Some(span));
        self.fill_from(cache, class, span)
    }

    /// Fills the cache's list from its current span.
    fn fill_from(&self, cache: CachePtr, class: SizeClass, span: SpanPtr) -> Option<NonNull<u8>> {
        let before = span.used.load(Relaxed);
        let mut blocks = span.take_local();
        if blocks.is_null() {
            blocks = span.carve();
        }
        cache.fill(class, blocks, span.used.load(Relaxed) - before);
        cache.pop(class)
    }

    /// Takes over a span that has no owner.
    fn adopt(&self, cache: CachePtr, class: SizeClass) -> Option<SpanPtr> {
        let partial = self.malloc[class.index()].partial.lock();
        self.collect_ownerless_of(&partial, class);
        let span = partial.pop()?;
        span.owner.store(cache.as_owner(), Release);
        Some(span)
    }

    /// Frees a block, on the thread of `cache`, which may be one that stands for none.
    ///
    /// # Safety
    /// 1. `block` was allocated by a malloc of this heap and is not used any more. (Breaking this is detected where that is cheap.)
    /// 2. `cache` is the calling thread's.
    #[inline(always)]
    pub(crate) unsafe fn free_block(&self, cache: *mut Cache, block: NonNull<u8>) {
        let addr = block.as_ptr().expose_provenance();
        let Some(span) = self.map.find(addr) else {
            misuse(addr, Misuse::NotOurs)
        };
        if span.owner.load(Relaxed) != cache.cast::<Inbox>() {
            // SAFETY: (1).
            return unsafe { self.free_elsewhere(cache, span, block) };
        }
        if !span.starts_block(addr) {
            misuse(addr, Misuse::Inside);
        }
        // SAFETY: (1): a block of a span that the calling thread owns.
        match unsafe { span.push_local(block.as_ptr().cast()) } {
            Pushed::Done => {}
            // SAFETY: an owner of spans is a cache.
            Pushed::Notify => self.notified(unsafe { CachePtr::of_owner(cache.cast()) }, span),
            Pushed::Twice => misuse(addr, Misuse::Twice),
        }
    }

    /// Frees a block of a span that is not the calling thread's.
    ///
    /// # Safety
    /// 1. As for [`free_block`](Self::free_block).
    #[cold]
    unsafe fn free_elsewhere(&self, cache: *mut Cache, span: SpanPtr, block: NonNull<u8>) {
        let addr = block.as_ptr().addr();
        match span.kind() {
            Kind::Malloc if span.starts_block(addr) => {
                if crate::local::is_attached(cache) {
                    // SAFETY: a cache record; its thread is the calling one.
                    let frees = unsafe { &(*cache).remote_frees };
                    frees.store(frees.load(Relaxed) + 1, Relaxed);
                } else {
                    self.counters.detached_frees.fetch_add(1, Relaxed);
                }
                // SAFETY: (1).
                let has_duty = unsafe { span.push_remote(block.as_ptr().cast()) };
                #[cfg(explore)]
                let has_duty = has_duty
                    && !goexplore::planted("a pusher that finds the list empty tells nobody");
                if has_duty {
                    self.tell_owner(span);
                }
            }
            Kind::MallocLarge if span.base() == addr => {
                self.free_large(span);
            }
            Kind::Malloc | Kind::MallocLarge => misuse(addr, Misuse::Inside),
            Kind::Free => misuse(addr, Misuse::NotOurs),
            _ => misuse(addr, Misuse::OtherKind),
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

    /// Puts a span, for which the caller has the duty, into its owner's inbox.
    fn tell_owner(&self, span: SpanPtr) {
        loop {
            let owner = span.owner.load(Acquire);
            // SAFETY: an owner is null or a cache record.
            let told = match unsafe { CachePtr::of_owner(owner) } {
                Some(cache) => cache.inbox.push(span),
                None => self.malloc[span.class_index()].inbox.push(span),
            };
            if told {
                return;
            }
            // Its thread exits and has given the span away by now.
            spin_loop();
        }
    }

    /// `used` of a span of this cache fell to `notify`.
    #[cold]
    fn notified(&self, cache: Option<CachePtr>, span: SpanPtr) {
        if let Some(cache) = cache {
            self.replace(cache.owned(span.class()), span);
        }
    }

    /// Puts a span of a cache, whose free blocks became more, into the list where it belongs.
    fn replace(&self, owned: &Owned, span: SpanPtr) {
        match span.place() {
            // The current span stays, empty or not.
            Place::None => return,
            Place::Partial => owned.partial.remove(span),
            Place::Full => owned.full.remove(span),
        }
        // One empty span per class is kept, so that a program that allocates and frees at the edge of a span does not make and free spans.
        if span.used.load(Relaxed) == 0 && owned.partial.len() > 0 {
            self.free_span(span);
        } else {
            span.notify.store(0, Relaxed);
            owned.partial.push(span, Place::Partial);
        }
    }

    /// Takes in what other threads freed of the spans of this cache.
    fn collect_inbox(&self, cache: CachePtr) {
        for span in cache.inbox.take() {
            if span.owner.load(Relaxed) == cache.as_owner() {
                let n = span.collect_remote();
                self.counters.remote_collected.fetch_add(n as u64, Relaxed);
                self.replace(cache.owned(span.class()), span);
            } else {
                self.tell_owner(span);
            }
        }
    }

    /// Takes in what was freed of spans of one class that have no owner. `partial` is that class's list, locked.
    fn collect_ownerless_of(&self, partial: &SpanList, class: SizeClass) {
        let inbox = &self.malloc[class.index()].inbox;
        if inbox.is_empty() {
            return;
        }
        for span in inbox.take() {
            if !span.owner.load(Relaxed).is_null() {
                self.tell_owner(span);
                continue;
            }
            let n = span.collect_remote();
            self.counters.remote_collected.fetch_add(n as u64, Relaxed);
            if span.place() == Place::Partial {
                partial.remove(span);
            }
            if span.used.load(Relaxed) == 0 {
                self.free_span(span);
            } else {
                partial.push(span, Place::Partial);
            }
        }
    }

    /// The same for all classes.
    pub(crate) fn collect_ownerless(&self) {
        for class in SizeClass::all() {
            let central = &self.malloc[class.index()];
            if !central.inbox.is_empty() {
                self.collect_ownerless_of(&central.partial.lock(), class);
            }
        }
    }

    /// Gives everything that the cache holds to the central lists, and the cache to the next thread that needs one. Called by its thread.
    pub(crate) fn detach_cache(&self, cache: CachePtr) {
        self.collect_inbox(cache);
        for class in SizeClass::all() {
            let owned = cache.owned(class);
            if let Some(span) = owned.current() {
                self.return_list(cache, class, span);
                owned.set_current(None);
                self.give_up(span);
            }
            while let Some(span) = owned.partial.pop().or_else(|| owned.full.pop()) {
                self.give_up(span);
            }
        }
        self.flush_objects(cache);
        // No span has this owner any more: what comes now finds the inbox closed and looks at the owner again.
        #[cfg(explore)]
        if goexplore::planted("an owner that ends leaves its inbox open") {
            return self.pages.lock().put_cache(cache);
        }
        for span in cache.inbox.close() {
            self.tell_owner(span);
        }
        self.pages.lock().put_cache(cache);
    }

    /// Puts the blocks of the cache's list back into the span that they are of.
    fn return_list(&self, cache: CachePtr, class: SizeClass, span: SpanPtr) {
        let mut n = 0;
        let blocks = cache.drain(class);
        // SAFETY: free blocks of `span`, which this cache owns; each is pushed after its link was read.
        unsafe {
            for_each_block(blocks, &mut |addr| {
                span.push_local(with_exposed_provenance_mut::<Block>(addr));
                n += 1;
            });
        }
        let handed = &cache.owned(class).handed;
        handed.store(handed.load(Relaxed) - n, Relaxed);
    }

    fn give_up(&self, span: SpanPtr) {
        if span.used.load(Relaxed) == 0 {
            return self.free_span(span);
        }
        let partial = self.malloc[span.class_index()].partial.lock();
        span.notify.store(NEVER, Relaxed);
        span.owner.store(null_mut(), Release);
        if span.has_room() {
            partial.push(span, Place::Partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SimOs;

    /// The one that the freeing thread read the owner for has exited meanwhile, and its cache serves another thread.
    #[test]
    fn a_late_duty_reaches_the_new_owner() {
        let heap = Heap::new(SimOs::default());
        let class = SizeClass::of(64);
        let before = heap.attach_cache().unwrap();
        let blocks = [(); 2].map(|()| heap.malloc_small(before, class).unwrap());
        let span = heap.map.find(blocks[0].addr().get()).unwrap();

        // SAFETY: blocks allocated above, each freed once.
        assert!(unsafe { span.push_remote(blocks[0].as_ptr().cast()) });
        heap.detach_cache(before);
        assert!(!before.inbox.push(span), "closed");
        let after = heap.attach_cache().unwrap();
        assert_eq!(before, after);
        assert!(after.inbox.push(span));
        // SAFETY: as above. The duty is still the first one's.
        assert!(!unsafe { span.push_remote(blocks[1].as_ptr().cast()) });

        heap.collect_inbox(after);
        heap.collect_ownerless();
        assert_eq!(heap.stats().malloc_inuse, 0);
        heap.detach_cache(after);
    }

    /// Blocks in every state a span can leave them in, found again by the next thread.
    #[test]
    fn what_an_exiting_thread_leaves_is_adopted() {
        let heap = Heap::new(SimOs::default());
        let class = SizeClass::of(1024);
        let first = heap.attach_cache().unwrap();
        // One full span and one begun.
        let blocks: Vec<_> = (0..class.count() + 1)
            .map(|_| heap.malloc_small(first, class).unwrap())
            .collect();
        let in_use = heap.stats().malloc_inuse;
        heap.detach_cache(first);
        let second = heap.attach_cache().unwrap();
        let rest: Vec<_> = (1..class.count())
            .map(|_| heap.malloc_small(second, class).unwrap())
            .collect();
        assert_eq!(heap.stats().malloc_inuse, in_use, "no new span");
        for block in blocks.into_iter().chain(rest) {
            // SAFETY: live, freed once, by the thread of `second`.
            unsafe { heap.free_block(second.as_ptr(), block) };
        }
        heap.detach_cache(second);
        heap.collect_ownerless();
        assert_eq!(heap.stats().malloc_inuse, 0);
    }
}
