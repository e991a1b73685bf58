//! Collected pointers in a `Cell` of std.

use goruntime::gc::{Gc, Trace};
use std::cell::Cell;

//~ a std cell or lock changes its contents without a write barrier, so it may not hold collected pointers directly: use GcCell or GcPtr for the pointers, or put the contents in a Box
#[derive(Trace)]
struct Node {
    next: Cell<Option<Gc<Node>>>,
}

fn main() {}
