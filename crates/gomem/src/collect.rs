//! Allocating collected objects, and sweeping them.
//!
//! A cycle, as the collector drives it: (world stopped) mark, [`for_each_unmarked_finalizable`](Heap::for_each_unmarked_finalizable),
//! [`start_sweep`](Heap::start_sweep); (world running) the spans are swept a few at a time, by whoever needs a span of that kind and class and by
//! calls of [`sweep_some`](Heap::sweep_some). There are no sweep generations on spans, as Go has: a span is in an *unswept* list or it
//! is not, and who takes it from there is the one who sweeps it.
//!
//! A collector that marks while threads run begins with [`start_mark`](Heap::start_mark): from then until the sweep, objects are born marked. That costs
//! nothing where objects are allocated: a span is given to a cache with the marks of all its free slots set, and loses those of the slots that are free
//! still when it is taken away. So a mark bit of a free slot means something only in a span that a cache holds.
//!
//! Invariant: `start_sweep` takes the spans away from all caches, and only swept or new spans are given to caches. So no object
//! allocated after it is freed by its sweep.

use crate::atomic::Ordering::*;
use crate::cache::CachePtr;
use crate::central::ObjectLists;
use crate::critical;
use crate::env::Os;
use crate::heap::Heap;
use crate::object::{CollectedKind, Object};
use crate::page::{PAGE_SIZE, PageCount};
use crate::size_class::{SMALL_MAX, SizeClass};
use crate::span::{MIN_OBJECT, ObjectSpanPtr, Place, SpanPtr};
use std::ptr::{NonNull, with_exposed_provenance_mut};

const KINDS: [CollectedKind; 3] = [
    CollectedKind::Scan,
    CollectedKind::NoScan,
    CollectedKind::Finalizable,
];

/// How many spans without a free slot are swept in search of one before a new span is made; as in Go.
const SWEEP_BUDGET: u32 = 100;

/// What dead objects are overwritten with: no address, and no number that anybody expects.
const CLOBBER: u8 = 0xdb;

/// The result of a step of sweeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SweepProgress {
    /// Bytes of spans looked at.
    pub swept: usize,
    /// Bytes of pages given back to the heap: spans that were found empty.
    pub freed: usize,
    /// Nothing is left to sweep, neither here nor in the hands of another thread.
    pub done: bool,
}

/// The class for an object, or `None` if it takes pages of its own.
#[inline(always)]
fn class_of(size: usize, align: usize) -> Option<SizeClass> {
    if align <= 8 && size <= SMALL_MAX {
        Some(SizeClass::of(size.max(MIN_OBJECT)))
    } else {
        SizeClass::aligned(size.max(MIN_OBJECT), align)
    }
}

impl<O: Os> Heap<O> {
    /// An object by way of the calling thread's cache, or of none: then only if that takes no new span.
    #[inline(always)]
    pub(crate) fn object_from(
        &self,
        cache: &crate::cache::Cache,
        size: usize,
        align: usize,
        kind: CollectedKind,
    ) -> Option<NonNull<u8>> {
        let span = cache.objects(kind.index(), class_of(size, align)?)?;
        take_zeroed(span)
    }

    /// An object, when [`object_from`](Self::object_from) had none.
    #[cold]
    pub(crate) fn object_slow(
        &self,
        cache: CachePtr,
        size: usize,
        align: usize,
        kind: CollectedKind,
    ) -> Option<NonNull<u8>> {
        match class_of(size, align) {
            Some(class) => take_zeroed(self.refill_objects(cache, kind, class)?),
            None => self.object_large(size, align, kind),
        }
    }

    fn refill_objects(
        &self,
        cache: CachePtr,
        kind: CollectedKind,
        class: SizeClass,
    ) -> Option<ObjectSpanPtr> {
        if let Some(span) = cache.objects(kind.index(), class) {
            if span.advance() {
                return Some(span);
            }
            cache.set_objects(kind.index(), class, None);
            let lists = self.objects[kind.index()][class.index()].lists.lock();
            lists.full.push(span.as_span(), Place::Full);
        }
        let span = match self.span_with_room(kind, class) {
            Some(span) => span,
            None => {
                let pages = PageCount(class.pages());
                self.new_span(kind.span_kind(), Some(class), pages, PAGE_SIZE)
                    .ok()?
                    .as_objects()?
            }
        };
        span.advance();
        if self.is_marking() {
            span.mark_free_slots();
        }
        cache.set_objects(kind.index(), class, Some(span));
        // As if all slots were allocated at once; what is not is deducted when the cache gives the span back.
        self.charge(span.free_slots() as usize * span.size());
        Some(span)
    }

    /// A swept span with a free slot, which is now in no list.
    fn span_with_room(&self, kind: CollectedKind, class: SizeClass) -> Option<ObjectSpanPtr> {
        let central = &self.objects[kind.index()][class.index()];
        for _ in 0..SWEEP_BUDGET {
            let lists = central.lists.lock();
            if let Some(span) = lists.partial.pop() {
                return span.as_objects();
            }
            let span = take_unswept(&lists)?;
            drop(lists);
            self.sweep_span(span);
            self.cycle.unswept.fetch_sub(1, Release);
            if span.advance() {
                return Some(span);
            }
            let lists = central.lists.lock();
            lists.full.push(span.as_span(), Place::Full);
        }
        None
    }

    fn object_large(&self, size: usize, align: usize, kind: CollectedKind) -> Option<NonNull<u8>> {
        let pages = PageCount::holding(size)?;
        // Memory that is garbage already comes before memory that is new.
        self.sweep_pages(pages);
        let span = self
            .new_span(kind.span_kind(), None, pages, align.max(PAGE_SIZE))
            .ok()?
            .as_objects()?;
        if self.is_marking() {
            span.mark_free_slots();
        }
        let object = take_zeroed(span);
        let central = &self.objects[kind.index()][0];
        central.lists.lock().full.push(span.as_span(), Place::Full);
        self.charge(span.size());
        object
    }

    /// Counts bytes as allocated, and has the trigger hook called if that makes enough, or if objects are being marked.
    fn charge(&self, bytes: usize) {
        let before = self.cycle.allocated.fetch_add(bytes, Relaxed);
        let trigger = self.cycle.trigger.load(Relaxed);
        if before < trigger && before + bytes >= trigger || self.is_marking() {
            critical::request_trigger();
        }
    }

    /// Between [`start_mark`](Self::start_mark) and the sweep.
    fn is_marking(&self) -> bool {
        self.cycle.marking.load(Relaxed)
    }

    /// From now on objects are born marked, and the trigger hook is called whenever a thread has taken memory for more of them, until
    /// [`start_sweep`](Self::start_sweep).
    ///
    /// # Safety
    /// 1. No other thread is in a critical section, nor enters one before this returns: the world is stopped.
    /// 2. Everything is [swept](Self::is_swept).
    pub unsafe fn start_mark(&self) {
        let _section = critical::enter();
        for cache in self.caches() {
            self.flush_objects(cache);
        }
        let allocated = self.cycle.allocated.load(Relaxed);
        self.cycle.marking_since.store(allocated, Relaxed);
        self.cycle.marking.store(true, Relaxed);
    }

    /// Gives the spans of objects that a cache holds to the central lists. Called by the cache's thread, or with the world stopped.
    pub(crate) fn flush_objects(&self, cache: CachePtr) {
        for kind in KINDS {
            for class in SizeClass::all() {
                let Some(span) = cache.objects(kind.index(), class) else {
                    continue;
                };
                cache.set_objects(kind.index(), class, None);
                if self.is_marking() {
                    span.unmark_free_slots();
                }
                let free = span.free_slots();
                let unused = free as usize * span.size();
                self.cycle.allocated.fetch_sub(unused, Relaxed);
                let lists = self.objects[kind.index()][class.index()].lists.lock();
                if free != 0 {
                    lists.partial.push(span.as_span(), Place::Partial);
                } else {
                    lists.full.push(span.as_span(), Place::Full);
                }
            }
        }
    }

    /// Begins to free all objects that are not marked, and returns the bytes of those that are, after a look at every span. Finishes the previous sweep first, if
    /// it is not.
    ///
    /// # Safety
    /// 1. Whatever object the program can still reach is marked.
    /// 2. No other thread is in a critical section, nor enters one before this returns: the world is stopped.
    pub unsafe fn start_sweep(&self) -> usize {
        let _section = critical::enter();
        let mut marked = 0;
        self.sweep_pages(PageCount(u32::MAX));
        for cache in self.caches() {
            self.flush_objects(cache);
        }
        self.for_each_object_span(|span| marked += span.marked_slots() as usize * span.size());
        // SAFETY: (1), (2).
        unsafe { self.start_sweep_of(marked) };
        // All that is marked was counted, what was born so too.
        self.cycle.retained.store(marked, Relaxed);
        marked
    }

    /// The same for a collector that knows how many bytes it has marked, those born marked not counted: this looks at no span.
    ///
    /// # Safety
    /// 1. As for [`start_sweep`](Self::start_sweep).
    pub unsafe fn start_sweep_of(&self, marked: usize) {
        let _section = critical::enter();
        self.sweep_pages(PageCount(u32::MAX));
        for cache in self.caches() {
            self.flush_objects(cache);
        }
        let mut born = 0;
        if self.cycle.marking.swap(false, Relaxed) {
            let since = self.cycle.marking_since.load(Relaxed);
            born = self.cycle.allocated.load(Relaxed).saturating_sub(since);
        }
        let mut unswept = 0;
        for central in self.objects.iter().flatten() {
            let ObjectLists {
                partial,
                full,
                unswept_partial,
                unswept_full,
            } = &mut *central.lists.lock();
            std::mem::swap(partial, unswept_partial);
            std::mem::swap(full, unswept_full);
            unswept += unswept_partial.len() as usize + unswept_full.len() as usize;
        }
        self.cycle.hand.store(0, Relaxed);
        self.cycle.retained.store(marked + born, Relaxed);
        self.cycle.allocated.store(0, Relaxed);
        self.cycle.unswept.store(unswept, Release);
    }

    /// Sweeps spans until about `bytes` bytes of them were looked at, or there are none left. Any number of threads may do so at once.
    pub fn sweep_some(&self, bytes: usize) -> SweepProgress {
        let pages = PageCount::holding(bytes).unwrap_or(PageCount(u32::MAX));
        let _section = critical::enter();
        self.sweep_pages(pages)
    }

    /// Sweeps whatever is left.
    pub fn sweep_all(&self) -> SweepProgress {
        self.sweep_some(usize::MAX)
    }

    /// Whether nothing is left to sweep, neither here nor in the hands of another thread.
    pub fn is_swept(&self) -> bool {
        self.cycle.unswept.load(Acquire) == 0
    }

    fn sweep_pages(&self, pages: PageCount) -> SweepProgress {
        let mut progress = SweepProgress::default();
        while progress.swept < pages.bytes() && !self.is_swept() {
            let hand = self.cycle.hand.load(Relaxed);
            let Some(central) = self.objects.as_flattened().get(hand) else {
                break;
            };
            let span = take_unswept(&central.lists.lock());
            let Some(span) = span else {
                // Nobody puts spans into unswept lists before the next cycle: this central is done for good.
                let _ = self
                    .cycle
                    .hand
                    .compare_exchange(hand, hand + 1, Relaxed, Relaxed);
                continue;
            };
            let bytes = span.pages().bytes();
            progress.swept += bytes;
            self.sweep_span(span);
            let free = span.free_slots();
            if free == span.count() {
                self.free_span(span.as_span());
                progress.freed += bytes;
            } else {
                let lists = central.lists.lock();
                if free != 0 {
                    lists.partial.push(span.as_span(), Place::Partial);
                } else {
                    lists.full.push(span.as_span(), Place::Full);
                }
            }
            self.cycle.unswept.fetch_sub(1, Release);
        }
        progress.done = self.is_swept();
        progress
    }

    /// Frees what is dead in a span that was taken to be swept.
    fn sweep_span(&self, span: ObjectSpanPtr) {
        if self.cycle.clobber.load(Relaxed) {
            span.for_each(false, |slot| {
                let object = Object::new(span, slot).base();
                // SAFETY: an object of this span that nobody can reach, and that is not free yet.
                unsafe { object.write_bytes(CLOBBER, span.size()) };
            });
        }
        span.sweep();
    }

    /// Whether the memory of dead objects is to be overwritten when they are freed, so that whoever uses one notices. For tests.
    pub fn clobber_free(&self, clobber: bool) {
        self.cycle.clobber.store(clobber, Relaxed);
    }

    /// Bytes of collected objects: those that the last cycle kept and all allocated since. Spans that threads are filling count as full.
    pub fn collected_bytes(&self) -> usize {
        self.cycle.retained.load(Relaxed) + self.cycle.allocated.load(Relaxed)
    }

    /// Bytes of collected objects allocated since the last cycle began to sweep, counted as in [`collected_bytes`](Self::collected_bytes).
    pub fn allocated_since_cycle(&self) -> usize {
        self.cycle.allocated.load(Relaxed)
    }

    /// Has the hook of [`critical::set_trigger_hook`] called once the bytes of [`allocated_since_cycle`](Self::allocated_since_cycle) reach `bytes`: once per
    /// crossing, by the thread that crosses. If they have already, then never: compare first.
    pub fn set_trigger(&self, bytes: usize) {
        self.cycle.trigger.store(bytes, Relaxed);
    }
}

/// Takes a span that is still to be swept.
fn take_unswept(lists: &ObjectLists) -> Option<ObjectSpanPtr> {
    #[cfg(explore)]
    if goexplore::planted("a span is swept by whoever comes by") {
        let seen = lists
            .unswept_partial
            .pop()
            .or_else(|| lists.unswept_full.pop())?;
        lists.unswept_full.push(seen, Place::Full);
        return seen.as_objects();
    }
    let span: SpanPtr = lists
        .unswept_partial
        .pop()
        .or_else(|| lists.unswept_full.pop())?;
    span.as_objects()
}

/// Takes a slot that reads as zero from the span's current word.
#[inline(always)]
fn take_zeroed(span: ObjectSpanPtr) -> Option<NonNull<u8>> {
    let slot = NonNull::new(with_exposed_provenance_mut::<u8>(span.take_slot()?))?;
    if span.dirty.load(Relaxed) {
        // SAFETY: a slot that was free until now and is this thread's.
        unsafe { slot.write_bytes(0, span.size()) };
    }
    Some(slot)
}
