//! The collected heap as the collector sees it: gomem's spans, and what goruntime's tags and object headers say.
//!
//! Objects of a sort are scanned by span, the others one at a time.

use crate::finalizer::{Found, Task};
use crate::gc::{Handle, Header, PointerMap, Tag, TypeInfo};
use gogc::specials::{Dead, Specials};
use gogc::{Bytes, HeapUsage, HeapView, ObjectAddr, SpanId, SweepStep, Wait, WordSink};
use gomem::{CollectedKind, Object, WaitingSpan};
use std::ops::Range;
use std::ptr::with_exposed_provenance;

/// The process's collected heap.
#[derive(Default)]
pub(crate) struct GoHeap {
    found: Found,
    specials: Specials<Task>,
}

impl GoHeap {
    /// Hands what the last cycle found to be done for dead objects to the goroutines that do it.
    pub(crate) fn hand_over_dead(&self) {
        self.found.hand_over();
    }

    /// What is attached to objects. Its locks are taken in critical sections of the allocator, and by the collector's thread in a stop.
    pub(crate) fn specials(&self) -> &Specials<Task> {
        &self.specials
    }
}

/// Whether the object at this address, at which there is one, is marked.
fn is_marked(address: usize) -> bool {
    gomem::heap()
        .find(address)
        .is_some_and(|object| object.is_marked())
}

/// The header of the object at `base`, which is of a kind that has one.
fn header<'a>(base: *mut u8) -> &'a Header {
    // SAFETY: the collector passes only objects that `resolve` found.
    unsafe { Header::of(base) }
}

/// Where an object's pointers are.
enum Layout {
    /// In these of its words.
    Words(u64),
    /// In a value, which lies so many bytes behind its start.
    Value(&'static TypeInfo, usize),
    /// Anywhere.
    Unknown,
    Nowhere,
}

impl Layout {
    fn of(object: Object<'static>) -> Layout {
        if object.kind() == CollectedKind::Tagged {
            return Layout::of_tag(object.tag(), object.size());
        }
        match header(object.base().as_ptr()).info() {
            Some(info) => Layout::Value(info, info.offset()),
            None => Layout::Nowhere,
        }
    }

    #[inline]
    fn of_tag(tag: u64, size: usize) -> Layout {
        match Tag::of(tag, size) {
            Tag::Words(words) => Layout::Words(words),
            Tag::Type(info) => Layout::Value(info, 0),
            Tag::Unknown => Layout::Unknown,
        }
    }

    /// How many bytes from the start may hold pointers, of an object at `base` that has `size`.
    #[inline]
    fn scannable(&self, base: *const u8, size: usize) -> usize {
        match *self {
            Layout::Words(words) => (64 - words.leading_zeros() as usize) * WORD,
            // SAFETY: the value of an object with this layout lies there.
            Layout::Value(info, offset) => unsafe {
                offset + info.scannable(base.wrapping_add(offset), size - offset)
            },
            Layout::Unknown => size,
            Layout::Nowhere => 0,
        }
    }

    /// Gives `sink` the words of the bytes `range` that may be pointers, of an object at `base` that has `size`.
    fn scan(&self, base: *const u8, size: usize, range: Range<usize>, sink: &mut impl WordSink) {
        let first = range.start / WORD;
        let count = (range.end / WORD).saturating_sub(first);
        match *self {
            Layout::Words(words) if count != 0 => {
                let mask = words >> first & u64::MAX >> 64_usize.saturating_sub(count);
                // SAFETY: words of an object, on a word bound.
                unsafe { sink.masked(base.cast::<usize>().wrapping_add(first), mask) }
            }
            Layout::Value(info, offset) => {
                let part = range.start.saturating_sub(offset)..range.end.saturating_sub(offset);
                // SAFETY: the value of an object with this layout lies there.
                unsafe { info.scan(base.wrapping_add(offset), size - offset, part, sink) }
            }
            Layout::Unknown => PointerMap::conservative(size).for_each_mask(range, |at, mask| {
                // SAFETY: as above.
                unsafe { sink.masked(base.wrapping_add(at).cast(), mask) }
            }),
            _ => {}
        }
    }
}

/// Gives `sink` the words of an object that may be pointers.
pub(super) fn scan_object(object: Object<'static>, sink: &mut impl WordSink) {
    if object.kind() == CollectedKind::NoScan {
        return;
    }
    let (base, size) = (object.base().as_ptr(), object.size());
    let layout = Layout::of(object);
    layout.scan(base, size, 0..layout.scannable(base, size), sink);
}

/// The type of an object, if it has a header that says it.
pub(crate) fn type_of(object: Object<'static>) -> Option<&'static TypeInfo> {
    match object.kind() {
        CollectedKind::Scan | CollectedKind::Finalizable => header(object.base().as_ptr()).info(),
        CollectedKind::NoScan | CollectedKind::Tagged => None,
    }
}

const WORD: usize = size_of::<usize>();

impl GoHeap {
    fn object_at(&self, object: ObjectAddr) -> Object<'static> {
        match gomem::heap().find(object.0) {
            Some(object) => object,
            None => unreachable!("a marked object is not freed while marking"),
        }
    }
}

/// The span that an entry of a queue stands for.
#[inline]
fn waiting(span: SpanId) -> WaitingSpan {
    // SAFETY: the collector passes only what `wait` gave it, of the heap of the process.
    unsafe { WaitingSpan::from_raw(span.0) }
}

// SAFETY:
// 1. `Heap::find` answers for every address, finds interior ones, and nothing but slots that are allocated or that a thread has taken for its next objects; an object whose
//    header is null scans as empty, and one of a sort scans as words to be checked, whatever it holds.
// 2. The bounds of the heap contain all spans.
//    Both hold also for objects that are born while others look: a slot is marked before it is taken, and a span tells last what it is.
// 3. `try_mark` is an atomic read-modify-write of the mark bit.
// 4. and 5. The tag, or the pointer map of the header's type, covers every word that may hold a pointer; objects of the kind `NoScan` have none.
// 6. `gomem::Heap::start_mark` sees to the marks, `gc::object` to the pointers.
// 7. gomem frees unmarked objects only, in the sweep that `start_sweep` begins.
// 8. gomem's locks, and those of `specials`, are held in critical sections, in which nobody is stopped; `Found` is the collector's own.
// 9. By the protocol of gomem's `WaitingSpan`.
unsafe impl HeapView for GoHeap {
    type Object = Object<'static>;

    #[inline]
    fn bounds(&self) -> Range<usize> {
        gomem::heap().bounds()
    }

    #[inline(always)]
    fn resolve(&self, word: usize) -> Option<Object<'static>> {
        gomem::heap().find(word)
    }

    #[inline(always)]
    fn prefetch(&self, word: usize) {
        gomem::heap().prefetch(word);
    }

    #[inline(always)]
    fn try_mark(&self, object: Object<'static>) -> bool {
        object.try_mark()
    }

    #[inline]
    fn is_marked(&self, object: Object<'static>) -> bool {
        object.is_marked()
    }

    #[inline]
    fn start(&self, object: Object<'static>) -> ObjectAddr {
        ObjectAddr(object.base().as_ptr().expose_provenance())
    }

    #[inline]
    fn size(&self, object: Object<'static>) -> usize {
        object.size()
    }

    #[inline]
    fn pointer_free(&self, object: Object<'static>) -> bool {
        object.kind() == CollectedKind::NoScan
    }

    fn scannable(&self, object: ObjectAddr) -> usize {
        let object = self.object_at(object);
        Layout::of(object).scannable(object.base().as_ptr(), object.size())
    }

    fn scan(&self, object: ObjectAddr, range: Range<usize>, sink: &mut impl WordSink) {
        let object = self.object_at(object);
        Layout::of(object).scan(object.base().as_ptr(), object.size(), range, sink);
    }

    #[inline]
    fn wait(&self, object: Object<'static>) -> Wait {
        if object.kind() != CollectedKind::Tagged {
            return Wait::Alone;
        }
        match object.wait() {
            Some(span) => Wait::Queue(SpanId(span.into_raw())),
            None => Wait::InSpan,
        }
    }

    #[inline]
    fn scan_now(&self, object: Object<'static>, sink: &mut impl WordSink) -> Option<Bytes> {
        if object.kind() != CollectedKind::Tagged {
            return None;
        }
        if !object.claim() {
            return Some(Bytes(0));
        }
        let (base, size) = (object.base().as_ptr(), object.size());
        let layout = Layout::of_tag(object.tag(), size);
        let bytes = layout.scannable(base, size);
        layout.scan(base, size, 0..bytes, sink);
        Some(Bytes(bytes as u64))
    }

    #[inline]
    fn prefetch_waiting(&self, span: SpanId) {
        waiting(span).for_each_unclaimed(|objects| {
            objects.addresses().for_each(gogc::word::prefetch);
        });
    }

    #[inline]
    fn prefetch_span(&self, span: SpanId) {
        waiting(span).prefetch();
    }

    fn scan_span(&self, span: SpanId, sink: &mut impl WordSink) -> Bytes {
        let span = waiting(span);
        let tag = span.tag();
        let mut scanned = 0;
        span.claim(|claimed| {
            match Layout::of_tag(tag, claimed.size) {
                Layout::Words(words) => {
                    for addr in claimed.addresses() {
                        // SAFETY: words of an object, on a word bound.
                        unsafe { sink.masked(with_exposed_provenance(addr), words) };
                    }
                    let each = Layout::Words(words).scannable(std::ptr::null(), claimed.size);
                    scanned += claimed.objects.count_ones() as usize * each;
                }
                layout => {
                    for addr in claimed.addresses() {
                        let base = with_exposed_provenance(addr);
                        let bytes = layout.scannable(base, claimed.size);
                        layout.scan(base, claimed.size, 0..bytes, sink);
                        scanned += bytes;
                    }
                }
            }
        });
        Bytes(scanned as u64)
    }

    fn forget_span(&self, span: SpanId) {
        waiting(span).forget();
    }

    fn for_each_marked(&self, visit: &mut impl FnMut(Object<'static>)) {
        gomem::heap().for_each_marked(visit);
    }

    /// Marks are clear already: sweeping clears them.
    fn start_mark(&self) {
        // SAFETY: the collector calls this when everything is swept and the world stands still outside of critical sections; its own team waits.
        unsafe { gomem::heap().start_mark() };
        crate::collector::mark_begins();
    }

    fn look_ahead(&self) {
        self.specials.look_ahead(is_marked, gomem::critical::enter);
    }

    fn before_sweep(&self, revive: &mut impl FnMut(Object<'static>)) {
        // Before anything is kept for its drop glue: weak pointers to that lead nowhere.
        self.specials.settle(is_marked, |dead| match dead {
            // SAFETY: a handle that was attached stays until this says that it is dead; the world is stopped.
            Dead::Target(handle) => unsafe { Handle::empty(handle) },
            Dead::Cleanup(task) => self.found.push(task),
        });
        gomem::heap().for_each_unmarked_finalizable(|object| {
            let base = object.base().as_ptr();
            if let Some(info) = header(base).clear().filter(|info| info.needs_drop()) {
                self.found.push_dead(base, info);
                // Without a header it has no children to keep.
                revive(object);
            }
        });
    }

    fn start_sweep(&self, marked: Bytes) {
        // SAFETY: the collector calls this when marking is complete and the world stands still outside of critical sections; its own team
        // waits.
        unsafe { gomem::heap().start_sweep_of(usize::try_from(marked.0).unwrap_or(usize::MAX)) };
        crate::collector::mark_ends();
    }

    fn sweep(&self, limit: Bytes) -> SweepStep {
        let progress = gomem::heap().sweep_some(usize::try_from(limit.0).unwrap_or(usize::MAX));
        SweepStep {
            swept: Bytes(progress.swept as u64),
            done: progress.done,
        }
    }

    fn usage(&self) -> HeapUsage {
        let usage = gomem::heap().usage();
        HeapUsage {
            collected: Bytes(usage.collected as u64),
            external: Bytes(usage.malloc as u64),
            mapped: Bytes(usage.mapped as u64),
            idle: Bytes(usage.idle as u64),
        }
    }
}
