//! Large collected objects: how they come to be.
//!
//! To clear a gigabyte takes a tenth of a second and more, in which the thread must not keep the others from being stopped. So a large object is made in two steps: its pages are taken and
//! cleared, in no critical section, and then it is *published*, which is a few stores.
//!
//! Invariant: between the two the span is in no list and in no cache, and its one slot is free. So the object is none for [`Heap::find`], which a collector asks, and no sweep comes to
//! it; a cycle may begin and end meanwhile. It is born black or white as the heap is when it is published, as any other.

use crate::critical;
use crate::env::Os;
use crate::heap::{Heap, ObjectsShape};
use crate::large::pointer;
use crate::page::{PAGE_SIZE, PageCount};
use crate::sort::CollectedKind;
use crate::span::ObjectSpanPtr;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

impl<O: Os> Heap<O> {
    /// Memory for a collected object of at least `size` bytes, more than [`SMALL_MAX`](crate::SMALL_MAX), aligned to `align`, a power of two: zeroed if its kind says so. `None`
    /// when out of memory.
    ///
    /// To be called outside of critical sections, so that others may be stopped while it is cleared.
    pub fn prepare_collected(
        &self,
        size: usize,
        align: usize,
        kind: CollectedKind,
    ) -> Option<Unborn<'_, O>> {
        let section = critical::enter();
        let pages = PageCount::holding(size)?;
        self.reclaim(pages);
        let shape = ObjectsShape {
            kind,
            class: None,
            pages,
            align: align.max(PAGE_SIZE),
            central: self.objects.of_kind(kind, 0),
            tag: 0,
        };
        let mut made = None;
        self.new_object_spans(1, shape, |span| made = Some(span))
            .ok()?;
        let span = made?;
        if let Some(central) = self.central_of(span) {
            central.lists.lock().made += 1;
        }
        drop(section);
        // SAFETY: the slot of a span that nobody else has.
        unsafe { self.fill(span, span.as_span().bytes(), kind) };
        Some(Unborn { heap: self, span })
    }
}

/// Memory for a large collected object that is none yet, and goes back to the heap if it never is.
#[must_use = "the memory goes back when this is dropped"]
pub struct Unborn<'h, O: Os> {
    heap: &'h Heap<O>,
    span: ObjectSpanPtr,
}

impl<O: Os> Unborn<'_, O> {
    /// Makes it an object, which [`Heap::find`] finds from now on: whoever fills it before a collector may look at it does both in one critical section.
    pub fn publish(self) -> NonNull<u8> {
        let _section = critical::enter();
        let Unborn { heap, span } = *ManuallyDrop::new(self);
        let slot = span.take_run(heap.is_marking());
        debug_assert_eq!(slot, Some(span.as_span().bytes()));
        heap.put_span(span);
        heap.charge(span.size());
        pointer(span.base())
    }
}

impl<O: Os> fmt::Debug for Unborn<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unborn")
            .field(&self.span.as_span().bytes())
            .finish()
    }
}

impl<O: Os> Drop for Unborn<'_, O> {
    fn drop(&mut self) {
        let _section = critical::enter();
        if let Some(central) = self.heap.central_of(self.span) {
            central.lists.lock().made -= 1;
        }
        self.heap.free_span(self.span.as_span());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SimOs;

    const SIZE: usize = 300_000;

    /// A whole cycle passes by while an object is unborn; it is born as the heap is then, and reads as zero.
    #[test]
    fn a_cycle_passes_by_what_is_unborn() {
        let heap = Heap::new(SimOs::default());
        let garbage = heap.prepare_collected(SIZE, 8, CollectedKind::NoScan);
        let garbage = garbage.unwrap().publish();
        // SAFETY: an object of so many bytes.
        unsafe { garbage.write_bytes(0xab, SIZE) };
        let cycle = || {
            // SAFETY: the only thread, which keeps nothing that is not marked.
            unsafe {
                heap.start_mark();
                heap.start_sweep();
            }
            assert!(heap.sweep_all().done);
        };
        cycle();
        assert!(heap.find(garbage.as_ptr().addr()).is_none());

        let unborn = heap
            .prepare_collected(SIZE, 8, CollectedKind::Scan)
            .unwrap();
        let addr = unborn.span.base();
        assert_eq!(addr, garbage.as_ptr().addr(), "memory that was used before");
        assert!(heap.find(addr).is_none());
        cycle();
        assert!(heap.find(addr).is_none());
        // SAFETY: the world is this thread, in no section; all is swept.
        unsafe { heap.start_mark() };
        let object = unborn.publish();
        assert_eq!(object.as_ptr().addr(), addr);
        assert!(heap.find(addr + SIZE - 1).unwrap().is_marked());
        // SAFETY: an object of so many bytes.
        let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), SIZE) };
        assert!(bytes.iter().all(|&byte| byte == 0));
        // SAFETY: as above.
        unsafe { heap.start_sweep() };
        assert!(heap.sweep_all().done);
        assert!(heap.find(addr).is_some());
        cycle();
        assert!(heap.find(addr).is_none());
    }

    #[test]
    fn what_is_never_born_goes_back() {
        let heap = Heap::new(SimOs::default());
        drop(heap.prepare_collected(SIZE, 8, CollectedKind::Scan));
        assert_eq!(heap.stats().heap_inuse, 0);
        assert!(
            heap.prepare_collected(usize::MAX / 2, 8, CollectedKind::Scan)
                .is_none()
        );
    }
}
