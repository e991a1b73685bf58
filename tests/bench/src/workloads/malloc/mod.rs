//! The malloc suite: what a program's global allocator is asked to do.
//!
//! Everything goes through the program's global allocator, so that all contestants pay the same way in. Every block carries a tag that is checked
//! when it is freed.

mod block;
mod large;
mod memory;
mod shapes;
mod small;
mod threads;
pub mod trace;

use crate::{Workload, contestant, figure, peak_rss};
use std::process::ExitCode;
use std::time::Duration;

const WORKLOADS: &[Workload] = &[
    ("pairs", small::pairs),
    ("batch", small::batch),
    ("churn", shapes::churn),
    ("replace", threads::replace),
    ("remote", threads::remote),
    ("larson", threads::larson),
    ("short_threads", threads::short_threads),
    ("strings", small::strings),
    ("phases", shapes::phases),
    ("aligned", shapes::aligned),
    ("zeroed_small", shapes::zeroed_small),
    ("blocks", large::blocks),
    ("growth", large::growth),
    ("zeroed", large::zeroed),
    ("trace", trace::run),
    ("peak", memory::peak),
    ("shift", memory::shift),
];

/// The `main` of every contestant of the suite: they differ in their global allocator. Whatever a workload measures, the most resident
/// memory of the process is told with it.
pub fn main() -> ExitCode {
    let names: Vec<&str> = WORKLOADS.iter().map(|(name, _)| *name).collect();
    contestant(&names, |name, arguments| {
        for (_, run) in WORKLOADS.iter().filter(|(known, _)| *known == name) {
            run(arguments)?;
        }
        figure("peak_rss", peak_rss()? as f64 / 1e6, "MB");
        Ok(())
    })
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

    #[test]
    fn threads_may_be_many() {
        for (run, words) in [
            (threads::replace as fn(&Arguments) -> _, "threads=3"),
            (threads::remote, "pairs=2"),
            (threads::larson, "threads=3"),
        ] {
            let arguments = Arguments::parse([words, "scale=0.001"]).unwrap();
            assert_eq!(run(&arguments), Ok(()), "{words}");
            assert_eq!(arguments.problem(), None);
        }
    }
}
