//! The malloc suite: what a program's global allocator is asked to do.
//!
//! Everything goes through the program's global allocator, so that all contestants pay the same way in. Every block carries a tag that is checked
//! when it is freed.

mod block;
mod large;
mod memory;
mod small;
mod threads;

use crate::{Arguments, figure};
use std::process::ExitCode;
use std::time::Duration;

/// A workload and its name.
type Workload = (&'static str, fn(&Arguments) -> Result<(), String>);

const WORKLOADS: &[Workload] = &[
    ("pairs", small::pairs),
    ("batch", small::batch),
    ("replace", threads::replace),
    ("remote", threads::remote),
    ("short_threads", threads::short_threads),
    ("strings", small::strings),
    ("blocks", large::blocks),
    ("growth", large::growth),
    ("zeroed", large::zeroed),
    ("peak", memory::peak),
    ("shift", memory::shift),
];

/// The `main` of every contestant of the suite: they differ in their global allocator.
pub fn main() -> ExitCode {
    let names: Vec<&str> = WORKLOADS.iter().map(|(name, _)| *name).collect();
    crate::contestant(&names, |workload, arguments| {
        let run = WORKLOADS.iter().find(|(name, _)| *name == workload);
        run.map_or(Ok(()), |(_, run)| run(arguments))
    })
}

/// Reports the time for each of `count`.
fn time_each(elapsed: Duration, count: usize) {
    figure("time", elapsed.as_nanos() as f64 / count as f64, "ns");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_does_its_work() {
        for (name, run) in WORKLOADS {
            let arguments = Arguments::parse(["scale=0.001"]).unwrap();
            assert_eq!(run(&arguments), Ok(()), "{name}");
        }
    }
}
