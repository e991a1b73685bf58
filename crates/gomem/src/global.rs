//! The heap of the process as Rust's global allocator.

use crate::process::heap;
use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{NonNull, null_mut};

/// The global allocator.
///
/// ```
/// #[global_allocator]
/// static GLOBAL: gomem::GoMalloc = gomem::GoMalloc::new();
///
/// let boxed = Box::new(7);
/// assert!(gomem::heap().owns((&raw const *boxed).cast()));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GoMalloc;

impl GoMalloc {
    /// The allocator; it has no state of its own.
    pub const fn new() -> GoMalloc {
        GoMalloc
    }
}

/// The global allocator in hardened mode from the first allocation on: see [`Heap::harden`](crate::Heap::harden).
///
/// ```
/// #[global_allocator]
/// static GLOBAL: gomem::HardenedMalloc = gomem::HardenedMalloc::new();
///
/// assert!(gomem::heap().is_hardened());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HardenedMalloc;

impl HardenedMalloc {
    /// The allocator; it has no state of its own.
    pub const fn new() -> HardenedMalloc {
        HardenedMalloc
    }

    /// The allocator that does it, in that mode.
    #[inline]
    fn hardened(&self) -> GoMalloc {
        if !heap().is_hardened() {
            heap().harden();
        }
        GoMalloc
    }
}

// SAFETY: as for `GoMalloc`, which does everything.
unsafe impl GlobalAlloc for HardenedMalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's obligations, here and below.
        unsafe { self.hardened().alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.hardened().dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.hardened().alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.hardened().realloc(ptr, layout, new_size) }
    }
}

#[inline(always)]
fn raw(block: Option<NonNull<u8>>) -> *mut u8 {
    block.map_or(null_mut(), NonNull::as_ptr)
}

// SAFETY: blocks are as large and aligned as asked for and belong to one owner until freed (the protocol of `span`); nothing here unwinds.
unsafe impl GlobalAlloc for GoMalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        raw(heap().malloc(layout.size(), layout.align()))
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: a block that `alloc` returned for this layout, by the caller's obligation, so not null.
        unsafe { heap().free_sized(NonNull::new_unchecked(ptr), layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        raw(heap().calloc(layout.size(), layout.align()))
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc`; the alignment is that of the allocation.
        raw(unsafe { heap().realloc_sized(NonNull::new_unchecked(ptr), new_size, layout.align()) })
    }
}
