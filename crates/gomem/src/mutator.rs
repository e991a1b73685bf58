//! A cache used by hand: for heaps other than the process's.

use crate::cache::CachePtr;
use crate::critical;
use crate::env::{Os, Refused};
use crate::heap::Heap;
use crate::size_class::SizeClass;
use crate::sort::{CollectedKind, Sort};
use std::ptr::NonNull;

/// A thread's access to a [`Heap`]. May be sent to another thread, not shared. Dropping it gives what it holds back to the heap.
pub struct Mutator<'h, O: Os> {
    pub(crate) heap: &'h Heap<O>,
    cache: CachePtr,
}

impl<O: Os> Heap<O> {
    /// A new mutator.
    ///
    /// # Errors
    /// If there is no memory for its cache.
    pub fn mutator(&self) -> Result<Mutator<'_, O>, Refused> {
        let _section = critical::enter();
        Ok(Mutator {
            heap: self,
            cache: self.attach_cache()?,
        })
    }
}

impl<O: Os> Mutator<'_, O> {
    /// A block of at least `size` bytes, aligned to `align`, a power of two. `None` when out of memory; the heap is as before then.
    pub fn malloc(&mut self, size: usize, align: usize) -> Option<NonNull<u8>> {
        debug_assert!(align.is_power_of_two());
        let _section = critical::enter();
        match SizeClass::aligned(size, align) {
            Some(class) => self.heap.malloc_small(self.cache, class),
            None => self.heap.malloc_large(size, align),
        }
    }

    /// Frees a block. Aborts if that is not one, where this is cheap to see.
    ///
    /// # Safety
    /// 1. `block` is from [`malloc`](Self::malloc) of any mutator of the same heap, and not used any more.
    pub unsafe fn free(&mut self, block: NonNull<u8>) {
        let _section = critical::enter();
        // SAFETY: (1).
        unsafe { self.heap.free_block(self.cache, block) }
    }

    /// A collected object of a sort. `None` when out of memory.
    pub fn alloc_sorted(&mut self, sort: Sort) -> Option<NonNull<u8>> {
        let _section = critical::enter();
        match self.heap.sorted_from(&self.cache, sort) {
            Some(object) => Some(object),
            None => self.heap.sorted_slow(self.cache, sort),
        }
    }

    /// A collected object of at least `size` bytes, zeroed if its [kind](CollectedKind) says so and aligned to `align`, a power of two. `None` when out of memory.
    pub fn alloc_collected(
        &mut self,
        size: usize,
        align: usize,
        kind: CollectedKind,
    ) -> Option<NonNull<u8>> {
        debug_assert!(align.is_power_of_two());
        let _section = critical::enter();
        match self.heap.object_from(&self.cache, size, align, kind) {
            Some(object) => Some(object),
            None => self.heap.object_slow(self.cache, size, align, kind),
        }
    }
}

impl<O: Os> Drop for Mutator<'_, O> {
    fn drop(&mut self) {
        let _section = critical::enter();
        self.heap.detach_cache(self.cache);
    }
}
