//! The collected heap as the collector sees it: gomem's spans, and goruntime's object headers.

use crate::finalizer::Found;
use crate::gc::Header;
use gogc::{Bytes, HeapUsage, HeapView, ObjectAddr, SweepStep};
use gomem::{CollectedKind, Object};
use std::ops::Range;
use std::ptr::with_exposed_provenance_mut;

/// The process's collected heap.
#[derive(Default)]
pub(crate) struct GoHeap {
    found: Found,
}

impl GoHeap {
    /// Hands the dead objects with something to drop, which the last cycle found, to the goroutine that drops.
    pub(crate) fn hand_over_dead(&self) {
        self.found.hand_over();
    }
}

/// The header of the object at `object`, which is of a kind that has one.
fn header<'a>(object: ObjectAddr) -> (*mut u8, &'a Header) {
    let base = with_exposed_provenance_mut::<u8>(object.0);
    // SAFETY: the collector passes only objects that `resolve` found, and asks only for those that are not pointer-free, whose kinds
    // have a header.
    (base, unsafe { Header::of(base) })
}

// SAFETY:
// 1. `Heap::find` answers for every address, finds interior ones, and nothing but allocated slots; an object whose header is null
//    scans as empty. (An object is not found between allocation and initialisation anyway: that is one critical section.)
// 2. The bounds of the heap contain all spans.
//    Both hold also for objects that are born while others look: a slot is marked before it is taken, and a span tells last what it is.
// 3. `try_mark` is an atomic read-modify-write of the mark bit.
// 4. and 5. The header's pointer map covers every word that may hold a pointer; objects of the kind `NoScan` have none.
// 6. `gomem::Heap::start_mark` sees to the marks, `gc::object` to the pointers.
// 7. gomem frees unmarked objects only, in the sweep that `start_sweep` begins.
// 8. gomem's locks are held in critical sections only, in which nobody is stopped; `Found` is the collector's own.
unsafe impl HeapView for GoHeap {
    type Object = Object<'static>;

    #[inline]
    fn bounds(&self) -> Range<usize> {
        gomem::heap().bounds()
    }

    #[inline]
    fn resolve(&self, word: usize) -> Option<Object<'static>> {
        gomem::heap().find(word)
    }

    #[inline]
    fn prefetch(&self, word: usize) {
        gomem::heap().prefetch(word);
    }

    #[inline]
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
        let (base, header) = header(object);
        // SAFETY: the header is that of the object at `base`.
        header
            .info()
            .map_or(0, |info| unsafe { info.scannable(base) })
    }

    #[inline]
    fn scan(&self, object: ObjectAddr, range: Range<usize>, visit: &mut impl FnMut(usize)) {
        let (base, header) = header(object);
        if let Some(info) = header.info() {
            // SAFETY: as above.
            unsafe { info.scan(base, range, visit) }
        }
    }

    fn for_each_marked(&self, visit: &mut impl FnMut(Object<'static>)) {
        gomem::heap().for_each_marked(visit);
    }

    /// Marks are clear already: sweeping clears them.
    fn start_mark(&self) {
        // SAFETY: the collector calls this when everything is swept and the world stands still outside of critical sections; its own team waits.
        unsafe { gomem::heap().start_mark() };
    }

    fn before_sweep(&self, revive: &mut impl FnMut(Object<'static>)) {
        gomem::heap().for_each_unmarked_finalizable(|object| {
            let base = object.base().as_ptr();
            let (_, header) = header(ObjectAddr(base.expose_provenance()));
            if let Some(info) = header.clear().filter(|info| info.needs_drop()) {
                self.found.push(base, info);
                // Without a header it has no children to keep.
                revive(object);
            }
        });
    }

    fn start_sweep(&self, marked: Bytes) {
        // SAFETY: the collector calls this when marking is complete and the world stands still outside of critical sections; its own team
        // waits.
        unsafe { gomem::heap().start_sweep_of(usize::try_from(marked.0).unwrap_or(usize::MAX)) };
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
