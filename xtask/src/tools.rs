//! Tools that are not part of every installation: how they are called, and how they are had.
//!
//! A command that needs one asks here first. What `rustup` or Debian's package manager can install is installed; what
//! cannot be had is answered with a line that says what is missing, and the command is skipped with it: a machine
//! without a tool is no failure of the workspace.

use crate::{process, workspace};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Downloads that take longer are stuck.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// The toolchain of this run, or the newest one, which has what is not stable yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The one that this tool was built with.
    Own,
    /// The nightly one.
    Nightly,
}

impl Toolchain {
    /// A cargo command of the toolchain, which will run in the root.
    pub fn cargo<'a>(self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        match self {
            Toolchain::Own => workspace::cargo(arguments),
            Toolchain::Nightly => {
                let mut command = Command::new("rustup");
                command
                    .current_dir(workspace::root())
                    .args(["run", "nightly", "cargo"])
                    .args(arguments)
                    .env_remove("CARGO")
                    .env_remove("RUSTC");
                command
            }
        }
    }

    /// Makes sure of a component, installing it if need be.
    ///
    /// # Errors
    /// If it is not there and cannot be installed; the text says what to do.
    pub fn need(self, component: &str) -> Result<(), String> {
        let toolchain: &[&str] = match self {
            Toolchain::Own => &[],
            Toolchain::Nightly => &["--toolchain", "nightly"],
        };
        let rustup = |arguments: &[&str]| {
            let mut command = Command::new("rustup");
            command.args(arguments).args(toolchain);
            process::capture(command, LIMIT, |_| ())
        };
        let installed = rustup(&["component", "list", "--installed"]);
        if installed.is_ok_and(|ran| {
            ran.stdout
                .lines()
                .any(|line| line == component || line.starts_with(&format!("{component}-")))
        }) {
            return Ok(());
        }
        let name = match self {
            Toolchain::Own => "this",
            Toolchain::Nightly => "the nightly",
        };
        println!("installing {component} for {name} toolchain");
        if self == Toolchain::Nightly {
            // Does nothing where it is installed; if it fails, so does what follows.
            let mut command = Command::new("rustup");
            command.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
            let _ = process::capture(command, LIMIT, |_| ());
        }
        match rustup(&["component", "add", component]) {
            Ok(ran) if ran.success() => Ok(()),
            _ => Err(format!(
                "{component} is missing and cannot be installed; `rustup component add {component} {}` installs it where there \
                 is a network",
                toolchain.join(" ")
            )),
        }
    }
}

/// Makes sure of a program, installing the Debian package that has it if need be.
///
/// # Errors
/// If it is not there and cannot be installed; the text says what to do.
pub fn need_program(program: &str, package: &str) -> Result<(), String> {
    need(program, package, || {
        workspace::is_installed(program, &["--version"])
    })
}

/// Makes sure of something that can be seen to be there, installing the Debian package that has it if need be.
///
/// # Errors
/// As [`need_program`].
pub fn need(what: &str, package: &str, is_there: impl Fn() -> bool) -> Result<(), String> {
    if is_there() {
        return Ok(());
    }
    // SAFETY: getuid has no arguments and cannot fail.
    let is_root = unsafe { libc::getuid() } == 0;
    if is_root && workspace::is_installed("apt-get", &["--version"]) {
        println!("installing {package}");
        let mut command = Command::new("apt-get");
        command.args(["install", "-y", "--no-install-recommends", package]);
        let ran = process::capture(command, LIMIT, |_| ());
        if ran.is_ok_and(|ran| ran.success()) && is_there() {
            return Ok(());
        }
    }
    Err(format!(
        "{what} is missing; Debian's package {package} has it"
    ))
}

/// Where this run's build output goes.
///
/// # Errors
/// When cargo does not say.
pub fn target_directory() -> Result<PathBuf, String> {
    let metadata = workspace::metadata()?;
    workspace::text_at(&metadata, &["target_directory"])
        .map(PathBuf::from)
        .ok_or_else(|| "cargo metadata names no target directory".to_owned())
}

/// Flags for the compiler: those that the environment asks for already, and `more`.
pub fn rustflags(more: &[&str]) -> String {
    let asked = std::env::var("RUSTFLAGS").unwrap_or_default();
    let all = std::iter::once(asked.as_str()).chain(more.iter().copied());
    let all: Vec<&str> = all.filter(|flag| !flag.is_empty()).collect();
    all.join(" ")
}

/// What is printed for a command that cannot be run here. `cargo xtask test` knows a skipped job by it.
pub const SKIPPED: &str = "skipped: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_installed_again() {
        assert_eq!(need_program("cc", "gcc"), Ok(()));
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let why = need_program("no-such-program", "no-such-package").unwrap_err();
        assert!(
            why.contains("no-such-program") && why.contains("no-such-package"),
            "{why}"
        );
    }

    #[test]
    fn flags_are_joined_by_one_space() {
        assert!(rustflags(&["--cfg", "x"]).ends_with("--cfg x"));
    }
}
