//! The C library's other names for the same functions: with `__libc_` before them, and `cfree`, which left the headers but not the library.
//!
//! Some programs define `malloc` themselves on top of these, and old binaries still call `cfree`. A block that one name hands out goes back by
//! another, so they belong together.

use crate::{aligned, inspect, malloc};
use std::ffi::{c_int, c_void};

/// [`malloc::malloc`].
#[unsafe(no_mangle)]
pub extern "C" fn __libc_malloc(size: usize) -> *mut c_void {
    malloc::malloc(size)
}

/// [`malloc::free`].
///
/// # Safety
/// 1. As for that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __libc_free(block: *mut c_void) {
    // SAFETY: (1).
    unsafe { malloc::free(block) }
}

/// [`malloc::free`].
///
/// # Safety
/// 1. As for that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cfree(block: *mut c_void) {
    // SAFETY: (1).
    unsafe { malloc::free(block) }
}

/// [`malloc::calloc`].
#[unsafe(no_mangle)]
pub extern "C" fn __libc_calloc(count: usize, size: usize) -> *mut c_void {
    malloc::calloc(count, size)
}

/// [`malloc::realloc`].
///
/// # Safety
/// 1. As for that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: (1).
    unsafe { malloc::realloc(block, size) }
}

/// [`aligned::memalign`].
#[unsafe(no_mangle)]
pub extern "C" fn __libc_memalign(align: usize, size: usize) -> *mut c_void {
    aligned::memalign(align, size)
}

/// [`aligned::valloc`].
#[unsafe(no_mangle)]
pub extern "C" fn __libc_valloc(size: usize) -> *mut c_void {
    aligned::valloc(size)
}

/// [`aligned::pvalloc`].
#[unsafe(no_mangle)]
pub extern "C" fn __libc_pvalloc(size: usize) -> *mut c_void {
    aligned::pvalloc(size)
}

/// [`inspect::mallinfo`].
#[unsafe(no_mangle)]
pub extern "C" fn __libc_mallinfo() -> libc::mallinfo {
    inspect::mallinfo()
}

/// [`inspect::mallopt`].
#[unsafe(no_mangle)]
pub extern "C" fn __libc_mallopt(parameter: c_int, value: c_int) -> c_int {
    inspect::mallopt(parameter, value)
}
