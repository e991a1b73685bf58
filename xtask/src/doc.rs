//! `cargo xtask doc`: the API reference, the code that documentation quotes, its links, and the book.
//!
//! Each step says what it looked at. The book needs mdBook, which is taken from the path or from `target/tools`, where `--install` puts it; without, that
//! step alone is skipped.

use crate::failure::{Failure, Outcome};
use crate::tools::SKIPPED;
use crate::{interrupt, lint, process, workspace};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

const HELP: &str = "\
Usage: cargo xtask doc [--install]

Builds the API reference with warnings denied, compiles and runs the code in documentation, follows links, and builds the book.

Options:
  --install   build mdBook into target/tools first, if it is missing
";

/// A step that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The checks of the lint that are about documentation.
const CHECKS: &[&str] = &[
    "links", "names", "commands", "quotes", "course", "settings", "diagram", "book", "prose",
    "rustdoc",
];

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut install = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Long("install") => install = true,
            other => return Err(other.unexpected().into()),
        }
    }
    interrupt::watch();
    if lint::run_named(CHECKS)? != ExitCode::SUCCESS {
        return Ok(ExitCode::FAILURE);
    }
    println!(
        "reference: {}",
        crate::tools::target_directory()?.join("doc").display()
    );
    quoted_code()?;
    book(install)?;
    Ok(ExitCode::SUCCESS)
}

/// Compiles and runs what documentation quotes, READMEs included.
fn quoted_code() -> Result<(), Failure> {
    let command = workspace::cargo(["test", "--workspace", "--doc"]);
    let ran = process::capture(command, LIMIT, |_| ())?;
    let tally = crate::test::Tally::read(&ran.output);
    println!(
        "quoted code: {} passed, {} failed",
        tally.passed, tally.failed
    );
    match ran.success() && tally.passed > 0 {
        true => Ok(()),
        false => Err(Failure::Broken(ran.output)),
    }
}

fn book(install: bool) -> Result<(), Failure> {
    let own = workspace::root().join("target/tools");
    let at_own = own.join("bin/mdbook");
    let program = match () {
        () if workspace::is_installed("mdbook", &["--version"]) => PathBuf::from("mdbook"),
        () if at_own.exists() => at_own,
        () if install => {
            println!("building mdBook into target/tools");
            let mut command =
                workspace::cargo(["install", "--locked", "--quiet", "mdbook", "--root"]);
            command.arg(&own);
            succeed("cargo install mdbook", command)?;
            at_own
        }
        () => {
            println!(
                "{SKIPPED}the book: mdBook is not installed; `cargo xtask doc --install` builds it into target/tools"
            );
            return Ok(());
        }
    };
    let mut build = Command::new(program);
    build.current_dir(workspace::root()).args(["build", "docs"]);
    succeed("mdbook", build)?;
    println!("book: docs/book/index.html");
    Ok(())
}

fn succeed(what: &str, command: Command) -> Result<(), Failure> {
    let ran = process::capture(command, LIMIT, |_| ())?;
    match ran.success() {
        true => Ok(()),
        false => Err(Failure::Broken(format!("{what} failed:\n{}", ran.output))),
    }
}
