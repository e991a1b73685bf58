//! `cargo xtask doc`: the API reference with rustdoc, and the book with mdBook where it is installed.

use crate::failure::{Failure, Outcome};
use crate::workspace;
use lexopt::prelude::*;
use std::process::{Command, ExitCode};

const HELP: &str = "\
Usage: cargo xtask doc

Builds the API reference of every crate with rustdoc, and the book under docs/ with mdbook, which is skipped
where it is not installed (`cargo install mdbook` installs it).
";

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    match arguments.next()? {
        None => {}
        Some(Long("help") | Short('h')) => {
            print!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(other) => return Err(other.unexpected().into()),
    }
    succeed(
        "rustdoc",
        workspace::cargo(["doc", "--workspace", "--no-deps"]),
    )?;
    if workspace::is_installed("mdbook", &["--version"]) {
        let mut build = Command::new("mdbook");
        build.current_dir(workspace::root()).args(["build", "docs"]);
        succeed("mdbook", build)?;
        println!("the book: docs/book/index.html");
    } else {
        println!(
            "the book was skipped: mdbook is not installed; `cargo install mdbook` installs it"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn succeed(what: &str, mut command: Command) -> Result<(), Failure> {
    let status = command
        .status()
        .map_err(|why| format!("cannot start {what}: {why}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::Broken(format!("{what} failed ({status})"))),
    }
}
