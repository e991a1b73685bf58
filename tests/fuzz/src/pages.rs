//! The page allocator: takes, frees and releases as the bytes say.

use crate::bytes::Bytes;
use gomem::fuzzing::pages::{self, Op};

pub fn run(data: &[u8]) {
    pages::run(&read(&mut Bytes(data)));
}

/// Steps that a run has at most: the reference looks at every page at each.
const STEPS: usize = 100;

fn read(bytes: &mut Bytes) -> Vec<Op> {
    std::iter::from_fn(|| {
        Some(match bytes.byte()? % 10 {
            0..4 => Op::Alloc(1 + bytes.magnitude(15)? as u32),
            4..7 => Op::Free(bytes.below(256)?),
            7 => Op::Grow(bytes.below(256)?, 1 + bytes.magnitude(11)? as u32),
            8 => Op::ReleaseHuge,
            _ => Op::Release(1 + bytes.magnitude(10)? as u32),
        })
    })
    .take(STEPS)
    .collect()
}
