//! The experiments of the course's lessons on memory. `cargo xtask lesson NAME` runs one, and draws what it prints.
//!
//! By hand: `cargo run --release -p gomem --example course-memory NAME`. Each line is a point, `plot series x y`. With `--tiny` everything is as small as it may be: it then
//! shows that it runs, and nothing else.

mod asking;
mod classes;
mod fragmentation;
mod giving_back;
mod levels;

use std::process::ExitCode;

#[global_allocator]
static GLOBAL: gomem::GoMalloc = gomem::GoMalloc::new();

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tiny = arguments.iter().any(|argument| argument == "--tiny");
    match arguments.first().map(String::as_str) {
        Some("asking") => asking::run(tiny),
        Some("classes") => classes::run(),
        Some("fragmentation") => fragmentation::run(tiny),
        Some("levels") => levels::run(tiny),
        Some("giving-back") => giving_back::run(tiny),
        _ => {
            eprintln!("one of: asking, classes, fragmentation, levels, giving-back");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// A point of a plot. In the name of a series a hyphen stands for a space.
fn point(plot: &str, series: &str, x: impl std::fmt::Display, y: f64) {
    println!("{plot} {series} {x} {y:.3}");
}
