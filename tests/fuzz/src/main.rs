//! The fuzzer: libFuzzer over the target that the environment names.
//!
//! One program for all targets, so that the workspace is built and linked with the engine once.

#![no_main]

use goruntime_fuzz::{TARGETS, Target, target};
use std::sync::LazyLock;

/// The variable that names the target.
const NAME: &str = "GORUNTIME_FUZZ_TARGET";

static CHOSEN: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var(NAME).unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("set {NAME} to one of: {}", names.join(", "));
        std::process::exit(2)
    })
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (CHOSEN.run)(data));
