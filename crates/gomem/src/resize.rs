//! `calloc` and `realloc`, of the process's heap and of a [`Mutator`].
//!
//! A block that shrinks stays where it is as long as it is at least half full, and so does one that grows within its class or its pages. What large
//! blocks do beyond that is in [`large`](crate::large).
//!
//! Invariant: a block of which the size is told when it is freed is always of the class for that size. So it must move when the class changes.

use crate::critical;
use crate::env::Os;
use crate::fatal::{Misuse, misuse};
use crate::heap::Heap;
use crate::mutator::Mutator;
use crate::process::ProcessHeap;
use crate::size_class::SizeClass;
use crate::span::Kind;
use std::ptr::NonNull;

/// What is to be done to have a block of another size.
enum Resized {
    /// Nothing more: here it is, or there is no memory.
    Done(Option<NonNull<u8>>),
    /// The same, and the block is a large one of another size.
    Large(NonNull<u8>),
    /// To be copied to a new small block.
    ToSmall { old: usize },
    /// To be copied to this new block.
    To { new: NonNull<u8>, old: usize },
}

impl<O: Os> Heap<O> {
    #[inline]
    fn resize(&self, block: NonNull<u8>, size: usize, align: usize, sized: bool) -> Resized {
        let addr = block.as_ptr().addr();
        let Some(span) = self.map.find(addr) else {
            misuse(addr, Misuse::NotOurs)
        };
        let old = span.size();
        let small = SizeClass::aligned(size, align);
        if span.kind() != Kind::MallocLarge || span.class_index() != 0 {
            let stays = match small {
                Some(class) if sized => class.index() == span.class_index(),
                _ => size <= old && size >= old / 2,
            };
            if stays {
                return Resized::Done(Some(block));
            }
        } else if small.is_none() {
            let _section = critical::enter();
            let pages = span.pages();
            let new = self.resize_large(span, size, align);
            return match new {
                Some(new) if new != block => Resized::Large(new),
                Some(new) if span.pages() != pages => {
                    // It is another block to the profile.
                    crate::samples::forget(span.sample());
                    Resized::Large(new)
                }
                _ => Resized::Done(new),
            };
        }
        match small {
            Some(_) => Resized::ToSmall { old },
            None => {
                let _section = critical::enter();
                match self.malloc_growing(size, align) {
                    Some(new) => Resized::To { new, old },
                    None => Resized::Done(None),
                }
            }
        }
    }
}

/// Copies what fits of a block of `old` bytes to one of `size`.
///
/// # Safety
/// 1. Two blocks, at least that long.
#[inline]
unsafe fn copy(from: NonNull<u8>, old: usize, to: NonNull<u8>, size: usize) {
    // SAFETY: (1).
    unsafe { to.copy_from_nonoverlapping(from, size.min(old)) };
}

impl ProcessHeap {
    /// A block as from [`malloc`](Self::malloc), filled with zeroes. Pages that are zero already are not written.
    pub fn calloc(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        if SizeClass::aligned(size, align).is_none() {
            let block = self.calloc_large(size, align)?;
            self.sample_large(block, size);
            return Some(block);
        }
        let block = self.malloc(size, align)?;
        // SAFETY: a block of at least `size` bytes, ours.
        unsafe { block.write_bytes(0, size) };
        Some(block)
    }

    /// A block of at least `size` bytes with the contents of `block`, as far as they fit: the same one where it can be made to fit and is not much larger.
    /// `None` when out of memory; `block` stays as it is then.
    ///
    /// # Safety
    /// 1. As for [`free`](Self::free), unless `None` is returned.
    /// 2. `align` is that with which `block` was allocated, or a smaller one.
    /// 3. The block will not be freed by [`free_sized`](Self::free_sized).
    pub unsafe fn realloc(
        &self,
        block: NonNull<u8>,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        let class = self.map.malloc_class(block.as_ptr().addr());
        if class != 0 {
            // As `resize` has it, without looking at the span.
            let old = SizeClass::size_at(class);
            if size <= old && size >= old / 2 {
                return Some(block);
            }
        }
        // SAFETY: (1), (2).
        unsafe { self.realloc_at_length(block, size, align, false) }
    }

    /// As [`realloc`](Self::realloc), for callers who know the size when they free the block.
    ///
    /// # Safety
    /// 1. As for [`free`](Self::free), unless `None` is returned.
    /// 2. `align` is that with which `block` was allocated.
    #[inline]
    pub unsafe fn realloc_sized(
        &self,
        block: NonNull<u8>,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        if align <= 16
            && let Some(class) = SizeClass::aligned(size, align)
            && class.index() == self.map.malloc_class(block.as_ptr().addr())
        {
            return Some(block);
        }
        // SAFETY: (1), (2).
        unsafe { self.realloc_at_length(block, size, align, true) }
    }

    /// Blocks that do not simply stay; `sized` says whether the size will be told when the block is freed.
    ///
    /// # Safety
    /// 1. As for [`realloc`](Self::realloc), or [`realloc_sized`](Self::realloc_sized).
    #[inline(never)]
    unsafe extern "C" fn realloc_at_length(
        &self,
        block: NonNull<u8>,
        size: usize,
        align: usize,
        sized: bool,
    ) -> Option<NonNull<u8>> {
        let (new, old) = match self.resize(block, size, align, sized) {
            Resized::Done(block) => return block,
            Resized::Large(new) => {
                self.sample_large(new, size);
                return Some(new);
            }
            Resized::ToSmall { old } => (self.malloc(size, align)?, old),
            Resized::To { new, old } => {
                self.sample_large(new, size);
                (new, old)
            }
        };
        // SAFETY: (1), and the new block is ours.
        unsafe {
            copy(block, old, new, size);
            self.free(block);
        }
        Some(new)
    }
}

impl<O: Os> Mutator<'_, O> {
    /// A block as from [`malloc`](Self::malloc), filled with zeroes.
    pub fn calloc(&mut self, size: usize, align: usize) -> Option<NonNull<u8>> {
        if SizeClass::aligned(size, align).is_none() {
            return self.heap.calloc_large(size, align);
        }
        let block = self.malloc(size, align)?;
        // SAFETY: a block of at least `size` bytes, ours.
        unsafe { block.write_bytes(0, size) };
        Some(block)
    }

    /// A block of at least `size` bytes with the contents of `block`, as far as they fit. `None` when out of memory; `block` stays as it is then.
    ///
    /// # Safety
    /// 1. As for [`free`](Self::free), unless `None` is returned.
    /// 2. `align` is that with which `block` was allocated, or a smaller one.
    pub unsafe fn realloc(
        &mut self,
        block: NonNull<u8>,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        let (new, old) = match self.heap.resize(block, size, align, false) {
            Resized::Done(block) => return block,
            Resized::Large(new) => return Some(new),
            Resized::ToSmall { old } => (self.malloc(size, align)?, old),
            Resized::To { new, old } => (new, old),
        };
        // SAFETY: (1), and the new block is ours.
        unsafe {
            copy(block, old, new, size);
            self.free(block);
        }
        Some(new)
    }
}
