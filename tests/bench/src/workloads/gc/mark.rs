//! `mark`: whole collections of a live heap, asked for one after the other while nothing else goes on.

use super::heap::Heap;
use super::shapes::Shape;
use super::{megabytes, millis};
use crate::Arguments;
use std::time::Instant;

pub(super) fn run<H: Heap>(heap: &mut H, arguments: &Arguments) -> Result<(), String> {
    let nodes = arguments.scaled("nodes", 2_000_000);
    let collections = arguments.number("collections", 5);
    let live = Shape::parse(arguments.text("shape", "web"))?.build(heap, nodes);
    // The first collection also takes up what was built, the following ones find the heap as the one before left it.
    heap.collect();
    let start = Instant::now();
    for _ in 0..collections {
        heap.collect();
    }
    let time = start.elapsed() / collections;
    live.verify(heap)?;
    let bytes = live.bytes() as u64;
    crate::figure("time", millis(time), "ms");
    crate::figure("throughput", megabytes(bytes) / time.as_secs_f64(), "MB/s");
    Ok(())
}
