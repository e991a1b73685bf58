//! `churn`: small objects of mixed sizes, of which most die at once and some live in a ring until their turn comes.
//!
//! Sizes from 16 to 512 bytes: five ranges, each twice the one before, equally often. One object in [`KEPT`] replaces the
//! oldest of the ring.

use super::heap::Heap;
use super::{megabytes, nanos_each};
use crate::Arguments;
use crate::workloads::random::Random;
use std::time::Instant;

/// The longest object.
const LONGEST: usize = 512;
/// One object in so many goes into the ring.
const KEPT: u64 = 4;

pub(super) fn run<H: Heap>(heap: &mut H, arguments: &Arguments) -> Result<(), String> {
    let places = arguments.number("ring", 100_000);
    let objects = arguments.scaled("objects", 5_000_000) as u64;
    let ring = fill(heap, places);
    let start = Instant::now();
    make(heap, ring, places, objects)?;
    let time = start.elapsed();
    crate::figure("time", nanos_each(time, objects), "ns");
    crate::figure("peak_rss", megabytes(crate::peak_rss()?), "MB");
    verify(heap, ring, places)
}

/// Makes objects, with a ring of `len` places.
fn make<H: Heap>(
    heap: &mut H,
    ring: H::BytesTable,
    len: usize,
    objects: u64,
) -> Result<(), String> {
    let mut random = Random::new(2);
    let mut place = 0;
    let mut template = template();
    for number in 0..objects {
        let size = size(&mut random);
        template[..8].copy_from_slice(&number.to_le_bytes());
        let object = heap.bytes(&template[..size]);
        if number % KEPT == 0 {
            if let Some(old) = heap.bytes_entry(ring, place) {
                check(heap.contents(&old))?;
            }
            heap.set_bytes_entry(ring, place, object);
            place = if place + 1 == len { 0 } else { place + 1 };
        } else {
            std::hint::black_box(heap.contents(&object));
        }
    }
    Ok(())
}

/// A ring of `len` places, full.
fn fill<H: Heap>(heap: &mut H, len: usize) -> H::BytesTable {
    let ring = heap.bytes_table(len);
    let mut random = Random::new(1);
    let template = template();
    for place in 0..len {
        let object = heap.bytes(&template[..size(&mut random)]);
        heap.set_bytes_entry(ring, place, object);
    }
    ring
}

/// Looks at the whole ring.
fn verify<H: Heap>(heap: &H, ring: H::BytesTable, len: usize) -> Result<(), String> {
    for place in 0..len {
        match heap.bytes_entry(ring, place) {
            Some(object) => check(heap.contents(&object))?,
            None => return Err(format!("place {place} of the ring is empty")),
        }
    }
    Ok(())
}

fn size(random: &mut Random) -> usize {
    let r = random.number();
    let least = 16 << ((r >> 32) % 5);
    least + (r as usize & (least - 1)) + 1
}

/// What every object is a copy of: eight bytes for its number, then bytes that tell their place.
fn template() -> [u8; LONGEST] {
    std::array::from_fn(|i| if i < 8 { 0 } else { i as u8 })
}

fn check(contents: &[u8]) -> Result<(), String> {
    let last = contents.len() - 1;
    if contents[last] == last as u8 {
        Ok(())
    } else {
        Err(format!(
            "the last byte of an object of {} bytes was overwritten",
            contents.len()
        ))
    }
}
