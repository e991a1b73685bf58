//! The timer heap: arms, disarms and fires as the bytes say, many at equal times.

use crate::bytes::Bytes;
use gosched::fuzzing::timers::{self, Op};

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let read = || {
        Some(match bytes.byte()? % 4 {
            0 | 1 => Op::Arm(bytes.magnitude(64)?),
            2 => Op::Disarm(bytes.below(256)?),
            _ => Op::Fire(bytes.magnitude(64)?),
        })
    };
    let ops: Vec<Op> = std::iter::from_fn(read).take(300).collect();
    timers::run(&ops);
}
