//! A heap of its own with several mutators, over a system that refuses when told to.

use crate::bytes::Bytes;
use crate::foreign::heap_model::{self, KINDS, MUTATORS, Op};

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Some(frugal) = bytes.byte() else { return };
    let ops: Vec<Op> = std::iter::from_fn(|| read(&mut bytes)).take(300).collect();
    heap_model::run(ops, frugal & 1 == 1);
}

fn read(bytes: &mut Bytes) -> Option<Op> {
    // Up to 2 MiB: beyond a size class, and enough to make the heap grow.
    let size = |bytes: &mut Bytes| Some(1 + bytes.magnitude(21)? as usize);
    let choice = bytes.byte()?;
    let by = usize::from(choice / 32) % MUTATORS;
    Some(match choice % 32 {
        0..11 => Op::Malloc {
            by,
            size: size(bytes)?,
            shift: bytes.byte()? as u32 % 16,
        },
        11..19 => Op::Free {
            by,
            which: bytes.below(256)?,
        },
        19 => Op::Restart { by },
        20..28 => Op::Object {
            by,
            size: size(bytes)?,
            kind: bytes.below(KINDS.len())?,
        },
        28 => Op::Collect {
            keep: bytes.byte()? as u32 % 4,
        },
        29 => Op::SweepSome,
        30 => Op::Scavenge,
        _ => Op::Refuse {
            after: bytes.byte()? as u32 % 3,
            n: 1 + bytes.byte()? as u32 % 2,
        },
    })
}
