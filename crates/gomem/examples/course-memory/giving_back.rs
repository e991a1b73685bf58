//! What the kernel says that a process has, while and after the process frees what it had.
//!
//! The first time the allocator's helper thread gives memory back; the second time there is none, and the program does it itself, at one moment.

use crate::point;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// When the blocks are freed, in samples; and when a program without a helper gives back.
const FREED: usize = 10;
const RELEASED: usize = 40;
const SAMPLES: usize = 60;

pub fn run(tiny: bool) {
    let (bytes, period) = match tiny {
        true => (4 << 20, Duration::from_millis(1)),
        false => (256 << 20, Duration::from_millis(50)),
    };
    watch("by-the-helper", bytes, period, || ());
    gomem::background::disable();
    watch("by-the-program-at-2-s", bytes, period, || {
        gomem::heap().release_all();
    });
}

/// Allocates, frees after a while, and watches; `release` is called still later.
fn watch(series: &str, bytes: usize, period: Duration, release: impl Fn()) {
    let base = resident();
    let mut blocks: Vec<Box<[u8]>> = (0..bytes / 1024)
        .map(|_| vec![1; 1024].into_boxed_slice())
        .collect();
    let start = Instant::now();
    for sample in 0..SAMPLES {
        match sample {
            FREED => blocks.clear(),
            RELEASED => release(),
            _ => {}
        }
        let mib = resident().saturating_sub(base) as f64 / f64::from(1 << 20);
        point(
            "giving-back",
            series,
            format!("{:.3}", (period * sample as u32).as_secs_f64()),
            mib,
        );
        let next = period * (sample as u32 + 1);
        sleep(next.saturating_sub(start.elapsed()));
    }
}

/// Bytes of physical memory that the process has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("/proc is there");
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok());
    pages.expect("the kernel tells it") * 4096
}
