//! An `Rc`, whose drop glue belongs to one thread.

use goruntime::gc::Trace;
use std::rc::Rc;

#[derive(Trace)]
struct Shared {
    //~ `Rc` cannot be kept in the collected heap, because dead objects are dropped on another thread: use `Arc`, or a collected pointer
    name: Rc<String>,
}

fn main() {}
