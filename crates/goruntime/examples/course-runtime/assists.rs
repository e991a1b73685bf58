//! Who marks: the background workers, or those who allocate?
//!
//! Goroutines allocate as fast as they can, beside a live heap that takes some time to mark. The more of them, the less of the marking can the workers' quarter of the processors do in
//! time, and the more is done by assists. The figures are those of the trace lines (`GODEBUG=gctrace=1`).

use crate::pacing::{live, node};
use crate::{child, point};
use goruntime::go;
use std::hint::black_box;

/// How many goroutines allocate, for the child.
const VARIABLE: &str = "COURSE_GOROUTINES";

pub fn run(tiny: bool) {
    let most = if tiny { 0 } else { 3 };
    for goroutines in (0..=most).map(|power| 1u32 << power) {
        let variables = [
            ("GODEBUG", "gctrace=1"),
            (VARIABLE, &goroutines.to_string()),
        ];
        let trace = child::run("assists-child", tiny, &variables).err;
        let cycles: Vec<[f64; 3]> = trace.lines().filter_map(marking).collect();
        let names = ["assists", "background-workers", "idle-processors"];
        for (name, which) in names.into_iter().zip(0..) {
            let sum: f64 = cycles.iter().map(|cycle| cycle[which]).sum();
            point(
                "assists",
                name,
                goroutines,
                sum / cycles.len().max(1) as f64,
            );
        }
    }
}

/// Of a trace line: milliseconds of marking by assists, by background workers, and on idle processors.
fn marking(line: &str) -> Option<[f64; 3]> {
    let cpu = line.strip_prefix("gc ")?.split(" ms cpu").next()?;
    let cpu = cpu.rsplit(' ').next()?;
    let mark = cpu.split('+').nth(1)?;
    let mut parts = mark.split('/').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

pub fn run_child(tiny: bool) {
    let (alive, allocated) = if tiny {
        (1 << 10, 1 << 17)
    } else {
        (1 << 20, 1 << 22)
    };
    let goroutines = std::env::var(VARIABLE)
        .ok()
        .and_then(|n| n.parse::<u32>().ok());
    let goroutines = goroutines.unwrap_or(1);
    let table = live(alive);
    let allocating: Vec<_> = (0..goroutines)
        .map(|_| {
            go(move || {
                for _ in 0..allocated / goroutines {
                    black_box(node());
                }
            })
        })
        .collect();
    for goroutine in allocating {
        goroutine.join().expect("it does not panic");
    }
    assert_eq!(table.len(), alive);
}
