//! C++'s `operator new` and `operator delete`, in every form, under their mangled names.
//!
//! They are defined here, although the C++ library's own would call `malloc`, because each would be a call more. Four of them do the work, the *basic* forms: `new` and `delete`
//! of one object, with an alignment and without. A program may replace these alone, and the standard (\[new.delete\]) has the other forms call what it put there. So
//! each of the others jumps to the form that it is derived from by the dynamic linker's table, where the program's own stands if it has one: one instruction, or two where an argument in the middle is left out.
//!
//! ```text
//!   new[] ──► new        delete[], sized, nothrow ──► delete        sized and nothrow delete[] ──► delete[]        (with an alignment: the same)
//! ```
//!
//! Only the `nothrow` forms of `new` cannot jump: they make null of an exception, which takes C++. If the forms that throw are those of this library they allocate at once; if
//! not, they are left to the C++ library. So is what is to happen when memory is out: its
//! operator of the same name, which stands behind this one in the order of lookup, tries again, calls the installed `std::new_handler` as often as there is one, throws
//! `std::bad_alloc`, or in the form that must not throw gives null. So there is no second account here of what the standard says, it works with every C++ library, and
//! nothing of C++ is linked.
//!
//! Invariant: what an exception may pass through is `extern "C-unwind"` and has nothing to clean up. The C++ library is looked for only when memory is out or the program has
//! replaced an operator: a program without C++ never comes there.

use crate::block::{allocate, allocate_aligned};
use crate::malloc::free;
use crate::report::Text;
use std::arch::{asm, naked_asm};
use std::ffi::{CStr, c_void};
use std::fmt::Write;
use std::mem::{MaybeUninit, transmute};
use std::ptr::{NonNull, from_ref, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering::*};

/// `std::align_val_t`: an enumeration over `size_t`.
type AlignVal = usize;
/// `const std::nothrow_t&`, which only tells the forms apart.
type NoThrow = *const c_void;

/// `operator new(std::size_t)`
#[unsafe(export_name = "_Znwm")]
pub extern "C-unwind" fn new(size: usize) -> *mut c_void {
    match allocate(size) {
        Some(block) => block.as_ptr().cast(),
        None => refused(size),
    }
}

/// `operator new[](std::size_t)`
#[unsafe(naked)]
#[unsafe(export_name = "_Znam")]
pub extern "C-unwind" fn new_array(size: usize) -> *mut c_void {
    naked_asm!("jmp qword ptr [rip + _Znwm@GOTPCREL]")
}

/// `operator new(std::size_t, const std::nothrow_t&)`
#[unsafe(export_name = "_ZnwmRKSt9nothrow_t")]
pub extern "C-unwind" fn new_nothrow(size: usize, tag: NoThrow) -> *mut c_void {
    match unless_replaced(|| allocate(size)) {
        Some(block) => block.as_ptr().cast(),
        None => nothrow(&NEW_NOTHROW, size, tag),
    }
}

/// `operator new[](std::size_t, const std::nothrow_t&)`
#[unsafe(export_name = "_ZnamRKSt9nothrow_t")]
pub extern "C-unwind" fn new_array_nothrow(size: usize, tag: NoThrow) -> *mut c_void {
    match unless_replaced(|| allocate(size)) {
        Some(block) => block.as_ptr().cast(),
        None => nothrow(&NEW_ARRAY_NOTHROW, size, tag),
    }
}

/// `operator new(std::size_t, std::align_val_t)`
#[unsafe(export_name = "_ZnwmSt11align_val_t")]
pub extern "C-unwind" fn new_aligned(size: usize, align: AlignVal) -> *mut c_void {
    match valid(align).and_then(|align| allocate_aligned(align, size)) {
        Some(block) => block.as_ptr().cast(),
        None => aligned_refused(size, align),
    }
}

/// `operator new[](std::size_t, std::align_val_t)`
#[unsafe(naked)]
#[unsafe(export_name = "_ZnamSt11align_val_t")]
pub extern "C-unwind" fn new_array_aligned(size: usize, align: AlignVal) -> *mut c_void {
    naked_asm!("jmp qword ptr [rip + _ZnwmSt11align_val_t@GOTPCREL]")
}

/// `operator new(std::size_t, std::align_val_t, const std::nothrow_t&)`
#[unsafe(export_name = "_ZnwmSt11align_val_tRKSt9nothrow_t")]
pub extern "C-unwind" fn new_aligned_nothrow(
    size: usize,
    align: AlignVal,
    tag: NoThrow,
) -> *mut c_void {
    let block = || allocate_aligned(valid(align)?, size);
    match unless_replaced(block) {
        Some(block) => block.as_ptr().cast(),
        None => aligned_nothrow(&NEW_ALIGNED_NOTHROW, size, align, tag),
    }
}

/// `operator new[](std::size_t, std::align_val_t, const std::nothrow_t&)`
#[unsafe(export_name = "_ZnamSt11align_val_tRKSt9nothrow_t")]
pub extern "C-unwind" fn new_array_aligned_nothrow(
    size: usize,
    align: AlignVal,
    tag: NoThrow,
) -> *mut c_void {
    let block = || allocate_aligned(valid(align)?, size);
    match unless_replaced(block) {
        Some(block) => block.as_ptr().cast(),
        None => aligned_nothrow(&NEW_ARRAY_ALIGNED_NOTHROW, size, align, tag),
    }
}

/// What is no power of two is left to the C++ library to refuse.
fn valid(align: AlignVal) -> Option<usize> {
    Some(align).filter(|align| align.is_power_of_two())
}

/// The block, if the forms of `new` that throw are those of this library.
#[inline(always)]
fn unless_replaced(block: impl FnOnce() -> Option<NonNull<u8>>) -> Option<NonNull<u8>> {
    match WHOSE.load(Relaxed) == OURS || are_ours() {
        true => block(),
        false => None,
    }
}

/// Whose the forms that throw are, which does not change while the process runs.
static WHOSE: AtomicU8 = AtomicU8::new(NOT_ASKED);
const NOT_ASKED: u8 = 0;
const OURS: u8 = 1;
const REPLACED: u8 = 2;

#[cold]
#[inline(never)]
fn are_ours() -> bool {
    if WHOSE.load(Relaxed) == NOT_ASKED {
        let forms: [*const c_void; 4];
        // SAFETY: reads what the dynamic linker has written into the library's table.
        unsafe {
            let (a, b, c, d);
            asm!(
                "mov {}, qword ptr [rip + _Znwm@GOTPCREL]",
                "mov {}, qword ptr [rip + _Znam@GOTPCREL]",
                "mov {}, qword ptr [rip + _ZnwmSt11align_val_t@GOTPCREL]",
                "mov {}, qword ptr [rip + _ZnamSt11align_val_t@GOTPCREL]",
                out(reg) a, out(reg) b, out(reg) c, out(reg) d,
                options(pure, nomem, nostack, preserves_flags),
            );
            forms = [a, b, c, d];
        }
        let library = Object::of(from_ref(&WHOSE).cast());
        let ours = library.is_some() && forms.iter().all(|form| Object::of(*form) == library);
        WHOSE.store(if ours { OURS } else { REPLACED }, Relaxed);
    }
    WHOSE.load(Relaxed) == OURS
}

/// A program or library that is loaded.
struct Object(libc::Dl_info);

impl Object {
    /// The one that the address lies in.
    fn of(address: *const c_void) -> Option<Object> {
        let mut info = MaybeUninit::uninit();
        // SAFETY: any address may be asked about; what is found is written, unless zero is returned.
        unsafe {
            let found = libc::dladdr(address, info.as_mut_ptr());
            (found != 0).then(|| Object(info.assume_init()))
        }
    }

    /// Has it stay loaded.
    fn keep(self) {
        // SAFETY: the name of what is loaded. The reference is not given back.
        unsafe { libc::dlopen(self.0.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Object) -> bool {
        self.0.dli_fbase == other.0.dli_fbase
    }
}

/// An operator of the C++ library, which stands behind the one of this name.
struct Behind {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

static NEW: Behind = Behind::new(c"_Znwm");
static NEW_NOTHROW: Behind = Behind::new(c"_ZnwmRKSt9nothrow_t");
static NEW_ARRAY_NOTHROW: Behind = Behind::new(c"_ZnamRKSt9nothrow_t");
static NEW_ALIGNED: Behind = Behind::new(c"_ZnwmSt11align_val_t");
static NEW_ALIGNED_NOTHROW: Behind = Behind::new(c"_ZnwmSt11align_val_tRKSt9nothrow_t");
static NEW_ARRAY_ALIGNED_NOTHROW: Behind = Behind::new(c"_ZnamSt11align_val_tRKSt9nothrow_t");

impl Behind {
    const fn new(name: &'static CStr) -> Behind {
        let found = AtomicPtr::new(null_mut());
        Behind { name, found }
    }

    /// The operator, if a C++ library is loaded.
    fn get(&self) -> Option<NonNull<c_void>> {
        let known = NonNull::new(self.found.load(Acquire));
        known.or_else(|| {
            let found = self.look()?;
            Object::of(found.as_ptr())?.keep();
            self.found.store(found.as_ptr(), Release);
            Some(found)
        })
    }

    /// It is in the libraries behind this one; or, if only something that was loaded later is written in C++, in a C++ library that is loaded but not in
    /// sight from here.
    fn look(&self) -> Option<NonNull<c_void>> {
        // SAFETY: a name and a handle that stands for what comes after the caller.
        let behind = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if let Some(found) = NonNull::new(behind) {
            return Some(found);
        }
        [c"libstdc++.so.6", c"libc++.so.1"]
            .iter()
            .find_map(|library| {
                // SAFETY: two names. Nothing is loaded; the reference that this takes is kept.
                let found = unsafe {
                    let handle =
                        libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
                    NonNull::new(handle)
                        .map(|handle| libc::dlsym(handle.as_ptr(), self.name.as_ptr()))
                };
                found.and_then(NonNull::new)
            })
    }
}

#[cold]
#[inline(never)]
fn refused(size: usize) -> *mut c_void {
    type Operator = extern "C-unwind" fn(usize) -> *mut c_void;
    let Some(next) = NEW.get() else {
        nobody_throws(size)
    };
    // SAFETY: the operator of this name.
    unsafe { transmute::<NonNull<c_void>, Operator>(next)(size) }
}

#[cold]
#[inline(never)]
fn aligned_refused(size: usize, align: AlignVal) -> *mut c_void {
    type Operator = extern "C-unwind" fn(usize, AlignVal) -> *mut c_void;
    let Some(next) = NEW_ALIGNED.get() else {
        nobody_throws(size)
    };
    // SAFETY: the operator of this name.
    unsafe { transmute::<NonNull<c_void>, Operator>(next)(size, align) }
}

#[cold]
#[inline(never)]
fn nothrow(behind: &Behind, size: usize, tag: NoThrow) -> *mut c_void {
    type Operator = extern "C-unwind" fn(usize, NoThrow) -> *mut c_void;
    let Some(next) = behind.get() else {
        return null_mut();
    };
    // SAFETY: the operator of this name.
    unsafe { transmute::<NonNull<c_void>, Operator>(next)(size, tag) }
}

#[cold]
#[inline(never)]
fn aligned_nothrow(behind: &Behind, size: usize, align: AlignVal, tag: NoThrow) -> *mut c_void {
    type Operator = extern "C-unwind" fn(usize, AlignVal, NoThrow) -> *mut c_void;
    let Some(next) = behind.get() else {
        return null_mut();
    };
    // SAFETY: the operator of this name.
    unsafe { transmute::<NonNull<c_void>, Operator>(next)(size, align, tag) }
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
#[unsafe(naked)]
#[unsafe(export_name = "_ZdaPv")]
pub unsafe extern "C" fn delete_array(block: *mut c_void) {
    naked_asm!("jmp qword ptr [rip + _ZdlPv@GOTPCREL]")
}

/// `operator delete(void*, std::size_t)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(naked)]
#[unsafe(export_name = "_ZdlPvm")]
pub unsafe extern "C" fn delete_sized(block: *mut c_void, _size: usize) {
    naked_asm!("jmp qword ptr [rip + _ZdlPv@GOTPCREL]")
}

/// `operator delete[](void*, std::size_t)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(naked)]
#[unsafe(export_name = "_ZdaPvm")]
pub unsafe extern "C" fn delete_array_sized(block: *mut c_void, _size: usize) {
    naked_asm!("jmp qword ptr [rip + _ZdaPv@GOTPCREL]")
}

/// `operator delete(void*, const std::nothrow_t&)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(naked)]
#[unsafe(export_name = "_ZdlPvRKSt9nothrow_t")]
pub unsafe extern "C" fn delete_nothrow(block: *mut c_void, _tag: NoThrow) {
    naked_asm!("jmp qword ptr [rip + _ZdlPv@GOTPCREL]")
}

/// `operator delete[](void*, const std::nothrow_t&)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(naked)]
#[unsafe(export_name = "_ZdaPvRKSt9nothrow_t")]
pub unsafe extern "C" fn delete_array_nothrow(block: *mut c_void, _tag: NoThrow) {
    naked_asm!("jmp qword ptr [rip + _ZdaPv@GOTPCREL]")
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
#[unsafe(naked)]
#[unsafe(export_name = "_ZdaPvSt11align_val_t")]
pub unsafe extern "C" fn delete_array_aligned(block: *mut c_void, _align: AlignVal) {
    naked_asm!("jmp qword ptr [rip + _ZdlPvSt11align_val_t@GOTPCREL]")
}

/// `operator delete(void*, std::size_t, std::align_val_t)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(naked)]
#[unsafe(export_name = "_ZdlPvmSt11align_val_t")]
pub unsafe extern "C" fn delete_sized_aligned(block: *mut c_void, _size: usize, _align: AlignVal) {
    naked_asm!(
        "mov rsi, rdx",
        "jmp qword ptr [rip + _ZdlPvSt11align_val_t@GOTPCREL]"
    )
}

/// `operator delete[](void*, std::size_t, std::align_val_t)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(naked)]
#[unsafe(export_name = "_ZdaPvmSt11align_val_t")]
pub unsafe extern "C" fn delete_array_sized_aligned(
    block: *mut c_void,
    _size: usize,
    _align: AlignVal,
) {
    naked_asm!(
        "mov rsi, rdx",
        "jmp qword ptr [rip + _ZdaPvSt11align_val_t@GOTPCREL]"
    )
}

/// `operator delete(void*, std::align_val_t, const std::nothrow_t&)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(naked)]
#[unsafe(export_name = "_ZdlPvSt11align_val_tRKSt9nothrow_t")]
pub unsafe extern "C" fn delete_aligned_nothrow(
    block: *mut c_void,
    _align: AlignVal,
    _tag: NoThrow,
) {
    naked_asm!("jmp qword ptr [rip + _ZdlPvSt11align_val_t@GOTPCREL]")
}

/// `operator delete[](void*, std::align_val_t, const std::nothrow_t&)`
///
/// # Safety
/// 1. As for [`free`].
#[unsafe(naked)]
#[unsafe(export_name = "_ZdaPvSt11align_val_tRKSt9nothrow_t")]
pub unsafe extern "C" fn delete_array_aligned_nothrow(
    block: *mut c_void,
    _align: AlignVal,
    _tag: NoThrow,
) {
    naked_asm!("jmp qword ptr [rip + _ZdaPvSt11align_val_t@GOTPCREL]")
}
