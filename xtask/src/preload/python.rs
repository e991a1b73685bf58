//! Python's own test suite: what is about threads, processes and `fork`, with every object in a block of ours (`PYTHONMALLOC=malloc`).
//!
//! Some of its tests fail on some machines whatever the allocator. So what fails here is run again without the library, and only what passes then counts.

use super::stand::Stand;
use crate::process;
use crate::tools::{self, SKIPPED};
use std::process::Command;
use std::time::Duration;

/// Without these an interpreter is not worth a trial.
const WANTED: &[&str] = &["test_threading", "test_multiprocessing_fork"];

/// The suites; what a version does not have is left out.
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

/// Interpreters that may have the suites, in order.
const INTERPRETERS: &[&str] = &["python3", "/usr/bin/python3"];

/// Says which of the suites that are its arguments are there; and before that, which interpreter it is, because what starts it may be a script that
/// looks for a version.
const LOOK: &str = "
import sys, importlib.util
print(sys.executable)
for name in sys.argv[1:]:
    try:
        if importlib.util.find_spec('test.' + name): print(name)
    except ModuleNotFoundError:
        pass";

/// An interpreter and the suites that it has.
struct Python {
    program: String,
    suites: Vec<String>,
}

/// The first interpreter that has what is wanted most.
fn find() -> Option<Python> {
    let mut found = INTERPRETERS.iter().filter_map(|interpreter| {
        let answer = Command::new(interpreter)
            .args(["-c", LOOK])
            .args(SUITES)
            .output()
            .ok()?;
        let text = String::from_utf8(answer.stdout).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        Some(Python {
            program: lines.next()?,
            suites: lines.collect(),
        })
    });
    found.find(|python| {
        WANTED
            .iter()
            .all(|suite| python.suites.iter().any(|s| s == suite))
    })
}

/// Debian's package of the suites, one for each version.
fn package() -> String {
    let ask = "import sys; print(sys.version_info.minor)";
    let answer = Command::new("/usr/bin/python3").args(["-c", ask]).output();
    let minor = answer
        .ok()
        .and_then(|answer| String::from_utf8(answer.stdout).ok());
    let minor = minor.unwrap_or_default();
    format!("libpython3.{}-testsuite", minor.trim())
}

/// Runs it.
pub fn run(stand: &Stand) -> Result<String, String> {
    let what = "python: its test suite";
    tools::need(what, &package(), || find().is_some()).map_err(|why| format!("{SKIPPED}{why}"))?;
    let Some(python) = find() else {
        return Err(format!("{what} is gone"));
    };
    let (mut passed, mut same_without) = (0, Vec::new());
    for suite in &python.suites {
        let command = || {
            let mut command = stand.command(&python.program);
            command
                .env("PYTHONMALLOC", "malloc")
                .args(["-m", "test", "--timeout", "300", suite]);
            command
        };
        let with = process::capture(command(), LIMIT, |_| ())?;
        if with.success() {
            passed += 1;
            continue;
        }
        let mut without = command();
        without.env_remove("LD_PRELOAD");
        let without = process::capture(without, LIMIT, |_| ())?;
        let (failed, failed_without) = (failures(&with.output), failures(&without.output));
        let is_excused = with.status.is_some() && !failed.is_empty();
        if !is_excused || failed.iter().any(|test| !failed_without.contains(test)) {
            return Err(format!(
                "{suite} fails, and not so without the library:\n{}",
                with.output
            ));
        }
        same_without.extend(failed.iter().map(|test| (*test).to_owned()));
    }
    let mut account = format!("{passed} of its suites pass");
    if !same_without.is_empty() {
        account.push_str(&format!(
            "; these tests fail without the library as well: {}",
            same_without.join(", ")
        ));
    }
    Ok(account)
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
