//! `libgomem.so`: C's allocation functions over the process's heap, to be put under any program with `LD_PRELOAD`.
//!
//! A thin layer. What C adds to [`gomem`]: alignment of 16 for everything, `errno`, null pointers, sizes of zero, products that overflow.
//!
//! Invariant: every block comes from [`gomem::heap`], so that `free` need not ask. The dynamic linker's own early blocks never get
//! here: it frees those by itself.

use gomem::heap;
use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

/// What C guarantees for every block on x86-64 (`alignof(max_align_t)`).
const ALIGN: usize = 16;

/// The block, or null with `errno` set.
fn or_enomem(block: Option<NonNull<u8>>) -> *mut c_void {
    match block {
        Some(block) => block.as_ptr().cast(),
        None => fail(libc::ENOMEM),
    }
}

#[cold]
fn fail(error: c_int) -> *mut c_void {
    // SAFETY: this thread's errno.
    unsafe { *libc::__errno_location() = error };
    null_mut()
}

/// The size to ask for so that blocks are aligned to 16: classes of such sizes are. `None` for sizes that no object may have.
#[inline(always)]
fn rounded(size: usize) -> Option<usize> {
    if size > isize::MAX as usize - ALIGN {
        return None;
    }
    Some(size.max(1).next_multiple_of(ALIGN))
}

#[inline(always)]
fn allocate(size: usize) -> Option<NonNull<u8>> {
    heap().malloc(rounded(size)?, 8)
}

/// `malloc(3)`. A size of zero gives a block of its own.
#[unsafe(no_mangle)]
pub extern "C" fn malloc(size: usize) -> *mut c_void {
    or_enomem(allocate(size))
}

/// `free(3)`.
///
/// # Safety
/// 1. `block` is null, or from a function of this library and not used any more. Otherwise the process is aborted with a message, where it is
///    cheap to see.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    if let Some(block) = NonNull::new(block) {
        // SAFETY: (1).
        unsafe { heap().free(block.cast()) }
    }
}

/// `calloc(3)`.
#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let bytes = count.checked_mul(size).and_then(rounded);
    or_enomem(bytes.and_then(|bytes| heap().calloc(bytes, 8)))
}

/// `realloc(3)`. A size of zero gives a small block, it does not free.
///
/// # Safety
/// 1. As for [`free`], unless the result is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    let Some(block) = NonNull::new(block) else {
        return malloc(size);
    };
    // SAFETY: (1). Blocks of these sizes are aligned to 16 without asking.
    or_enomem(rounded(size).and_then(|size| unsafe { heap().realloc(block.cast(), size, 8) }))
}

/// `reallocarray(3)`.
///
/// # Safety
/// 1. As for [`realloc`].
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

fn allocate_aligned(align: usize, size: usize) -> Option<NonNull<u8>> {
    heap().malloc(rounded(size)?, align.max(ALIGN))
}

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
    aligned_alloc(align, size)
}

/// `valloc(3)`.
#[unsafe(no_mangle)]
pub extern "C" fn valloc(size: usize) -> *mut c_void {
    aligned_alloc(4096, size)
}

/// `pvalloc(3)`.
#[unsafe(no_mangle)]
pub extern "C" fn pvalloc(size: usize) -> *mut c_void {
    match size.checked_next_multiple_of(4096) {
        Some(size) => aligned_alloc(4096, size),
        None => fail(libc::ENOMEM),
    }
}

/// `malloc_usable_size(3)`.
///
/// # Safety
/// 1. `block` is null or a live block of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    NonNull::new(block).map_or(0, |block| heap().usable_size(block.cast()))
}
