//! `calloc` and `realloc` of the process's heap.

use crate::critical;
use crate::large::Fresh;
use crate::process::ProcessHeap;
use crate::size_class::{SMALL_MAX, SizeClass};
use std::ptr::NonNull;

impl ProcessHeap {
    /// A block as from [`malloc`](Self::malloc), filled with zeroes. Large blocks of fresh memory are not written.
    pub fn calloc(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        if SizeClass::aligned(size, align).is_none() {
            let section = critical::enter();
            let Fresh { block, zero } = self.large_block(size, align)?;
            drop(section);
            if !zero {
                // SAFETY: a block of at least `size` bytes, ours.
                unsafe { block.write_bytes(0, size) };
            }
            return Some(block);
        }
        let block = self.malloc(size, align)?;
        // SAFETY: as above.
        unsafe { block.write_bytes(0, size) };
        Some(block)
    }

    /// A block of at least `size` bytes with the contents of `block`, as far as they fit: the same one where a block of its class, or of its pages, is what
    /// `size` would get. `None` when out of memory; `block` stays as it is then.
    ///
    /// # Safety
    /// 1. As for [`free`](Self::free), unless `None` is returned.
    /// 2. `align` is that with which `block` was allocated, or a smaller one.
    pub unsafe fn realloc(
        &self,
        block: NonNull<u8>,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        let old = self.usable_size(block);
        let fits = match SizeClass::aligned(size, align) {
            Some(class) => class.size() == old,
            None => old > SMALL_MAX && size <= old && size > old / 2,
        };
        if fits {
            return Some(block);
        }
        let new = self.malloc(size, align)?;
        // SAFETY: two blocks, each at least that long, ours.
        unsafe {
            new.copy_from_nonoverlapping(block, size.min(old));
            self.free(block);
        }
        Some(new)
    }
}
