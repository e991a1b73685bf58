//! Fuzz targets: each takes bytes, has a part of the workspace do what they say, and panics where the part disagrees with
//! its oracle.
//!
//! An oracle is a plain second implementation, a round trip, or an invariant; a target that could only find crashes would
//! find little in Rust. Invariant: a target depends on its bytes alone, so that what the fuzzer found can be run again.
//!
//! The same targets are run in two ways: by libFuzzer (`src/main.rs`, `cargo xtask fuzz`), and over the inputs kept in
//! `corpus/` as an ordinary test (`tests/fuzz/tests/corpus.rs`).

#[cfg(not(fuzzing))]
compile_error!("build with `--cfg fuzzing` in RUSTFLAGS, as `cargo xtask fuzz` does");

mod bytes;
#[doc(hidden)]
pub mod foreign;
mod glob;
mod heap;
mod heap_options;
mod http;
mod maps;
mod mark;
mod pages;
mod policies;
mod process_heap;
mod programs;
mod replies;
mod requests;
mod settings;
mod symbols;
mod timers;
mod web_requests;

/// One target.
#[derive(Debug)]
pub struct Target {
    /// Its name, which is that of its folder in `corpus/`.
    pub name: &'static str,
    /// Runs it on one input.
    pub run: fn(&[u8]),
}

/// Every target. What it checks is said by the module.
pub const TARGETS: &[Target] = &[
    Target {
        name: "requests",
        run: requests::run,
    },
    Target {
        name: "replies",
        run: replies::run,
    },
    Target {
        name: "glob",
        run: glob::run,
    },
    Target {
        name: "settings",
        run: settings::run,
    },
    Target {
        name: "heap-options",
        run: heap_options::run,
    },
    Target {
        name: "maps",
        run: maps::run,
    },
    Target {
        name: "http",
        run: http::run,
    },
    Target {
        name: "symbols",
        run: symbols::run,
    },
    Target {
        name: "heap",
        run: heap::run,
    },
    Target {
        name: "process-heap",
        run: process_heap::run,
    },
    Target {
        name: "pages",
        run: pages::run,
    },
    Target {
        name: "mark",
        run: mark::run,
    },
    Target {
        name: "timers",
        run: timers::run,
    },
    Target {
        name: "policies",
        run: policies::run,
    },
    Target {
        name: "web-requests",
        run: web_requests::run,
    },
    Target {
        name: "programs",
        run: programs::run,
    },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
