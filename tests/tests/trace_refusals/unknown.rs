//! A field of which the collector knows nothing.

use goruntime::gc::Trace;

struct Foreign;

#[derive(Trace)]
enum Maybe {
    Nothing,
    //~ `Foreign` cannot be kept in the collected heap: it does not implement `Trace`
    //~ add `#[derive(Trace)]` to the type; a foreign type without collected pointers can be kept behind a `Box`
    Something(Foreign),
}

fn main() {}
