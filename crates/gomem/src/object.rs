//! Collected objects: what a collector sees of one, and how one is found from an address.

use crate::env::Os;
use crate::heap::Heap;
use crate::page::PAGE_SIZE;
use crate::size_class::{CLASSES, SizeClass};
use crate::sort::CollectedKind;
use crate::span::waiting::WaitingSpan;
use crate::span::{Kind, ObjectSpanPtr, SpanPtr};
use std::marker::PhantomData;
use std::ptr::{NonNull, with_exposed_provenance_mut};

/// A collected object, as found by its address.
///
/// Valid until the sweep that frees it. Used later it is harmless, but speaks of whatever took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<'h> {
    span: ObjectSpanPtr,
    what: What,
    heap: PhantomData<&'h ()>,
}

/// An object's slot, and the kind and the class of its span: in one word, for the whole is passed in two registers then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct What(u64);

impl What {
    #[inline(always)]
    fn new(slot: u32, kind: u8, class: usize) -> What {
        What(u64::from(slot) | u64::from(kind) << 32 | (class as u64) << 40)
    }

    #[inline(always)]
    fn slot(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    fn kind(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// `None` for a large object.
    #[inline(always)]
    fn class(self) -> Option<SizeClass> {
        SizeClass::from_nonzero((self.0 >> 40) as u8)
    }
}

// SAFETY: a reference to a record of atomics.
unsafe impl Send for Object<'_> {}
// SAFETY: as above.
unsafe impl Sync for Object<'_> {}

impl Object<'_> {
    pub(crate) fn new<'h>(span: ObjectSpanPtr, slot: u32) -> Object<'h> {
        Object {
            span,
            what: What::new(slot, span.kind() as u8, span.class_index()),
            heap: PhantomData,
        }
    }

    /// The address of the first byte.
    #[inline]
    pub fn base(self) -> NonNull<u8> {
        let addr = self.span.base() + self.what.slot() as usize * self.size();
        // SAFETY: spans do not lie at address zero.
        unsafe { NonNull::new_unchecked(with_exposed_provenance_mut(addr)) }
    }

    /// Bytes of memory that the object has, at least as many as were asked for.
    #[inline]
    pub fn size(self) -> usize {
        match self.what.class() {
            Some(class) => SizeClass::size_at(class.index()),
            None => self.span.size(),
        }
    }

    /// What it was allocated as.
    #[inline]
    pub fn kind(self) -> CollectedKind {
        match Kind::from_u8(self.what.kind()) {
            Kind::Scan => CollectedKind::Scan,
            Kind::NoScan => CollectedKind::NoScan,
            Kind::Finalizable => CollectedKind::Finalizable,
            _ => CollectedKind::Tagged,
        }
    }

    /// The tag of its [`Sort`](crate::Sort); 0 if it has none, or if there are too many sorts.
    #[inline]
    pub fn tag(self) -> u64 {
        self.span.tag()
    }

    /// Claims the object, which the caller has just marked, for scanning: false if another marker has, together with its neighbours.
    #[inline]
    pub fn claim(self) -> bool {
        self.span.claim(self.what.slot())
    }

    /// Has the object, which the caller has just marked, scanned with its neighbours: the span is for the caller to queue, unless it is in a queue already.
    #[inline]
    pub fn wait(self) -> Option<WaitingSpan> {
        self.span.wait().then(|| WaitingSpan::new(self.span))
    }

    /// Marks the object. True to exactly one of any number of callers between two sweeps: the one that has to scan it.
    #[inline]
    pub fn try_mark(self) -> bool {
        self.span.try_mark(self.what.slot())
    }

    /// Whether it was marked since it was last swept.
    #[inline]
    pub fn is_marked(self) -> bool {
        self.span.is_marked(self.what.slot())
    }
}

impl<O: Os> Heap<O> {
    /// The collected object that contains the address; `None` for free slots and all other memory. Answers for any
    /// address, takes no lock.
    #[inline(always)]
    pub fn find(&self, addr: usize) -> Option<Object<'_>> {
        let entry = self.map.entry(addr)?;
        if let Some((kind, class)) = entry.one_page() {
            let slot = class.index_in_page(addr % PAGE_SIZE)?;
            // SAFETY: entries that say so are of records of object spans.
            let span = unsafe { entry.span().assume_objects() };
            return span.is_taken(slot).then_some(Object {
                span,
                what: What::new(slot, kind, class.index()),
                heap: PhantomData,
            });
        }
        let span = entry.span().as_objects()?;
        let slot = span.index_of(addr);
        span.is_allocated(slot).then(|| Object::new(span, slot))
    }

    /// Asks the processor to fetch what [`find`](Self::find) and [`Object::try_mark`] will read for `addr`.
    #[inline]
    pub fn prefetch(&self, addr: usize) {
        let Some(entry) = self.map.entry(addr) else {
            return;
        };
        let span = entry.span();
        match entry.one_page() {
            Some((_, class)) => {
                let slot = class.index_in_page(addr % PAGE_SIZE).unwrap_or(0);
                // SAFETY: entries that say so are of records of object spans.
                unsafe { span.assume_objects() }.prefetch_slot(slot);
            }
            None => span.prefetch(),
        }
    }

    /// Calls `visit` with every object whose mark is set. Objects marked meanwhile may be missed.
    pub fn for_each_marked<'h>(&'h self, mut visit: impl FnMut(Object<'h>)) {
        self.for_each_object_span(|span| {
            span.for_each(true, |slot| visit(Object::new(span, slot)));
        });
    }

    /// Calls `visit` with every object of the kind [`Finalizable`](CollectedKind::Finalizable) whose mark is clear, and with slots that threads have taken in
    /// advance and not made objects of, which read as zero. Called when marking is complete and the world is stopped, before [`start_sweep`](Self::start_sweep), for the embedder to mark those that it wants to keep, with what they reach.
    ///
    /// Looks at the spans of that kind only, for the world stands still.
    pub fn for_each_unmarked_finalizable<'h>(&'h self, mut visit: impl FnMut(Object<'h>)) {
        let _section = crate::critical::enter();
        let mut of_span = |span: ObjectSpanPtr| {
            span.for_each(false, |slot| visit(Object::new(span, slot)));
        };
        for cache in self.caches() {
            for class in SizeClass::all() {
                let run = cache.run(CollectedKind::Finalizable.index(), class);
                run.span().map(&mut of_span);
            }
        }
        for class in 0..CLASSES {
            let central = self.objects.of_kind(CollectedKind::Finalizable, class);
            let Some(central) = self.objects.get(central) else {
                continue;
            };
            let lists = central.lists.lock();
            for list in [&lists.partial, &lists.full] {
                list.iter()
                    .filter_map(SpanPtr::as_objects)
                    .for_each(&mut of_span);
            }
        }
    }

    pub(crate) fn for_each_object_span(&self, mut visit: impl FnMut(ObjectSpanPtr)) {
        let section = crate::critical::enter();
        let mut block = self.pages.lock().slabs().1.newest();
        drop(section);
        while let Some(records) = block {
            // SAFETY: blocks are never unmapped and their links never change; records are atomics.
            let records = unsafe { records.as_ref() };
            for record in &records.records {
                if record.kind().is_collected() {
                    // SAFETY: a record.
                    visit(unsafe { ObjectSpanPtr::new(NonNull::from(record)) });
                }
            }
            block = records.next;
        }
    }
}
