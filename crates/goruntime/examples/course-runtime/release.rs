//! What becomes of memory that a program of collected objects does not need any more: first it has to be collected, then the monitor gives it back.

use crate::pacing::live;
use crate::point;
use goruntime::gc;
use goruntime::metrics::snapshot;
use goruntime::time::sleep;
use std::time::{Duration, Instant};

/// In samples: when the objects become unreachable, and when somebody collects.
const DROPPED: u32 = 5;
const COLLECTED: u32 = 15;
const SAMPLES: u32 = 50;

pub fn run(tiny: bool) {
    let (objects, period) = match tiny {
        true => (1 << 12, Duration::from_millis(1)),
        false => (3 << 20, Duration::from_millis(100)),
    };
    let mut table = Some(live(objects));
    let start = Instant::now();
    for sample in 0..SAMPLES {
        match sample {
            DROPPED => {
                // Emptied, so that no stale word in a frame keeps the objects alive.
                let table = table.take().expect("still there");
                table.as_slice().iter().for_each(|entry| entry.store(None));
            }
            COLLECTED => gc::collect(),
            _ => {}
        }
        let figures = snapshot();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let seconds = format!("{:.3}", (period * sample).as_secs_f64());
        point("release", "resident", &seconds, mib(resident()));
        point("release", "in-objects", &seconds, mib(figures.heap_alloc));
        sleep((period * (sample + 1)).saturating_sub(start.elapsed()));
    }
}

/// Bytes of physical memory that the process has.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("/proc is there");
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.expect("the kernel tells it") * 4096
}
