//! A raw pointer that nobody answers for.

use goruntime::gc::Trace;

#[derive(Trace)]
struct Handle {
    //~ a raw pointer cannot be kept in the collected heap as it is, because the collector does not follow it: use a collected pointer, or, if it never leads to a collected object, say so with `#[trace(unsafe(skip))]` at the field
    raw: *mut u8,
}

fn main() {}
