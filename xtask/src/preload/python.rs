//! Python's own test suite: what is about threads, processes and `fork`, with every object in a block of ours (`PYTHONMALLOC=malloc`).
//!
//! Some of its tests fail on some machines whatever the allocator. So what fails here is run again without the library, and only what passes then counts.

use super::stand::Stand;
use crate::process;
use crate::tools::SKIPPED;
use std::process::Command;
use std::time::Duration;

/// The suites, which every version has.
const SUITES: &[&str] = &[
    "test_thread",
    "test_threading",
    "test_threading_local",
    "test_threadsignals",
    "test_threadedtempfile",
    "test_queue",
    "test_fork1",
    "test_subprocess",
    "test_signal",
    "test_gc",
    "test_json",
    "test_re",
    "test_ctypes",
    "test_sqlite3",
    "test_concurrent_futures",
    "test_multiprocessing_fork",
    "test_multiprocessing_spawn",
];

/// One suite that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Runs it.
pub fn run(stand: &Stand) -> Result<String, String> {
    // Not what starts it, which may be a script that looks for a version.
    let program = stand.sh(&["python3", "-c", "import sys; print(sys.executable)"])?;
    let program = program.trim();
    let mut asks = Command::new(program);
    let answer = asks.args(["-c", "import test.test_threading"]).output();
    if !answer.is_ok_and(|answer| answer.status.success()) {
        return Err(format!(
            "{SKIPPED}python: its test suite is missing; Debian's package libpython3-testsuite has it"
        ));
    }
    let (mut passed, mut same_without) = (0, Vec::new());
    for suite in SUITES {
        let command = || {
            let mut command = stand.command(program);
            command
                .env("PYTHONMALLOC", "malloc")
                .args(["-m", "test", "--timeout", "300", suite]);
            command
        };
        let with = process::capture(command(), LIMIT, |_| ())?;
        // "No such test" and "not on this machine" are no failures of ours.
        if with.success() {
            passed += 1;
            continue;
        }
        let mut without = command();
        without.env_remove("LD_PRELOAD");
        let without = process::capture(without, LIMIT, |_| ())?;
        if without.success() || failures(&with.output) != failures(&without.output) {
            return Err(format!(
                "{suite} fails, and not without the library:\n{}",
                with.output
            ));
        }
        same_without.push(*suite);
    }
    let mut account = format!("{passed} of its suites pass");
    if !same_without.is_empty() {
        account.push_str(&format!("; as without: {}", same_without.join(", ")));
    }
    match passed {
        0 => Err("no suite passes, with the library or without".to_owned()),
        _ => Ok(account),
    }
}

/// The tests that failed, by name, in order.
fn failures(output: &str) -> Vec<&str> {
    let starts = ["FAIL: ", "ERROR: "];
    let mut names: Vec<&str> = output
        .lines()
        .filter_map(|line| starts.iter().find_map(|start| line.strip_prefix(start)))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tests_are_named() {
        let output = "ok\nFAIL: test_b (test.x)\nERROR: test_a (test.x)\nFAIL: test_b (test.x)\n";
        assert_eq!(failures(output), ["test_a (test.x)", "test_b (test.x)"]);
    }
}
