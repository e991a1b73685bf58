//! Allocating collected objects, and sweeping them.
//!
//! A cycle, as the collector drives it: (world stopped) mark, [`for_each_unmarked_finalizable`](Heap::for_each_unmarked_finalizable),
//! [`start_sweep`](Heap::start_sweep); (world running) the spans are swept a few at a time, by whoever needs a span of that kind and class and by
//! calls of [`sweep_some`](Heap::sweep_some). There are no sweep generations on spans, as Go has: a span is in an *unswept* list or it
//! is not, and who takes it from there is the one who sweeps it.
//!
//! A collector that marks while threads run begins with [`start_mark`](Heap::start_mark): from then until the sweep, objects are born marked. That costs
//! nothing where objects are allocated, as the slots of a run are marked when a cache takes it.
//!
//! Invariant: `start_sweep` takes the spans away from all caches, and only swept or new spans are given to caches. So no object
//! allocated after it is freed by its sweep.

use crate::atomic::Ordering::*;
use crate::cache::{Cache, CachePtr, Run};
use crate::central::{ObjectCentral, ObjectLists};
use crate::critical;
use crate::env::Os;
use crate::heap::{Cycle, Heap, MOST_SPANS, ObjectsShape};
use crate::object::Object;
use crate::page::{PAGE_SIZE, PageCount};
use crate::size_class::{SMALL_MAX, SizeClass};
use crate::sort::{CollectedKind, Sort};
use crate::span::{MIN_OBJECT, ObjectSpanPtr, Place, SpanPtr};
use std::ops::Range;
use std::ptr::{NonNull, with_exposed_provenance_mut};

/// How many spans without a free slot are swept in search of one before a new span is made; as in Go.
const SWEEP_BUDGET: u32 = 100;

/// How many bytes of spans are swept, at most, in search of free pages before pages are taken that have no memory yet; as in Go. Some tens of microseconds where objects are small.
const RECLAIM_BUDGET: usize = 4 << 20;

/// What is swept of them between two looks whether there are free pages now.
const RECLAIM_STEP: PageCount = PageCount(16);

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

/// Which objects a run is to be refilled with.
#[derive(Clone, Copy)]
struct Source {
    /// The number of the central list.
    central: usize,
    kind: CollectedKind,
    class: SizeClass,
    tag: u64,
    /// What the run is to be known by.
    key: u64,
}

impl<O: Os> Heap<O> {
    /// An object by way of the calling thread's cache, or of none: then only if that takes no new run.
    #[inline(always)]
    pub(crate) fn object_from(
        &self,
        cache: &Cache,
        size: usize,
        align: usize,
        kind: CollectedKind,
    ) -> Option<NonNull<u8>> {
        let class = class_of(size, align)?;
        cache
            .run(kind.index(), class)
            .take(class.size())
            .map(object_at)
    }

    /// The same of a sort.
    #[inline(always)]
    pub(crate) fn sorted_from(&self, cache: &Cache, sort: Sort) -> Option<NonNull<u8>> {
        cache.take_of_sort(sort).map(object_at)
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
        let Some(class) = class_of(size, align) else {
            return Some(self.prepare_collected(size, align, kind)?.publish());
        };
        let source = Source {
            central: self.objects.of_kind(kind, class.index()),
            kind,
            class,
            tag: 0,
            key: 0,
        };
        self.object_of(cache.run(kind.index(), class), source)
    }

    /// An object, when [`sorted_from`](Self::sorted_from) had none.
    #[cold]
    pub(crate) fn sorted_slow(&self, cache: CachePtr, sort: Sort) -> Option<NonNull<u8>> {
        let (kind, class) = (CollectedKind::Tagged, sort.class());
        let Some(central) = self.objects.of_sort(sort) else {
            return self.object_slow(cache, class.size(), 8, kind);
        };
        let run = cache.run_of_sort(sort);
        let source = Source {
            central,
            kind,
            class,
            tag: sort.tag(),
            key: sort.key(),
        };
        self.object_of(run, source)
    }

    /// The next object of a run, which is refilled if it is at its end or of another sort.
    fn object_of(&self, run: &Run, source: Source) -> Option<NonNull<u8>> {
        let slots = match run.span() {
            Some(span) if run.holds(source.key) => {
                if let Some(object) = run.take(source.class.size()) {
                    return Some(object_at(object));
                }
                self.take_slots(span, source.kind)
            }
            _ => None,
        };
        let slots = match slots {
            Some(slots) => slots,
            None => {
                self.flush_run(run);
                let span = self.span_with_room(source)?;
                run.set_span(Some(span), source.key);
                // As if all slots were allocated at once; what is not is deducted when the cache gives the span back.
                self.charge(span.free_slots() as usize * span.size());
                self.take_slots(span, source.kind)?
            }
        };
        let object = slots.start;
        run.set_rest(object + source.class.size()..slots.end);
        Some(object_at(object))
    }

    /// Slots of a span that the caller holds, as objects of the kind are to be when they are born.
    fn take_slots(&self, span: ObjectSpanPtr, kind: CollectedKind) -> Option<Range<usize>> {
        let slots = span.take_run(self.cycle.black.load(Relaxed))?;
        // SAFETY: slots that were free until now and are this thread's.
        unsafe { self.fill(span, slots.clone(), kind) };
        Some(slots)
    }

    /// Has free slots of a span read as objects of the kind are to read when they are born.
    ///
    /// # Safety
    /// 1. The slots are the caller's.
    pub(crate) unsafe fn fill(
        &self,
        span: ObjectSpanPtr,
        slots: Range<usize>,
        kind: CollectedKind,
    ) {
        let fill = match kind.is_zeroed() {
            true => span.dirty.load(Relaxed).then_some(0),
            // The pages may have been of something else.
            false => self.cycle.clobber.load(Relaxed).then_some(CLOBBER),
        };
        if let Some(byte) = fill {
            let first = with_exposed_provenance_mut::<u8>(slots.start);
            // SAFETY: (1).
            unsafe { first.write_bytes(byte, slots.len()) };
        }
    }

    /// A swept span with a free slot, which is now in no list, or a new one.
    fn span_with_room(&self, source: Source) -> Option<ObjectSpanPtr> {
        let central = self.objects.get(source.central)?;
        for _ in 0..SWEEP_BUDGET {
            let lists = central.lists.lock();
            if let Some(span) = lists.partial.pop() {
                return span.as_objects();
            }
            let Some(span) = take_unswept(&lists) else {
                break;
            };
            drop(lists);
            self.sweep_span(span);
            self.cycle.unswept.fetch_sub(1, Release);
            if span.free_slots() != 0 {
                return Some(span);
            }
            let lists = central.lists.lock();
            lists.full.push(span.as_span(), Place::Full);
        }
        self.new_spans(central, source)
    }

    /// A new span, which is in no list. The more there are already, the more are made at once, up to a sixteenth of them: that spares page faults and locks.
    fn new_spans(&self, central: &ObjectCentral, source: Source) -> Option<ObjectSpanPtr> {
        let shape = ObjectsShape {
            kind: source.kind,
            class: Some(source.class),
            pages: PageCount(source.class.pages()),
            align: PAGE_SIZE,
            central: source.central,
            tag: source.tag,
        };
        let most = (MOST_SPANS as u32 / shape.pages.0).max(1);
        let n = (central.lists.lock().made / 16).clamp(1, most);
        self.reclaim(PageCount(n * shape.pages.0));
        let mut first = None;
        let visit = |span: ObjectSpanPtr| {
            let mut lists = central.lists.lock();
            lists.made += 1;
            if first.is_none() {
                first = Some(span);
            } else {
                lists.partial.push(span.as_span(), Place::Partial);
            }
        };
        // Refused: none was visited.
        let _ = self.new_object_spans(n, shape, visit);
        first
    }

    pub(crate) fn central_of(&self, span: ObjectSpanPtr) -> Option<&ObjectCentral> {
        self.objects.get(span.central())
    }

    /// Puts a swept span that is in no list where it belongs.
    pub(crate) fn put_span(&self, span: ObjectSpanPtr) {
        let Some(central) = self.central_of(span) else {
            return;
        };
        let has_room = span.free_slots() != 0;
        let lists = central.lists.lock();
        if has_room {
            lists.partial.push(span.as_span(), Place::Partial);
        } else {
            lists.full.push(span.as_span(), Place::Full);
        }
    }

    /// Counts bytes as allocated.
    pub(crate) fn charge(&self, bytes: usize) {
        self.cycle.allocated.fetch_add(bytes, Relaxed);
        self.check_trigger();
    }

    /// Has the hook of [`critical::set_trigger_hook`] called at the end of the section, if it is to be: see [`set_trigger`](Self::set_trigger). While objects are being
    /// marked it always is.
    ///
    /// That is done whenever a thread has taken memory for more collected objects. To be called besides in a critical section in which an object was made that
    /// owns blocks: nobody looks at the trigger when a block is allocated, for whoever does that may hold what the hook needs.
    pub fn check_trigger(&self) {
        let Cycle { trigger, bound, .. } = &self.cycle;
        let bytes = self.heap_bytes();
        let is_first =
            || bytes >= trigger.load(Relaxed) && trigger.swap(usize::MAX, Relaxed) != usize::MAX;
        if self.is_marking() || bytes >= bound.load(Relaxed) || is_first() {
            critical::request_trigger();
        }
    }

    /// Between [`start_mark`](Self::start_mark) and the sweep.
    pub(crate) fn is_marking(&self) -> bool {
        self.cycle.black.load(Relaxed)
    }

    /// From now on objects are born marked and scanned, so that a marker beside the program does not have to look for them; and the trigger hook is called
    /// whenever a thread has taken memory for more of them. Until [`start_sweep`](Self::start_sweep).
    ///
    /// # Safety
    /// 1. No other thread is in a critical section, nor enters one before this returns: the world is stopped.
    /// 2. Everything is [swept](Self::is_swept).
    pub unsafe fn start_mark(&self) {
        self.cycle.black.store(true, Relaxed);
        // What is charged already and not yet taken.
        let mut ahead = 0;
        for cache in self.caches() {
            for run in cache.runs() {
                if let Some(span) = run.span() {
                    span.blacken(run.rest());
                    ahead += span.free_slots() as usize * span.size() + run.rest().len();
                }
            }
        }
        let allocated = self.cycle.allocated.load(Relaxed);
        self.cycle
            .before_mark
            .store(allocated.saturating_sub(ahead), Relaxed);
    }

    /// Gives the spans of objects that a cache holds to the central lists. Called by the cache's thread, or with the world stopped.
    pub(crate) fn flush_objects(&self, cache: CachePtr) {
        for run in cache.runs() {
            self.flush_run(run);
        }
    }

    fn flush_run(&self, run: &Run) {
        let Some(span) = run.span() else { return };
        span.put_run(run.rest());
        run.set_span(None, 0);
        let unused = span.free_slots() as usize * span.size();
        self.cycle.allocated.fetch_sub(unused, Relaxed);
        self.put_span(span);
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
        if self.cycle.black.swap(false, Relaxed) {
            let before = self.cycle.before_mark.load(Relaxed);
            born = self.cycle.allocated.load(Relaxed).saturating_sub(before);
        }
        let mut unswept = 0;
        for central in self.objects.iter() {
            let ObjectLists {
                partial,
                full,
                unswept_partial,
                unswept_full,
                ..
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

    /// To be called before so many pages are taken for objects: memory that is garbage already comes before memory that is new, and whoever takes some sweeps as much.
    pub(crate) fn reclaim(&self, pages: PageCount) {
        if self.is_swept() {
            return;
        }
        let mut progress = self.sweep_pages(pages);
        let has_room = || self.pages.lock().surplus() >= pages.bytes();
        while !progress.done && progress.swept < RECLAIM_BUDGET && !has_room() {
            let step = self.sweep_pages(RECLAIM_STEP);
            progress.swept += step.swept;
            progress.done = step.done || step.swept == 0;
        }
    }

    fn sweep_pages(&self, pages: PageCount) -> SweepProgress {
        let mut progress = SweepProgress::default();
        while progress.swept < pages.bytes() && !self.is_swept() {
            let hand = self.cycle.hand.load(Relaxed);
            let Some(central) = self.objects.get(hand) else {
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
            if span.free_slots() == span.count() {
                central.lists.lock().made -= 1;
                self.free_span(span.as_span());
                progress.freed += bytes;
            } else {
                self.put_span(span);
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

    /// Bytes of collected objects, counted so, and of malloc spans in use.
    pub fn heap_bytes(&self) -> usize {
        self.collected_bytes() + self.malloc_in_use()
    }

    /// Has the hook of [`critical::set_trigger_hook`] called once, by the first thread that [looks](Self::check_trigger) when [`heap_bytes`](Self::heap_bytes) have
    /// reached `bytes`; and each time, by every thread, when they have reached `bound`. However long the first is held up, the others come no further than that.
    pub fn set_trigger(&self, bytes: usize, bound: usize) {
        self.cycle.bound.store(bound, Relaxed);
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

/// The object at an address that a run gave.
#[inline(always)]
fn object_at(addr: usize) -> NonNull<u8> {
    // SAFETY: runs are of spans, which do not lie at address zero.
    unsafe { NonNull::new_unchecked(with_exposed_provenance_mut(addr)) }
}

#[cfg(test)]
mod tests;
