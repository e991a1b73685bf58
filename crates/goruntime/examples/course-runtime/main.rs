//! The experiments of the course's lessons that need a whole runtime: collection, scheduling, the monitor. `cargo xtask lesson NAME` runs one, and draws what it prints.
//!
//! By hand: `cargo run --release -p goruntime --example course-runtime NAME`. Each line is a point, `plot series x y`. With `--tiny` everything is as small as it may be: it then
//! shows that it runs, and nothing else. Names that end in `-child` are how some experiments start themselves again, with other settings.

mod assists;
mod child;
mod creation;
mod finalizers;
mod hand_off;
mod io;
mod mark_sweep;
mod order;
mod pacing;
mod release;
mod taken;
mod threads;

use std::process::ExitCode;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tiny = arguments.iter().any(|argument| argument == "--tiny");
    let name = arguments.first().cloned().unwrap_or_default();
    goruntime::run_main(move || run(&name, tiny))
}

fn run(name: &str, tiny: bool) -> ExitCode {
    match name {
        "mark-sweep" | "finalizers" => child::without_pacer(&format!("{name}-child"), tiny),
        "mark-sweep-child" => mark_sweep::run(tiny),
        "finalizers-child" => finalizers::run(tiny),
        "pacing" => pacing::run(tiny),
        "pacing-child" => pacing::run_child(tiny),
        "assists" => assists::run(tiny),
        "assists-child" => assists::run_child(tiny),
        "threads" => threads::run(tiny),
        "creation" => creation::run(tiny),
        "order" => order::run(tiny),
        "hand-off" => hand_off::run(tiny),
        "preemption" => taken::run_preemption(tiny),
        "system-calls" => taken::run_system_calls(tiny),
        "io" => io::run(tiny),
        "release" => release::run(tiny),
        _ => {
            eprintln!(
                "one of: mark-sweep, finalizers, pacing, assists, threads, creation, order, hand-off, preemption, system-calls, io, release"
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// A point of a plot. In the name of a series a hyphen stands for a space.
fn point(plot: &str, series: &str, x: impl std::fmt::Display, y: f64) {
    println!("{plot} {series} {x} {y:.3}");
}
