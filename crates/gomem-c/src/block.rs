//! A block of the heap as C wants it: aligned to 16, of any size but those that no object may have; and how failure is told.
//!
//! Invariant: nothing here touches `errno` but [`fail`], because some functions must leave it alone when they fail.

use gomem::heap;
use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

/// What C guarantees for every block on x86-64 (`alignof(max_align_t)`).
const ALIGN: usize = 16;

/// The size to ask for so that blocks are aligned to 16: classes of such sizes are. `None` for sizes that no object may have, because
/// differences of pointers into it would not fit `ptrdiff_t`.
#[inline(always)]
pub(crate) fn rounded(size: usize) -> Option<usize> {
    if size > isize::MAX as usize - ALIGN {
        return None;
    }
    Some((size.max(1) + ALIGN - 1) & !(ALIGN - 1))
}

/// A block; one of its own for a size of zero, too.
#[inline(always)]
pub(crate) fn allocate(size: usize) -> Option<NonNull<u8>> {
    heap().malloc_for_c(size)
}

/// A block that is aligned to `align`, a power of two.
pub(crate) fn allocate_aligned(align: usize, size: usize) -> Option<NonNull<u8>> {
    heap().malloc(rounded(size)?, align.max(ALIGN))
}

/// As a C pointer, null with `errno` set for none.
#[inline(always)]
pub(crate) fn or_enomem(block: Option<NonNull<u8>>) -> *mut c_void {
    match block {
        Some(block) => block.as_ptr().cast(),
        None => fail(libc::ENOMEM),
    }
}

/// Null, with `errno` set.
#[cold]
pub(crate) fn fail(error: c_int) -> *mut c_void {
    // SAFETY: this thread's errno.
    unsafe { *libc::__errno_location() = error };
    null_mut()
}
