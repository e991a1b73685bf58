//! Large blocks: those of more than 32 KiB, each a span of its own.
//!
//! Only the first page of such a block has an entry in the span map: a block is freed by its first address, and it is not among the objects
//! that are looked up by any address inside.
//!
//! Those of up to 1 MiB are kept for a moment when they are freed, see [`spare`](crate::spare).
//!
//! # Blocks that grow
//!
//! A block grows in place where the pages behind it are free. One that must move because they are not is put where there is room for it to grow
//! ([`room_for`]), so that what doubles again and again is copied every third time or less. The memory of a very large one is not copied but
//! moved, where the system can ([`Os::move_memory`]) and the place that it goes to has no memory yet: then copying would need twice the memory, and
//! a page fault for every page. Such a block costs the kernel a mapping of its own until its pages are renewed when it is freed; there are at
//! most [`MOVED_MAX`] of them, and one that was moved and has to move again is copied, for its memory may be of several mappings.
//!
//! Invariant: `moved` of a span tells how many of its pages, from the first, are not of the heap's own mapping; such pages are renewed before they
//! are free. `Pages::moved` counts the blocks with such pages.

use crate::atomic::Ordering::*;
use crate::critical;
use crate::env::{Os, Refused, Unmoved};
use crate::fatal::{Misuse, misuse};
use crate::heap::Heap;
use crate::page::{ARENA_PAGES, PAGE_SIZE, PageCount};
use crate::page_alloc::PageRuns;
use crate::pages::Left;
use crate::size_class::SizeClass;
use crate::span::{KEPT, Kind, SpanPtr};
use crate::spare::Size;
use std::ptr::{NonNull, with_exposed_provenance_mut};

/// Blocks of fewer pages are copied when they move.
const MOVE_MIN: PageCount = PageCount(512);
/// Of the 65,530 mappings that the kernel allows by default (`vm.max_map_count`), two for each.
const MOVED_MAX: u32 = 1024;

/// A run of fewer dirty bytes is zeroed without asking how many of them have memory: it fits into the processor's cache, where to write
/// costs less than page faults.
const ASK_MIN: usize = 8 << 20;

/// The pages that should be free behind a block of `pages` pages when it grows and moves: seven times as many for small ones, 64 MiB or as many
/// again for large ones.
fn room_for(pages: PageCount) -> PageCount {
    let most = pages.0.max(ARENA_PAGES as u32);
    PageCount(pages.0.saturating_mul(7).min(most))
}

pub(crate) fn pointer(addr: usize) -> NonNull<u8> {
    // SAFETY: spans do not lie at address zero.
    unsafe { NonNull::new_unchecked(with_exposed_provenance_mut(addr)) }
}

impl<O: Os> Heap<O> {
    /// A block that takes pages of its own, one that is kept or a new one.
    pub(crate) fn malloc_large(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let mut pages = PageCount::holding(size)?;
        if align <= PAGE_SIZE
            && !self.is_hardened()
            && let Some(size) = Size::of(pages)
        {
            if let Some(span) = self.spare.take(size) {
                span.moved.store(0, Relaxed);
                return Some(pointer(span.base()));
            }
            pages = size.pages;
        }
        let span = self.large_span(pages, align, PageCount(0), None).ok()?;
        Some(pointer(span.base()))
    }

    /// A block that takes pages of its own and is growing: with free pages behind it, if there are as many.
    pub(crate) fn malloc_growing(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let pages = PageCount::holding(size)?;
        let room = if self.is_hardened() {
            PageCount(0)
        } else {
            room_for(pages)
        };
        let span = self.large_span(pages, align, room, None).ok()?;
        Some(pointer(span.base()))
    }

    pub(crate) fn large_span(
        &self,
        pages: PageCount,
        align: usize,
        room: PageCount,
        dirty: Option<&mut PageRuns>,
    ) -> Result<SpanPtr, Refused> {
        let align = align.max(PAGE_SIZE);
        self.place_span(Kind::MallocLarge, None, pages, align, room, dirty)
    }

    /// A small block that takes pages of its own, because it is sampled: it starts a page, and the table of classes has nothing about it.
    pub(crate) fn malloc_apart(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let pages = PageCount::holding(class.size())?;
        let span = self.new_span(Kind::MallocLarge, Some(class), pages, PAGE_SIZE);
        let span = span.ok()?;
        self.counters.apart[class.index()].fetch_add(1, Relaxed);
        Some(pointer(span.base()))
    }

    /// A block that takes pages of its own and reads as zero: what is clean is not written. Not one that is kept, for of that nothing is known. Called
    /// outside of critical sections.
    pub(crate) fn calloc_large(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let pages = PageCount::holding(size)?;
        let mut dirty = PageRuns::default();
        let section = critical::enter();
        let span = self.large_span(pages, align, PageCount(0), Some(&mut dirty));
        drop(section);
        let span = span.ok()?;
        span.set_zeroed();
        let block = pointer(span.base());
        for run in dirty.iter() {
            let (offset, bytes) = (run.start as usize * PAGE_SIZE, run.len() * PAGE_SIZE);
            // SAFETY: pages of the block, which is ours.
            unsafe { self.zero(block.add(offset), bytes) };
        }
        Some(block)
    }

    /// Has pages read as zero: those of a block that was used sparsely are given back, for to write them would give them memory.
    ///
    /// # Safety
    /// 1. Committed pages in nobody's use.
    unsafe fn zero(&self, start: NonNull<u8>, bytes: usize) {
        // SAFETY: (1).
        unsafe {
            if bytes >= ASK_MIN
                && let Some(resident) = self.os.resident(start, bytes)
                && resident < bytes / 16
                && self.os.release(start, bytes).is_ok()
            {
                return;
            }
            start.write_bytes(0, bytes);
        }
    }

    /// Frees the block that a span of the kind `MallocLarge` is.
    pub(crate) fn free_large(&self, span: SpanPtr) {
        match span.moved.load(Relaxed) {
            KEPT => misuse(span.base(), Misuse::NotOurs),
            _ if self.is_hardened() => return self.quarantine_large(span),
            0 => {}
            _ => return self.free_moved(span),
        }
        if !span.is_zeroed()
            && let Some(size) = Size::of(span.pages())
            && size.pages == span.pages()
        {
            crate::samples::forget(span.sample());
            span.moved.store(KEPT, Relaxed);
            if self.spare.put(size, span) {
                return;
            }
        }
        self.free_span(span);
    }

    /// Frees the pages of all blocks that are kept for the next of their size.
    pub(crate) fn free_spare(&self) {
        let _section = critical::enter();
        self.spare.drain(|span| self.free_span(span));
    }

    pub(crate) fn free_moved(&self, span: SpanPtr) {
        // SAFETY: pages that nobody uses any more; some of them were moved to.
        let renewed = unsafe { self.os.renew(pointer(span.base()), span.pages().bytes()) };
        self.count_moved(false);
        self.retire_span(span, renewed.map_or(Left::Lost, |()| Left::Clean));
    }

    /// Counts one more or one less block whose memory was moved. False if there are enough.
    fn count_moved(&self, more: bool) -> bool {
        let mut state = self.pages.lock();
        if !more {
            state.moved -= 1;
        } else if state.moved < MOVED_MAX && !state.is_advised() {
            state.moved += 1;
        } else {
            return false;
        }
        true
    }

    /// Makes the large block at `span` one of `size` bytes, in place if that can be. `None` when out of memory: it is as before.
    pub(crate) fn resize_large(
        &self,
        span: SpanPtr,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        let (have, wanted) = (span.pages(), PageCount::holding(size)?);
        if self.is_hardened() {
            return self.replace_large(span, wanted, align);
        }
        if wanted <= have {
            // A tail of less than an eighth stays: it is within what other sizes lose to rounding.
            if (have.0 - wanted.0) as u64 * 8 > have.0 as u64 {
                self.shrink_large(span, wanted);
            }
            return Some(pointer(span.base()));
        }
        if self.grow_large(span, wanted) {
            return Some(pointer(span.base()));
        }
        self.move_large(span, wanted, align)
    }

    fn grow_large(&self, span: SpanPtr, wanted: PageCount) -> bool {
        let (have, end) = (span.pages(), span.page().plus(span.pages()));
        let more = PageCount(wanted.0 - have.0);
        let mut state = self.pages.lock();
        let taken = state.take_at(end, more).is_some();
        if taken {
            span.resize(wanted);
            self.count_in_use(&state, Kind::MallocLarge, more.bytes() as isize);
            self.count_large_bytes(&state, more.bytes());
        }
        taken
    }

    fn shrink_large(&self, span: SpanPtr, wanted: PageCount) {
        let (have, moved) = (span.pages(), span.moved.load(Relaxed));
        let tail = PageCount(have.0 - wanted.0);
        let mut left = Left::Dirty;
        if moved > wanted.0 {
            let start = pointer(span.base() + wanted.bytes());
            // SAFETY: pages of the block that are not wanted any more; some of them were moved to.
            let renewed = unsafe { self.os.renew(start, tail.bytes()) };
            left = renewed.map_or(Left::Lost, |()| Left::Clean);
            span.moved.store(wanted.0, Relaxed);
        }
        let mut state = self.pages.lock();
        let start = span.page().plus(wanted);
        span.resize(wanted);
        self.count_in_use(&state, Kind::MallocLarge, -(tail.bytes() as isize));
        state.put_left(start, tail, left);
        let surplus = state.surplus();
        drop(state);
        self.note_surplus(surplus);
    }

    fn move_large(&self, span: SpanPtr, wanted: PageCount, align: usize) -> Option<NonNull<u8>> {
        let bytes = span.pages().bytes();
        let from = pointer(span.base());
        let mut new = self
            .large_span(wanted, align, room_for(wanted), None)
            .ok()?;
        // A place that has memory already takes a copy for less.
        let by_pages = span.pages() >= MOVE_MIN
            && span.moved.load(Relaxed) == 0
            && !new.dirty.load(Relaxed)
            && self.count_moved(true);
        if by_pages {
            // SAFETY: the pages of two blocks, both ours and used by nobody else.
            match unsafe { self.os.move_memory(from, pointer(new.base()), bytes) } {
                Ok(()) => {
                    new.moved.store(span.pages().0, Relaxed);
                    self.retire_span(span, Left::Clean);
                    return Some(pointer(new.base()));
                }
                Err(Unmoved::Kept) => {
                    self.count_moved(false);
                }
                Err(Unmoved::Lost) => {
                    self.count_moved(false);
                    self.retire_span(new, Left::Lost);
                    new = self.large_span(wanted, align, PageCount(0), None).ok()?;
                }
            }
        }
        let to = pointer(new.base());
        // SAFETY: two blocks, the second the longer one.
        unsafe { to.copy_from_nonoverlapping(from, bytes) };
        self.free_large(span);
        Some(to)
    }
}
