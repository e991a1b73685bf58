//! A `Drop` by hand.

use goruntime::gc::Trace;

//~ conflicting implementations of trait `TraceMustNotImplementDrop` for type `File`
#[derive(Trace)]
struct File {
    descriptor: i32,
}

impl Drop for File {
    fn drop(&mut self) {}
}

fn main() {}
