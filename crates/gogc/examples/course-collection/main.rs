//! The experiments of the course's lessons on collection that need no more than the collector and its simulated heap. `cargo xtask lesson NAME` runs one, and draws what it
//! prints.
//!
//! By hand: `cargo run --release -p gogc --example course-collection NAME`. Each line is a point, `plot series x y`. With `--tiny` everything is as small as it may be.

mod barrier;
mod counting;
mod generations;
mod mutator;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tiny = arguments.iter().any(|argument| argument == "--tiny");
    match arguments.first().map(String::as_str) {
        Some("barrier") => barrier::run(tiny),
        Some("counting") => counting::run(tiny),
        Some("generations") => generations::run(tiny),
        _ => {
            eprintln!("one of: barrier, counting, generations");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// A point of a plot. In the name of a series a hyphen stands for a space.
fn point(plot: &str, series: &str, x: impl std::fmt::Display, y: f64) {
    println!("{plot} {series} {x} {y:.3}");
}
