//! A field that is skipped, and nobody answers for it.

use goruntime::gc::Trace;

#[derive(Trace)]
struct Handle {
    //~ expected `unsafe(skip)`: the author promises that the field never holds a collected pointer, and may be dropped on any thread
    #[trace(skip)]
    raw: *mut u8,
}

fn main() {}
