//! The kept inputs, and a few made ones, through every target as an ordinary test.
//!
//! The inputs under `corpus/` are what the fuzzer found worth keeping, and every input that once failed. The made ones are
//! the same at each run; with them a target whose folder is empty still does something.

use goruntime_fuzz::{TARGETS, target};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Made inputs for each target.
const MADE: u64 = 200;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn kept(name: &str) -> Vec<PathBuf> {
    let folder = corpus().join(name);
    let entries = std::fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|why| panic!("cannot read {}: {why}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Bytes that depend on the seed alone: Steele's splitmix64, with every other byte small, as counts and choices are.
fn made(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    let length = next() % 300;
    (0..length)
        .map(|_| match next() {
            word if word & 256 == 0 => word as u8,
            word => word as u8 % 16,
        })
        .collect()
}

fn replay(name: &str) {
    let run = target(name).expect("a target of that name").run;
    let files = kept(name);
    assert!(!files.is_empty(), "no input is kept for {name}");
    for file in files {
        let input = std::fs::read(&file).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&input)));
        assert!(outcome.is_ok(), "{name} fails on {}", file.display());
    }
    for seed in 0..MADE {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&made(seed))));
        assert!(outcome.is_ok(), "{name} fails on the made input {seed}");
    }
}

#[test]
fn every_folder_of_the_corpus_has_a_target_and_a_test() {
    let source = include_str!("corpus.rs");
    for folder in std::fs::read_dir(corpus()).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(target(&name).is_some(), "no target {name}");
    }
    for target in TARGETS {
        let call = format!("replay(\"{}\")", target.name);
        assert!(source.contains(&call), "no test replays {}", target.name);
    }
}

#[test]
fn requests() {
    replay("requests");
}

#[test]
fn replies() {
    replay("replies");
}

#[test]
fn glob() {
    replay("glob");
}

#[test]
fn settings() {
    replay("settings");
}

#[test]
fn heap_options() {
    replay("heap-options");
}

#[test]
fn maps() {
    replay("maps");
}

#[test]
fn heap() {
    replay("heap");
}

#[test]
fn process_heap() {
    replay("process-heap");
}

#[test]
fn pages() {
    replay("pages");
}

#[test]
fn mark() {
    replay("mark");
}

#[test]
fn timers() {
    replay("timers");
}

#[test]
fn policies() {
    replay("policies");
}

#[test]
fn web_requests() {
    replay("web-requests");
}

#[test]
fn programs() {
    replay("programs");
}

#[test]
fn http() {
    replay("http");
}

#[test]
fn symbols() {
    replay("symbols");
}
