//! What the environment says, for programs that do not know that this is their heap.
//!
//! `GOMEM_OPTIONS="key=value,key=value"`:
//!
//! | key | value | effect |
//! | --- | --- | --- |
//! | `background` | 0, 1 | whether there may be a [helper](crate::background); 1 if not said |
//! | `hardened` | 0, 1 | [`Heap::harden`](crate::Heap::harden) |
//! | `huge_pages` | 0, 1 | [`Heap::advise_huge_pages`](crate::Heap::advise_huge_pages) |
//! | `stats_at_exit` | 0, 1 | a table of the heap when the process exits |
//! | `leaks_at_exit` | 0, 1 | what is still allocated when the process exits |
//! | `report` | path | where these two go, instead of standard error |
//! | `profile` | bytes, `on` | samples allocations, one for so many bytes on average; `on` is 512k, 1 takes every one |
//! | `profile_at_exit` | path | where the heap profile goes when the process exits; has `profile=on` if nothing else is said |
//!
//! `%p` in a path stands for the process's number. A switch without a value is 1. An entry that is not understood is named on standard error; the others take effect.
//!
//! Invariant: the environment is read once, when the program or the library is loaded, and without the C library: `getenv` later could meet a thread that
//! changes it.

mod parse;

pub use parse::{Complaint, Options, PATH_MAX, parse};

use crate::text::Output;
use std::fmt::Write;

/// The value of `GOMEM_OPTIONS` in an environment, or nothing.
///
/// # Safety
/// 1. `environment` is null, or an array of C strings with a null at its end, which live as long as `'a`.
pub(crate) unsafe fn value<'a>(environment: *const *const u8) -> &'a [u8] {
    const NAME: &[u8] = b"GOMEM_OPTIONS=";
    let mut at = environment;
    // SAFETY: (1); what is read of a string is not beyond the first byte that differs, or its zero.
    unsafe {
        while !at.is_null() && !(*at).is_null() {
            let entry = *at;
            if (0..).zip(NAME).all(|(i, &byte)| *entry.add(i) == byte) {
                return std::ffi::CStr::from_ptr(entry.add(NAME.len()).cast()).to_bytes();
            }
            at = at.add(1);
        }
    }
    &[]
}

/// Says on standard error what was not understood.
pub(crate) fn complain(complaint: Complaint<'_>) {
    let mut output = Output::stderr();
    let _ = write!(output, "gomem: GOMEM_OPTIONS: ");
    output.write_bytes(complaint.key);
    let _ = writeln!(output, ": {}", complaint.allowed);
}
