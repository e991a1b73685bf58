//! C++'s `operator new` and `operator delete`, in every form, under their mangled names.
//!
//! They are defined here, although the C++ library's own would call `malloc`, because each would be a call more. What is to happen when memory is out is left
//! to those: the C++ library's operator of the same name, which stands behind this one in the order of lookup, tries again, calls the installed
//! `std::new_handler` as often as there is one, throws `std::bad_alloc`, or in the form that must not throw gives null. So there is no second account here of
//! what the standard says, it works with every C++ library, and nothing of C++ is linked.
//!
//! Invariant: what an exception may pass through is `extern "C-unwind"` and has nothing to clean up. The name of the other operator is looked up at the
//! moment of failure only: a program without C++ never comes here.

use crate::block::{allocate, allocate_aligned};
use crate::malloc::free;
use crate::report::Text;
use std::ffi::{CStr, c_void};
use std::fmt::Write;
use std::mem::transmute;
use std::ptr::{NonNull, null_mut};

/// `std::align_val_t`: an enumeration over `size_t`.
type AlignVal = usize;
/// `const std::nothrow_t&`, which only tells the forms apart.
type NoThrow = *const c_void;

/// `operator new(std::size_t)`
#[unsafe(export_name = "_Znwm")]
pub extern "C-unwind" fn new(size: usize) -> *mut c_void {
    match allocate(size) {
        Some(block) => block.as_ptr().cast(),
        None => plain(c"_Znwm", size),
    }
}

/// `operator new[](std::size_t)`
#[unsafe(export_name = "_Znam")]
pub extern "C-unwind" fn new_array(size: usize) -> *mut c_void {
    match allocate(size) {
        Some(block) => block.as_ptr().cast(),
        None => plain(c"_Znam", size),
    }
}

/// `operator new(std::size_t, const std::nothrow_t&)`
#[unsafe(export_name = "_ZnwmRKSt9nothrow_t")]
pub extern "C-unwind" fn new_nothrow(size: usize, tag: NoThrow) -> *mut c_void {
    match allocate(size) {
        Some(block) => block.as_ptr().cast(),
        None => nothrow(c"_ZnwmRKSt9nothrow_t", size, tag),
    }
}

/// `operator new[](std::size_t, const std::nothrow_t&)`
#[unsafe(export_name = "_ZnamRKSt9nothrow_t")]
pub extern "C-unwind" fn new_array_nothrow(size: usize, tag: NoThrow) -> *mut c_void {
    match allocate(size) {
        Some(block) => block.as_ptr().cast(),
        None => nothrow(c"_ZnamRKSt9nothrow_t", size, tag),
    }
}

/// `operator new(std::size_t, std::align_val_t)`
#[unsafe(export_name = "_ZnwmSt11align_val_t")]
pub extern "C-unwind" fn new_aligned(size: usize, align: AlignVal) -> *mut c_void {
    match valid(align).and_then(|align| allocate_aligned(align, size)) {
        Some(block) => block.as_ptr().cast(),
        None => aligned(c"_ZnwmSt11align_val_t", size, align),
    }
}

/// `operator new[](std::size_t, std::align_val_t)`
#[unsafe(export_name = "_ZnamSt11align_val_t")]
pub extern "C-unwind" fn new_array_aligned(size: usize, align: AlignVal) -> *mut c_void {
    match valid(align).and_then(|align| allocate_aligned(align, size)) {
        Some(block) => block.as_ptr().cast(),
        None => aligned(c"_ZnamSt11align_val_t", size, align),
    }
}

/// `operator new(std::size_t, std::align_val_t, const std::nothrow_t&)`
#[unsafe(export_name = "_ZnwmSt11align_val_tRKSt9nothrow_t")]
pub extern "C-unwind" fn new_aligned_nothrow(
    size: usize,
    align: AlignVal,
    tag: NoThrow,
) -> *mut c_void {
    match valid(align).and_then(|align| allocate_aligned(align, size)) {
        Some(block) => block.as_ptr().cast(),
        None => aligned_nothrow(c"_ZnwmSt11align_val_tRKSt9nothrow_t", size, align, tag),
    }
}

/// `operator new[](std::size_t, std::align_val_t, const std::nothrow_t&)`
#[unsafe(export_name = "_ZnamSt11align_val_tRKSt9nothrow_t")]
pub extern "C-unwind" fn new_array_aligned_nothrow(
    size: usize,
    align: AlignVal,
    tag: NoThrow,
) -> *mut c_void {
    match valid(align).and_then(|align| allocate_aligned(align, size)) {
        Some(block) => block.as_ptr().cast(),
        None => aligned_nothrow(c"_ZnamSt11align_val_tRKSt9nothrow_t", size, align, tag),
    }
}

/// What is no power of two is left to the C++ library to refuse.
fn valid(align: AlignVal) -> Option<usize> {
    Some(align).filter(|align| align.is_power_of_two())
}

#[cold]
#[inline(never)]
fn plain(name: &CStr, size: usize) -> *mut c_void {
    type Operator = extern "C-unwind" fn(usize) -> *mut c_void;
    let Some(next) = next(name) else {
        nobody_throws(size)
    };
    // SAFETY: the operator of this name.
    unsafe { transmute::<NonNull<c_void>, Operator>(next)(size) }
}

#[cold]
#[inline(never)]
fn aligned(name: &CStr, size: usize, align: AlignVal) -> *mut c_void {
    type Operator = extern "C-unwind" fn(usize, AlignVal) -> *mut c_void;
    let Some(next) = next(name) else {
        nobody_throws(size)
    };
    // SAFETY: the operator of this name.
    unsafe { transmute::<NonNull<c_void>, Operator>(next)(size, align) }
}

#[cold]
#[inline(never)]
fn nothrow(name: &CStr, size: usize, tag: NoThrow) -> *mut c_void {
    type Operator = extern "C-unwind" fn(usize, NoThrow) -> *mut c_void;
    let Some(next) = next(name) else {
        return null_mut();
    };
    // SAFETY: the operator of this name.
    unsafe { transmute::<NonNull<c_void>, Operator>(next)(size, tag) }
}

#[cold]
#[inline(never)]
fn aligned_nothrow(name: &CStr, size: usize, align: AlignVal, tag: NoThrow) -> *mut c_void {
    type Operator = extern "C-unwind" fn(usize, AlignVal, NoThrow) -> *mut c_void;
    let Some(next) = next(name) else {
        return null_mut();
    };
    // SAFETY: the operator of this name.
    unsafe { transmute::<NonNull<c_void>, Operator>(next)(size, align, tag) }
}

/// The C++ library's operator of this name.
///
/// It is in the libraries behind this one; or, if only something that was loaded later is written in C++, in a C++ library that is loaded but not in
/// sight from here.
fn next(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: a name and a handle that stands for what comes after the caller.
    let behind = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if let Some(found) = NonNull::new(behind) {
        return Some(found);
    }
    [c"libstdc++.so.6", c"libc++.so.1"]
        .iter()
        .find_map(|library| {
            // SAFETY: two names. Nothing is loaded; the reference that this takes is kept, so that what is found stays.
            let found = unsafe {
                let handle = libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
                NonNull::new(handle).map(|handle| libc::dlsym(handle.as_ptr(), name.as_ptr()))
            };
            found.and_then(NonNull::new)
        })
}

/// The end of a program that is out of memory and that nobody can tell so.
fn nobody_throws(size: usize) -> ! {
    let mut text = Text::new();
    // Writing to a `Text` does not fail.
    let _ = writeln!(
        text,
        "gomem: operator new({size}): out of memory, and no C++ library is loaded that could throw std::bad_alloc"
    );
    text.print();
    std::process::abort()
}

/// `operator delete(void*)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdlPv")]
pub unsafe extern "C" fn delete(block: *mut c_void) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete[](void*)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdaPv")]
pub unsafe extern "C" fn delete_array(block: *mut c_void) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete(void*, std::size_t)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdlPvm")]
pub unsafe extern "C" fn delete_sized(block: *mut c_void, _size: usize) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete[](void*, std::size_t)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdaPvm")]
pub unsafe extern "C" fn delete_array_sized(block: *mut c_void, _size: usize) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete(void*, const std::nothrow_t&)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdlPvRKSt9nothrow_t")]
pub unsafe extern "C" fn delete_nothrow(block: *mut c_void, _tag: NoThrow) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete[](void*, const std::nothrow_t&)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdaPvRKSt9nothrow_t")]
pub unsafe extern "C" fn delete_array_nothrow(block: *mut c_void, _tag: NoThrow) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete(void*, std::align_val_t)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdlPvSt11align_val_t")]
pub unsafe extern "C" fn delete_aligned(block: *mut c_void, _align: AlignVal) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete[](void*, std::align_val_t)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdaPvSt11align_val_t")]
pub unsafe extern "C" fn delete_array_aligned(block: *mut c_void, _align: AlignVal) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete(void*, std::size_t, std::align_val_t)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdlPvmSt11align_val_t")]
pub unsafe extern "C" fn delete_sized_aligned(block: *mut c_void, _size: usize, _align: AlignVal) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete[](void*, std::size_t, std::align_val_t)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdaPvmSt11align_val_t")]
pub unsafe extern "C" fn delete_array_sized_aligned(
    block: *mut c_void,
    _size: usize,
    _align: AlignVal,
) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete(void*, std::align_val_t, const std::nothrow_t&)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdlPvSt11align_val_tRKSt9nothrow_t")]
pub unsafe extern "C" fn delete_aligned_nothrow(
    block: *mut c_void,
    _align: AlignVal,
    _tag: NoThrow,
) {
    // SAFETY: (1).
    unsafe { free(block) }
}

/// `operator delete[](void*, std::align_val_t, const std::nothrow_t&)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(export_name = "_ZdaPvSt11align_val_tRKSt9nothrow_t")]
pub unsafe extern "C" fn delete_array_aligned_nothrow(
    block: *mut c_void,
    _align: AlignVal,
    _tag: NoThrow,
) {
    // SAFETY: (1).
    unsafe { free(block) }
}
