//! `cargo xtask cost`: what the runtime adds to a program's build: time, crates, and bytes of the executable.
//!
//! A package is made as a user would make it, outside of this workspace and with cargo's own profiles. It is built from nothing with an empty `main`, then with the example of README.md, which
//! needs the runtime. Processor time is told beside the clock, since that depends on what else the machine does.

use crate::failure::{Failure, Outcome};
use crate::{interrupt, process, tools, workspace};
use lexopt::prelude::*;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "\
Usage: cargo xtask cost

Builds an empty program and README.md's example from nothing, in both of cargo's profiles, and says how long that took, how many crates were compiled, how long a
build takes after a change of the program alone, and how large the executable is, with symbols and without.
";

/// A build that takes longer than this is stuck.
const LIMIT: Duration = Duration::from_secs(20 * 60);

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
    interrupt::watch();
    let readme = std::fs::read_to_string(workspace::root().join("README.md"))
        .map_err(|error| format!("README.md: {error}"))?;
    let example = first_program(&readme).ok_or_else(|| "README.md has no program".to_owned())?;
    let folder = tools::target_directory()?.join("cost");
    println!(
        "| profile | program | clock | processors | crates | again after a change | executable | without symbols |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for (profile, flags) in [("dev", &[][..]), ("release", &["--release"][..])] {
        for (name, program, dependency) in [("empty", EMPTY, false), ("README's", example, true)] {
            let package = Package::make(&folder, program, dependency)?;
            let whole = package.build(flags)?;
            package.change(program)?;
            let again = package.build(flags)?;
            let (size, stripped) = package.sizes(profile)?;
            println!(
                "| {profile} | {name} | {:.1} s | {:.1} s | {} | {:.1} s | {} | {} |",
                whole.clock.as_secs_f64(),
                whole.processors,
                whole.crates,
                again.clock.as_secs_f64(),
                kilobytes(size),
                kilobytes(stripped)
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

const EMPTY: &str = "fn main() {}\n";

/// The first program in a text of Markdown.
fn first_program(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("```rust")?;
    let (_, rest) = rest.split_once('\n')?;
    let (program, _) = rest.split_once("```")?;
    Some(program)
}

fn kilobytes(bytes: u64) -> String {
    format!("{} KB", bytes.div_ceil(1000))
}

/// A package outside of the workspace, of which nothing is built yet.
struct Package {
    folder: PathBuf,
}

/// What a build took.
struct Build {
    clock: Duration,
    /// Seconds of all processors together.
    processors: f64,
    crates: usize,
}

impl Package {
    fn make(folder: &Path, program: &str, dependency: bool) -> Result<Package, Failure> {
        let package = Package {
            folder: folder.to_owned(),
        };
        let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(wrong(error).into());
            }
            _ => std::fs::create_dir_all(folder.join("src")).map_err(wrong)?,
        }
        let runtime = workspace::root().join("crates/goruntime");
        let needed = if dependency {
            format!("goruntime = {{ path = {runtime:?} }}\n")
        } else {
            String::new()
        };
        let manifest = format!(
            "[package]\nname = \"cost\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{needed}"
        );
        std::fs::write(folder.join("Cargo.toml"), manifest).map_err(wrong)?;
        // The versions that this workspace has, and that are on this machine.
        std::fs::copy(
            workspace::root().join("Cargo.lock"),
            folder.join("Cargo.lock"),
        )
        .map_err(wrong)?;
        package.change(program)?;
        Ok(package)
    }

    /// Writes the program, so that it has to be built.
    fn change(&self, program: &str) -> Result<(), Failure> {
        let file = self.folder.join("src/main.rs");
        std::fs::write(&file, program)
            .map_err(|error| format!("{}: {error}", file.display()).into())
    }

    fn build(&self, flags: &[&str]) -> Result<Build, Failure> {
        let mut command = workspace::cargo(["build", "--target-dir", "target"]);
        command.args(flags).current_dir(&self.folder);
        // Whatever profile the caller builds this workspace with.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PROFILE_")) {
            command.env_remove(name);
        }
        let time_of_children = || process::processor_time(libc::RUSAGE_CHILDREN);
        let (begin, before) = (Instant::now(), time_of_children());
        let built = process::compile(command, LIMIT)?;
        let is_crate = |line: &&str| line.trim_start().starts_with("Compiling ");
        Ok(Build {
            clock: begin.elapsed(),
            processors: time_of_children() - before,
            crates: built.output.lines().filter(is_crate).count(),
        })
    }

    /// Bytes of the executable as it was built, and without its symbols.
    fn sizes(&self, profile: &str) -> Result<(u64, u64), Failure> {
        let folder = if profile == "dev" { "debug" } else { profile };
        let built = self.folder.join("target").join(folder).join("cost");
        let bare = built.with_extension("stripped");
        let mut strip = std::process::Command::new("strip");
        strip.arg("-o").arg(&bare).arg(&built);
        let stripped = process::capture(strip, LIMIT, |_| ())?;
        if !stripped.success() {
            return Err(format!("strip (binutils): {}", stripped.output).into());
        }
        let size = |path: &Path| match std::fs::metadata(path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
        Ok((size(&built)?, size(&bare)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_a_program() {
        let readme = std::fs::read_to_string(workspace::root().join("README.md")).unwrap();
        let program = first_program(&readme).unwrap();
        assert!(
            program.contains("fn main()") && program.contains("goruntime"),
            "{program}"
        );
        assert_eq!(first_program("no program"), None);
    }
}
