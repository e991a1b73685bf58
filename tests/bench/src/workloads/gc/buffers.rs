//! `buffers`: a ring of large live buffers, each overwritten by a new one in its turn, and how long the slowest of these writes take.
//!
//! The program does nothing else, so a write is slow because the collector has stopped it, or has it work or wait. Each is timed from the end of the one before.

use super::heap::Heap;
use super::{megabytes, micros, nanos_each};
use crate::Arguments;
use std::time::{Duration, Instant};

/// Bytes of a buffer.
const BYTES: usize = 1024;

pub(super) fn run<H: Heap>(heap: &mut H, arguments: &Arguments) -> Result<(), String> {
    let places = arguments.number("ring", 200_000);
    let writes = arguments.scaled("writes", 5_000_000);
    let ring = heap.bytes_table(places);
    let mut contents = [0; BYTES];
    let mut write = |heap: &mut H, number: usize| {
        contents[BYTES - 8..].copy_from_slice(&(number as u64).to_le_bytes());
        let buffer = heap.bytes(&contents);
        heap.set_bytes_entry(ring, number % places, buffer);
    };
    (0..places).for_each(|number| write(heap, number));
    // In words of eight bytes, as in Go: they lie in the heap beside the ring.
    let mut times = Vec::with_capacity(writes);
    let start = Instant::now();
    let mut last = start;
    for number in places..places + writes {
        write(heap, number);
        let now = Instant::now();
        times.push((now - last).as_nanos() as u64);
        last = now;
    }
    crate::figure("time", nanos_each(last - start, writes as u64), "ns");
    times.sort_unstable();
    let p999 = times[(writes * 999).div_ceil(1000) - 1];
    let micros = |nanos: u64| micros(Duration::from_nanos(nanos));
    crate::figure("p99.9", micros(p999), "us");
    crate::figure("max", micros(times[writes - 1]), "us");
    crate::figure("peak_rss", megabytes(crate::peak_rss()?), "MB");
    verify(heap, ring, places, places + writes)
}

/// Checks that each place holds what was written last.
fn verify<H: Heap>(
    heap: &H,
    ring: H::BytesTable,
    places: usize,
    written: usize,
) -> Result<(), String> {
    for number in written - places..written {
        let place = number % places;
        let buffer = heap.bytes_entry(ring, place);
        let found = buffer.and_then(|b| heap.contents(&b).last_chunk().copied());
        if found.map(u64::from_le_bytes) != Some(number as u64) {
            return Err(format!("place {place} does not hold write {number}"));
        }
    }
    Ok(())
}
