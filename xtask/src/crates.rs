//! `cargo xtask crates`: blocking crates of other people, unchanged, on goroutines.
//!
//! `tests/crates` is a workspace of its own, so that what these crates depend on stays out of everybody else's build. Where the registry cannot be reached and something is not there yet, the
//! command is skipped: a machine without a network is no failure of the workspace.

use crate::failure::{Failure, Outcome};
use crate::test::Tally;
use crate::tools::{self, SKIPPED};
use crate::{process, workspace};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

const HELP: &str = "\
Usage: cargo xtask crates [options]

Runs rustls, ureq, httparse, tungstenite and postgres-protocol on goroutines, two hundred at once; against PostgreSQL too, where it is installed.

Options:
  --threads   each goroutine on a thread
";

/// Where the package is.
const PACKAGE: &str = "tests/crates";

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
    if !are_here()? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = cargo(&["test", "--no-fail-fast"])?;
    command.args(features);
    let ran = process::capture(command, LIMIT, |_| ())?;
    print!("{}", ran.output);
    let tally = Tally::read(&ran.output);
    let failed = tally.failed + u64::from(!ran.success() && tally.failed == 0);
    println!("{} passed, {failed} failed", tally.passed);
    Ok(ExitCode::from(u8::from(failed > 0 || tally.passed == 0)))
}

/// Builds an example of the package, a program that needs these crates. Returns its path; `None`, having said so, if not all of them are to be had.
///
/// # Errors
/// When it does not compile.
pub fn build_example(name: &str) -> Result<Option<PathBuf>, Failure> {
    if !are_here()? {
        return Ok(None);
    }
    process::compile(cargo(&["build", "--example", name])?, LIMIT)?;
    let programs = tools::target_directory()?.join("debug/examples");
    Ok(Some(programs.join(name)))
}

/// A command of cargo's for the package, in the workspace's own target directory, where the runtime is built already.
fn cargo(arguments: &[&str]) -> Result<Command, Failure> {
    let mut command = workspace::cargo(arguments.iter().copied());
    command
        .arg("--target-dir")
        .arg(tools::target_directory()?)
        .current_dir(workspace::root().join(PACKAGE));
    Ok(command)
}

/// Fetches what the package depends on. False, having said so, if the registry cannot be reached and not everything is here.
fn are_here() -> Result<bool, Failure> {
    let mut fetch = workspace::cargo(["fetch"]);
    fetch.current_dir(workspace::root().join(PACKAGE));
    let fetched = process::capture(fetch, LIMIT, |_| ())?;
    if fetched.success() {
        return Ok(true);
    }
    if is_want_of_network(&fetched.output) {
        println!("{SKIPPED}the registry cannot be reached, and not all crates are here");
        return Ok(false);
    }
    Err(fetched.output.into())
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
