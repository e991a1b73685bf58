//! The workloads of the gc suite, written once for all collectors that a Rust program can use.
//!
//! [`run`] knows those of a single mutator, [`run_shared`] those of several as well. Each makes what it works on, measures, checks what it
//! did, and reports.

mod barrier;
mod buffers;
mod churn;
pub mod heap;
mod map;
mod mark;
mod pause;
mod rings;
mod shapes;
#[cfg(test)]
mod tests;
mod trees;
mod web;

use crate::Arguments;
use heap::{Heap, Shared};
use std::time::Duration;

/// The workloads of [`run`].
pub const ALONE: &[&str] = &[
    "barrier",
    "binary_trees",
    "buffers",
    "churn",
    "cycles",
    "map",
    "mark",
];
/// The workloads that [`run_shared`] knows besides.
pub const TOGETHER: &[&str] = &["pause"];

/// Runs a workload of one mutator.
pub fn run<H: Heap>(heap: &mut H, workload: &str, arguments: &Arguments) -> Result<(), String> {
    match workload {
        "barrier" => barrier::run(heap, arguments),
        "binary_trees" => trees::run(heap, arguments),
        "buffers" => buffers::run(heap, arguments),
        "churn" => churn::run(heap, arguments),
        "cycles" => rings::run(heap, arguments),
        "map" => map::run(heap, arguments),
        "mark" => mark::run(heap, arguments),
        _ => Err(format!(
            "no workload {workload}; --list names those there are"
        )),
    }
}

/// Runs a workload of any number of mutators.
pub fn run_shared<H: Shared>(
    heap: &mut H,
    workload: &str,
    arguments: &Arguments,
) -> Result<(), String> {
    match workload {
        "binary_trees" => trees::run_shared::<H>(arguments),
        "pause" => pause::run(heap, arguments),
        _ => run(heap, workload, arguments),
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Nanoseconds for each of `count`.
fn nanos_each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e9 / count as f64
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
