//! A type with a lifetime.

use goruntime::gc::Trace;

#[derive(Trace)]
//~ a type with a lifetime parameter cannot be kept in the collected heap: what it borrows may end before the collector frees it. Own the data, or use a collected pointer instead of a reference
struct Name<'a> {
    name: &'a str,
}

fn main() {}
