//! The heap of the process as Rust's global allocator.

use crate::critical;
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

/// The global allocator with every block cleared before it is handed out, all of it, also what is more than was asked for.
///
/// For whoever takes the words of a block for pointers: what a block held before, and its new owner has not written over, leads nowhere. A thread is not
/// [stopped](crate::critical) between getting a block and clearing it.
///
/// ```
/// #[global_allocator]
/// static GLOBAL: gomem::ClearedMalloc = gomem::ClearedMalloc::new();
///
/// drop(vec![7u64; 100]);
/// let block = Vec::<u64>::with_capacity(100);
/// // SAFETY: the capacity is as large, and is cleared.
/// assert_eq!(unsafe { block.as_ptr().read() }, 0);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ClearedMalloc;

impl ClearedMalloc {
    /// The allocator; it has no state of its own.
    pub const fn new() -> ClearedMalloc {
        ClearedMalloc
    }

    /// Clears the block, if it is one, from this byte on.
    ///
    /// # Safety
    /// 1. It is null, or a live block that the caller owns, and whose bytes from there on are in nobody's use.
    unsafe fn clear(block: *mut u8, from: usize) {
        if let Some(start) = NonNull::new(block) {
            let rest = heap().usable_size(start) - from;
            // SAFETY: (1); a block is as long as it says.
            unsafe { block.add(from).write_bytes(0, rest) }
        }
    }
}

// SAFETY: as for `GoMalloc`, which does all but the clearing.
unsafe impl GlobalAlloc for ClearedMalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _section = critical::enter();
        // SAFETY: the caller's obligations, here and below.
        let block = unsafe { GoMalloc.alloc(layout) };
        // SAFETY: a new block.
        unsafe { Self::clear(block, 0) };
        block
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { GoMalloc.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.alloc(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let _section = critical::enter();
        // SAFETY: as above.
        let block = unsafe { GoMalloc.realloc(ptr, layout, new_size) };
        // SAFETY: a block of its new size, which keeps no more than what fits of the old one.
        unsafe { Self::clear(block, layout.size().min(new_size)) };
        block
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
