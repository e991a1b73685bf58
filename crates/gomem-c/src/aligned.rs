//! Blocks with an alignment, in the five ways in which C asks for one. Any power of two up to what the address space holds.
//!
//! They differ in what they take for an alignment and in how they say no: [`posix_memalign`] returns the error and leaves `errno` and its result
//! alone, [`memalign`] rounds up to a power of two as the C library does.

use crate::block::{allocate_aligned, fail, or_enomem};
use std::ffi::{c_int, c_void};

/// The processor's page.
const PAGE: usize = 4096;

/// `posix_memalign(3)`.
///
/// # Safety
/// 1. `result` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(
    result: *mut *mut c_void,
    align: usize,
    size: usize,
) -> c_int {
    if !align.is_power_of_two() || align < size_of::<*mut c_void>() {
        return libc::EINVAL;
    }
    match allocate_aligned(align, size) {
        Some(block) => {
            // SAFETY: (1).
            unsafe { result.write(block.as_ptr().cast()) };
            0
        }
        None => libc::ENOMEM,
    }
}

/// `aligned_alloc(3)`. The size need not be a multiple of the alignment.
#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        return fail(libc::EINVAL);
    }
    or_enomem(allocate_aligned(align, size))
}

/// `memalign(3)`.
#[unsafe(no_mangle)]
pub extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => or_enomem(allocate_aligned(align, size)),
        None => fail(libc::EINVAL),
    }
}

/// `valloc(3)`.
#[unsafe(no_mangle)]
pub extern "C" fn valloc(size: usize) -> *mut c_void {
    or_enomem(allocate_aligned(PAGE, size))
}

/// `pvalloc(3)`.
#[unsafe(no_mangle)]
pub extern "C" fn pvalloc(size: usize) -> *mut c_void {
    let size = size.checked_next_multiple_of(PAGE);
    or_enomem(size.and_then(|size| allocate_aligned(PAGE, size)))
}
