//! `cargo xtask crates`: blocking crates of other people, unchanged, on goroutines.
//!
//! `tests/crates` is a workspace of its own, so that what these crates depend on stays out of everybody else's build. Where the registry cannot be reached and something is not there yet, the
//! command is skipped: a machine without a network is no failure of the workspace.

use crate::failure::Outcome;
use crate::test::Tally;
use crate::tools::{self, SKIPPED};
use crate::{process, workspace};
use lexopt::prelude::*;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
Usage: cargo xtask crates [options]

Runs rustls, ureq, httparse, tungstenite and postgres-protocol on goroutines, two hundred at once; against PostgreSQL too, where it is installed.

Options:
  --threads   each goroutine on a thread
";

/// A download or a build that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut features = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Long("threads") => features = vec!["--features", "thread-engine"],
            other => return Err(other.unexpected().into()),
        }
    }
    let package = workspace::root().join("tests/crates");
    let mut fetch = workspace::cargo(["fetch"]);
    fetch.current_dir(&package);
    let fetched = process::capture(fetch, LIMIT, |_| ())?;
    if !fetched.success() {
        if is_want_of_network(&fetched.output) {
            println!("{SKIPPED}the registry cannot be reached, and not all crates are here");
            return Ok(ExitCode::SUCCESS);
        }
        return Err(fetched.output.into());
    }
    // In the workspace's own target directory, where the runtime is built already.
    let mut command = workspace::cargo(["test", "--no-fail-fast", "--target-dir"]);
    command
        .arg(tools::target_directory()?)
        .args(features)
        .current_dir(package);
    let ran = process::capture(command, LIMIT, |_| ())?;
    print!("{}", ran.output);
    let tally = Tally::read(&ran.output);
    let failed = tally.failed + u64::from(!ran.success() && tally.failed == 0);
    println!("{} passed, {failed} failed", tally.passed);
    Ok(ExitCode::from(u8::from(failed > 0 || tally.passed == 0)))
}

/// Whether cargo says that it could not download something, and not that something is wrong with what it was given.
fn is_want_of_network(said: &str) -> bool {
    [
        "failed to download",
        "Could not resolve",
        "failed to fetch",
        "spurious network error",
    ]
    .iter()
    .any(|words| said.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_manifest_is_no_want_of_network() {
        assert!(is_want_of_network(
            "error: failed to download from `https://example.org/x`\n\nCaused by: Could not resolve host"
        ));
        assert!(!is_want_of_network(
            "error: failed to parse manifest at `/x`\n\nCaused by: no targets specified in the manifest"
        ));
    }
}
