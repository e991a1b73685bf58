//! Collected pointers in a `RefCell` of std.

use goruntime::gc::{Gc, Trace};
use std::cell::RefCell;

//~ a std cell or lock changes its contents without a write barrier, so it may not hold collected pointers directly: use GcCell or GcPtr for the pointers, or put the contents in a Box
#[derive(Trace)]
enum Tree {
    Leaf,
    Inner { parent: RefCell<Gc<Tree>> },
}

fn main() {}
