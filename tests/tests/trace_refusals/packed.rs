//! A packed layout.

use goruntime::gc::{Gc, Trace};

#[derive(Trace)]
//~ a packed type cannot be kept in the collected heap: the collector looks for pointers at aligned addresses only
#[repr(C, packed)]
struct Packed {
    tag: u8,
    pointer: Gc<u8>,
}

fn main() {}
