//! What the environment says, for programs that do not know that this is their heap.
//!
//! | variable | effect |
//! | --- | --- |
//! | `GOMEM_BACKGROUND=0` | no [helper](crate::background) |
//! | `GOMEM_HUGE_PAGES=1` | [`Heap::advise_huge_pages`](crate::Heap::advise_huge_pages) |
//!
//! Invariant: the environment is read once, when the program or the library is loaded: `getenv` later could meet a thread that changes it.

use crate::process::heap;

#[used]
// Miri calls such functions without arguments.
#[cfg_attr(not(miri), unsafe(link_section = ".init_array"))]
static AT_LOAD: extern "C" fn(i32, *const *const u8, *const *const u8) = at_load;

/// As in [`fork`](crate::fork::link).
#[inline]
pub(crate) fn link() {
    std::hint::black_box(&AT_LOAD);
}

/// The C library calls the functions of `.init_array` with the arguments of `main`.
extern "C" fn at_load(_: i32, _: *const *const u8, environment: *const *const u8) {
    // SAFETY: the environment, null at the end; its entries are C strings.
    let has = |wanted: &[u8]| unsafe {
        let mut at = environment;
        while !at.is_null() && !(*at).is_null() {
            if (0..).zip(wanted).all(|(i, &byte)| *(*at).add(i) == byte) {
                return true;
            }
            at = at.add(1);
        }
        false
    };
    if has(b"GOMEM_BACKGROUND=0\0") {
        crate::background::forbid();
    }
    if has(b"GOMEM_HUGE_PAGES=1\0") {
        heap().advise_huge_pages();
    }
}
