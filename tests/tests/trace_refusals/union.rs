//! A union.

use goruntime::gc::{Gc, Trace};

#[derive(Trace)]
//~ a union cannot derive `Trace`: which of its fields is valid is not known to the collector
union Either {
    number: usize,
    pointer: Gc<u8>,
}

fn main() {}
