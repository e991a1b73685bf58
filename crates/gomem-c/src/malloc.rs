//! `malloc`, `free` and their kin: the part of the interface that programs spend their time in.
//!
//! Where the standard leaves a choice the C library's is made, because that is what a program that is preloaded was tested with: `malloc(0)` gives a
//! block of its own, and `realloc` of a block to zero bytes frees it.

use crate::block::{allocate, fail, or_enomem, rounded};
use gomem::heap;
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

/// `malloc(3)`. A size of zero gives a block of its own.
#[unsafe(no_mangle)]
pub extern "C" fn malloc(size: usize) -> *mut c_void {
    or_enomem(allocate(size))
}

/// `free(3)`. Leaves `errno` as it is.
///
/// # Safety
/// 1. `block` is null, or from a function of this library and not used any more. Otherwise the process is aborted with a message, where it is
///    cheap to see.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: (1).
    unsafe { heap().free_or_null(block.cast()) }
}

/// `free_sized` of C23. The size is not looked at.
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(block: *mut c_void, _size: usize) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `free_aligned_sized` of C23. Neither alignment nor size are looked at.
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(block: *mut c_void, _align: usize, _size: usize) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `calloc(3)`.
#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let bytes = count.checked_mul(size).and_then(rounded);
    or_enomem(bytes.and_then(|bytes| heap().calloc(bytes, 8)))
}

/// `realloc(3)`. Of a block to zero bytes it frees and gives null, `errno` untouched.
///
/// # Safety
/// 1. As for [`free`], unless the result is null and `size` is not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    let Some(block) = NonNull::new(block) else {
        return malloc(size);
    };
    if size == 0 {
        // SAFETY: (1).
        unsafe { heap().free(block.cast()) };
        return null_mut();
    }
    // SAFETY: (1). Blocks of these sizes are aligned to 16 without asking.
    or_enomem(rounded(size).and_then(|size| unsafe { heap().realloc(block.cast(), size, 8) }))
}

/// `reallocarray(3)`.
///
/// # Safety
/// 1. As for [`realloc`] to the product.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(
    block: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: (1).
        Some(bytes) => unsafe { realloc(block, bytes) },
        None => fail(libc::ENOMEM),
    }
}
