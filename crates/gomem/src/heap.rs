//! The heap: spans made of pages, on behalf of everything above.
//!
//! Lock order: `reclaiming`, `shared_cache`, a quarantine's, a central list's, `pages`, `arming`. Every method enters a critical section itself or is internal to one that did.

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};
use crate::cache::{Cache, CachePtr};
use crate::central::{MallocCentral, ObjectCentrals};
use crate::env::{Os, Refused};
use crate::hardening::Hardening;
use crate::lock::{Lock, Locked};
use crate::page::{PAGE_SIZE, PageCount};
use crate::page_alloc::PageRuns;
use crate::pages::{Left, Pages};
use crate::size_class::{CLASSES, SizeClass};
use crate::sort::CollectedKind;
use crate::span::{Guards, Kind, ObjectSpanPtr, SpanInit, SpanPtr};
use crate::span_map::SpanMap;
use crate::spare::Spare;
use std::ops::Range;
use std::ptr::{NonNull, null_mut, with_exposed_provenance_mut};

/// A heap: malloc blocks, collected objects and manual memory, over the address space of one [`Os`].
///
/// The process has one, [`heap()`](crate::heap()), which its threads use through caches of their own. Other heaps are for tests and
/// embedders; they are used through a [`Mutator`](crate::Mutator) per thread. Nothing is allocated before the first use, and a heap
/// that is dropped gives its memory back only as far as its `Os` does when dropped.
pub struct Heap<O: Os> {
    pub(crate) os: O,
    on_surplus: Option<fn()>,
    pub(crate) map: SpanMap,
    pub(crate) pages: Lock<Pages>,
    pub(crate) malloc: [MallocCentral; CLASSES],
    pub(crate) objects: ObjectCentrals,
    /// All caches ever made, linked through `older`.
    newest_cache: AtomicPtr<Cache>,
    /// For threads without a cache of their own.
    pub(crate) shared_cache: Lock<Option<CachePtr>>,
    pub(crate) spare: Spare,
    /// Held by who takes idle caches, see [`reclaim`](crate::reclaim).
    pub(crate) reclaiming: Lock<()>,
    /// Held by who gives a cache another count of blocks to hand out before the next sample, and by who reads what it has handed out.
    pub(crate) arming: Lock<()>,
    pub(crate) counters: Counters,
    /// Blocks in caches are noted, see [`malloc_shares`](Heap::malloc_shares). Of who looks for roots.
    pub(crate) noted: AtomicBool,
    pub(crate) cycle: Cycle,
    pub(crate) hardening: Hardening,
}

/// What is counted outside of caches. Bytes of spans in use by what they are used for, and blocks.
pub(crate) struct Counters {
    pub(crate) malloc: AtomicUsize,
    pub(crate) manual: AtomicUsize,
    pub(crate) collected: AtomicUsize,
    pub(crate) large_mallocs: AtomicU64,
    /// Bytes of these, and by which large blocks grew.
    pub(crate) large_bytes: AtomicU64,
    /// Small ones by class that came from no cache: those of threads without one, and sampled ones.
    pub(crate) apart: [AtomicU64; CLASSES],
}

/// Where the collected part of the heap stands between two collections.
pub(crate) struct Cycle {
    /// Bytes of the objects that the last collection kept.
    pub(crate) retained: AtomicUsize,
    /// Bytes of the objects allocated since, counted a span at a time, ahead of their allocation.
    pub(crate) allocated: AtomicUsize,
    /// Bytes of objects allocated since the last cycle when marking began.
    pub(crate) before_mark: AtomicUsize,
    /// Dead objects are overwritten.
    pub(crate) clobber: AtomicBool,
    /// The trigger hook is called once when the heap has so many bytes.
    pub(crate) trigger: AtomicUsize,
    /// And each time when it has so many.
    pub(crate) bound: AtomicUsize,
    /// Spans yet to be swept, those being swept included.
    pub(crate) unswept: AtomicUsize,
    /// Where the search for the next span to sweep starts.
    pub(crate) hand: AtomicUsize,
    /// New objects are born marked.
    pub(crate) black: AtomicBool,
}

/// What new spans of objects are to be.
#[derive(Clone, Copy)]
pub(crate) struct ObjectsShape {
    pub(crate) kind: CollectedKind,
    /// `None`: one object that takes all the pages.
    pub(crate) class: Option<SizeClass>,
    /// Of each.
    pub(crate) pages: PageCount,
    /// Of the first; where there are more, that of a page.
    pub(crate) align: usize,
    /// The number of the central list.
    pub(crate) central: usize,
    pub(crate) tag: u64,
}

/// The most spans that are made at once.
pub(crate) const MOST_SPANS: usize = 8;
/// Pages behind a new span of small blocks that are given physical memory together with it, when the heap grows.
const WARM: PageCount = PageCount(4);
/// From so many bytes in use on: of these it is one in a hundred.
const WARM_FROM: usize = 3 << 20;

/// Free memory, beyond a tenth of what is in use, that is worth a thread to give it back.
const SURPLUS_MIN: usize = 8 << 20;

/// The addresses of a span that lead to it. Only of those spans whose blocks are looked up by addresses inside must that be all.
fn mapped(span: SpanPtr) -> Range<usize> {
    match span.kind() {
        Kind::MallocLarge | Kind::Manual => span.base()..span.base() + PAGE_SIZE,
        _ => span.bytes(),
    }
}

impl<O: Os> Heap<O> {
    /// A heap that has no memory yet.
    pub const fn new(os: O) -> Heap<O> {
        Heap::watched(os, None)
    }

    /// The same; `on_surplus` is called, inside of critical sections, when there is much free memory.
    pub(crate) const fn watched(os: O, on_surplus: Option<fn()>) -> Heap<O> {
        Heap {
            os,
            on_surplus,
            map: SpanMap::new(),
            pages: Lock::new(Pages::new()),
            malloc: [const { MallocCentral::new() }; CLASSES],
            objects: ObjectCentrals::new(),
            newest_cache: AtomicPtr::new(null_mut()),
            shared_cache: Lock::new(None),
            spare: Spare::new(),
            reclaiming: Lock::new(()),
            arming: Lock::new(()),
            counters: Counters {
                malloc: AtomicUsize::new(0),
                manual: AtomicUsize::new(0),
                collected: AtomicUsize::new(0),
                large_mallocs: AtomicU64::new(0),
                large_bytes: AtomicU64::new(0),
                apart: [const { AtomicU64::new(0) }; CLASSES],
            },
            noted: AtomicBool::new(false),
            cycle: Cycle {
                retained: AtomicUsize::new(0),
                allocated: AtomicUsize::new(0),
                clobber: AtomicBool::new(false),
                before_mark: AtomicUsize::new(0),
                trigger: AtomicUsize::new(usize::MAX),
                bound: AtomicUsize::new(usize::MAX),
                unswept: AtomicUsize::new(0),
                hand: AtomicUsize::new(0),
                black: AtomicBool::new(false),
            },
            hardening: Hardening::new(),
        }
    }

    /// The addresses between which all of the heap's memory lies, and possibly other memory. Grows only.
    #[inline]
    pub fn bounds(&self) -> Range<usize> {
        self.map.bounds()
    }

    /// The system that the heap's memory comes from.
    pub fn os(&self) -> &O {
        &self.os
    }

    fn counter(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Malloc | Kind::MallocLarge => &self.counters.malloc,
            Kind::Manual => &self.counters.manual,
            _ => &self.counters.collected,
        }
    }

    /// Counts bytes of spans that came into use, or went out of it. Under the heap's lock, so without a read-modify-write.
    pub(crate) fn count_in_use(&self, _: &Locked<'_, Pages>, kind: Kind, bytes: isize) {
        let counter = self.counter(kind);
        counter.store(counter.load(Relaxed).wrapping_add_signed(bytes), Relaxed);
    }

    /// Counts bytes of large blocks that were handed out. As [`count_in_use`](Self::count_in_use).
    pub(crate) fn count_large_bytes(&self, _: &Locked<'_, Pages>, bytes: usize) {
        let counter = &self.counters.large_bytes;
        counter.store(counter.load(Relaxed) + bytes as u64, Relaxed);
    }

    /// Makes a span; of one block that takes `pages` pages, unless there is a class.
    pub(crate) fn new_span(
        &self,
        kind: Kind,
        class: Option<SizeClass>,
        pages: PageCount,
        align: usize,
    ) -> Result<SpanPtr, Refused> {
        self.place_span(kind, class, pages, align, PageCount(0), None)
    }

    /// Makes `n` spans of objects side by side, or fewer, for the central list with the number `central`. Calls `visit` with each.
    ///
    /// # Errors
    /// If there is no memory for the first.
    pub(crate) fn new_object_spans(
        &self,
        n: u32,
        shape: ObjectsShape,
        mut visit: impl FnMut(ObjectSpanPtr),
    ) -> Result<(), Refused> {
        let pages = shape.pages;
        let take = |state: &mut Pages, _| state.take_some(pages, shape.align, n);
        let (mut state, (run, n)) = self.take_pages(pages, shape.align, PageCount(0), take)?;
        let kind = shape.kind.span_kind();
        let mut records = [None; MOST_SPANS];
        let mut made = 0;
        for record in &mut records[..n as usize] {
            let Ok(span) = state.object_span_record(&self.os) else {
                break;
            };
            *record = Some(span);
            made += 1;
        }
        let used = PageCount(made * pages.0);
        if made != n {
            let rest = PageCount((n - made) * pages.0);
            state.put(run.page.plus(used), rest, run.clean);
        }
        self.count_in_use(&state, kind, used.bytes() as isize);
        drop(state);
        if n > 1 && run.clean {
            // SAFETY: spans do not lie at address zero; theirs are committed pages of this heap.
            unsafe {
                let base = NonNull::new_unchecked(with_exposed_provenance_mut(run.base));
                self.os.populate(base, used.bytes());
            }
        }
        let mut place = run;
        for span in records.into_iter().flatten() {
            span.assign(shape.central, shape.tag);
            let record = span.as_span();
            record.init(SpanInit {
                kind,
                class: shape.class,
                page: place.page,
                pages,
                base: place.base,
                dirty: !run.clean,
            });
            self.map.set(mapped(record), Some(record));
            visit(span);
            place.page = place.page.plus(pages);
            place.base += pages.bytes();
        }
        if made == 0 { Err(Refused) } else { Ok(()) }
    }

    /// As [`new_span`](Self::new_span), with `room` free pages behind it if there is as much memory. Which of its pages do not read as zero is noted in `dirty`.
    pub(crate) fn place_span(
        &self,
        kind: Kind,
        class: Option<SizeClass>,
        pages: PageCount,
        align: usize,
        room: PageCount,
        mut dirty: Option<&mut PageRuns>,
    ) -> Result<SpanPtr, Refused> {
        let guards = self.guards_of(kind, align);
        let whole = PageCount(pages.0 + guards.pages().0);
        let take = |state: &mut Pages, room| state.take(whole, align, room, dirty.as_deref_mut());
        let (mut state, run) = self.take_pages(whole, align, room, take)?;
        debug_assert!(!kind.is_collected());
        let span = match state.span_record(&self.os) {
            Ok(span) => span,
            Err(refused) => {
                state.put(run.page, whole, run.clean);
                return Err(refused);
            }
        };
        self.count_in_use(&state, kind, whole.bytes() as isize);
        if kind == Kind::MallocLarge && class.is_none() {
            let blocks = &self.counters.large_mallocs;
            blocks.store(blocks.load(Relaxed) + 1, Relaxed);
            self.count_large_bytes(&state, pages.bytes());
        }
        let small = kind == Kind::Malloc && guards == Guards::NONE;
        let grows = small && run.clean && self.counters.malloc.load(Relaxed) >= WARM_FROM;
        let warm = if grows && state.warm(run.page.plus(pages), WARM) {
            WARM
        } else {
            PageCount(0)
        };
        drop(state);
        if grows {
            // SAFETY: committed pages of this heap. Whoever uses those behind the span by now finds in them what he left there.
            unsafe {
                let base = NonNull::new_unchecked(with_exposed_provenance_mut(run.base));
                self.os.populate(base, pages.bytes() + warm.bytes());
            }
        }
        span.init(SpanInit {
            kind,
            class,
            page: run.page.plus(guards.before),
            pages,
            base: run.base + guards.before.bytes(),
            dirty: !run.clean,
        });
        if guards != Guards::NONE {
            self.install_guards(span, guards, run.clean);
            if let Some(dirty) = dirty {
                dirty.keep(guards.before.0..guards.before.0 + pages.0);
            }
        }
        self.map.set(mapped(span), Some(span));
        Ok(span)
    }

    /// What `take` takes, given how much room there may be; it is to find something where `pages` pages are free, with that room behind them.
    fn take_pages<T>(
        &self,
        pages: PageCount,
        align: usize,
        mut room: PageCount,
        mut take: impl FnMut(&mut Pages, PageCount) -> Option<T>,
    ) -> Result<(Locked<'_, Pages>, T), Refused> {
        let mut state = self.pages.lock();
        if let Some(taken) = take(&mut state, room) {
            return Ok((state, taken));
        }
        drop(state);
        // Blocks on their way between threads may make whole spans free.
        self.drain_transfers(true);
        self.free_spare();
        self.end_quarantine();
        state = self.pages.lock();
        loop {
            if let Some(taken) = take(&mut state, room) {
                return Ok((state, taken));
            }
            if let Err(refused) = state.grow(&self.os, &self.map, pages, align, room) {
                if room == PageCount(0) {
                    return Err(refused);
                }
                room = PageCount(0);
            }
        }
    }

    /// Gives the pages of a span back. Called by who has it to itself; nothing of it is in use.
    pub(crate) fn free_span(&self, span: SpanPtr) {
        self.retire_span(span, Left::Dirty);
    }

    /// The same, of a span whose pages were left like that.
    pub(crate) fn retire_span(&self, span: SpanPtr, left: Left) {
        let (page, pages, kind) = (span.page(), span.pages(), span.kind());
        let guards = span.guards();
        let left = self.remove_guards(span, guards, left);
        self.map.set(mapped(span), None);
        if kind == Kind::MallocLarge {
            crate::samples::forget(span.sample());
        }
        span.retire();
        let mut state = self.pages.lock();
        let whole = PageCount(pages.0 + guards.pages().0);
        self.count_in_use(&state, kind, -(whole.bytes() as isize));
        state.put_left(page, pages, left);
        if guards != Guards::NONE {
            // Nothing was written to them.
            let left = left.min(Left::Clean);
            state.put_guards(page, pages, guards, left);
        }
        state.put_record(span, kind.is_collected());
        let surplus = state.surplus();
        drop(state);
        self.note_surplus(surplus);
    }

    /// Tells who gives memory back that there is enough of it to be worth while.
    #[inline]
    pub(crate) fn note_surplus(&self, surplus: usize) {
        if surplus > SURPLUS_MIN
            && let Some(hook) = self.on_surplus
            && surplus - SURPLUS_MIN > self.in_use() / 10
        {
            hook();
        }
    }

    /// A cache for a thread to use.
    pub(crate) fn attach_cache(&self) -> Result<CachePtr, Refused> {
        let mut state = self.pages.lock();
        let (cache, new) = state.cache_record(&self.os)?;
        if self.is_hardened() {
            SizeClass::all().for_each(|class| cache.close(class));
            cache.thread.store(0, Relaxed);
        }
        if new {
            cache.older.store(self.newest_cache.load(Relaxed), Relaxed);
            self.newest_cache.store(cache.as_ptr(), Release);
        }
        Ok(cache)
    }

    /// Takes every lock of the heap, in the order of [`lock`](crate::lock), until [`release_locks`](Self::release_locks).
    pub(crate) fn acquire_locks(&self) {
        self.reclaiming.acquire();
        self.shared_cache.acquire();
        self.hardening.acquire_locks();
        self.malloc.iter().for_each(|c| c.lists.acquire());
        self.objects.iter().for_each(|c| c.lists.acquire());
        self.pages.acquire();
        self.arming.acquire();
    }

    /// Ends what [`acquire_locks`](Self::acquire_locks) began.
    ///
    /// # Safety
    /// 1. As for [`Lock::release`], of `acquire_locks`.
    pub(crate) unsafe fn release_locks(&self) {
        // SAFETY: (1), here and below.
        unsafe {
            self.arming.release();
            self.pages.release();
            for central in self.objects.iter() {
                central.lists.release();
            }
            for central in &self.malloc {
                central.lists.release();
            }
            self.hardening.release_locks();
            self.shared_cache.release();
            self.reclaiming.release();
        }
    }

    /// All caches, attached or not.
    pub(crate) fn caches(&self) -> impl Iterator<Item = CachePtr> {
        // SAFETY: records or null.
        let from = |raw| unsafe { CachePtr::from_raw(raw) };
        std::iter::successors(from(self.newest_cache.load(Acquire)), move |cache| {
            from(cache.older.load(Relaxed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SimOs;

    /// Every page of a heap that grows is given its memory once, and few before they are used; a small heap's are left to page faults.
    #[test]
    fn a_heap_that_grows_has_its_next_pages_given_memory() {
        let heap = Heap::new(SimOs::default());
        let cache = heap.attach_cache().unwrap();
        let class = SizeClass::of(1024);
        let surplus = || heap.pages.lock().surplus();
        let populated = || heap.os.populated.load(Relaxed);
        let mut before = 0;
        while heap.in_use() < WARM_FROM {
            assert_eq!((populated(), surplus()), (0, 0));
            before = heap.in_use();
            heap.malloc_small(cache, class).unwrap();
        }
        let mut warm = 0;
        while heap.in_use() < WARM_FROM + (64 << 10) {
            heap.malloc_small(cache, class).unwrap();
            assert_eq!(populated(), heap.in_use() - before + surplus());
            warm = surplus().max(warm);
        }
        assert!((1..=WARM.bytes()).contains(&warm), "{warm}");
    }
}
