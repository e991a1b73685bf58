//! The malloc suite: what a program's global allocator is asked to do.
//!
//! Everything goes through the program's global allocator, so that all contestants pay the same way in. Every block carries a tag that is checked
//! when it is freed.

mod block;
mod large;
mod memory;
mod small;
mod threads;

use crate::{Workload, figure, main_of};
use std::process::ExitCode;
use std::time::Duration;

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
    main_of(WORKLOADS)
}

/// Reports the time for each of `count`.
fn time_each(elapsed: Duration, count: usize) {
    figure("time", elapsed.as_nanos() as f64 / count as f64, "ns");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arguments;

    #[test]
    fn every_workload_does_its_work() {
        for (name, run) in WORKLOADS {
            let arguments = Arguments::parse(["scale=0.001"]).unwrap();
            assert_eq!(run(&arguments), Ok(()), "{name}");
        }
    }
}
