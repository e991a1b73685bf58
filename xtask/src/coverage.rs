//! `cargo xtask coverage`: which lines the tests reach, by file, the least first.
//!
//! The compiler's own instrumentation, read by the LLVM tools that belong to it; where those cannot be had the command is skipped with a line that
//! says so. A number is no goal: the list shows where a test is missing.

use crate::failure::Outcome;
use crate::tools::{self, SKIPPED, Toolchain};
use crate::workspace::{self, at, list_at, text_at};
use crate::{interrupt, process};
use lexopt::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use tinyjson::JsonValue;

const HELP: &str = "\
Usage: cargo xtask coverage [--html]

Runs the crates' own tests with instrumentation and prints how much of each file they reach.

Options:
  --html   also write target/coverage/html/index.html
";

/// The tests with instrumentation hang if they take longer.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// What is run: every crate alone and the suites that cross them.
const TESTS: &[&[&str]] = &[
    &["-p", "gomem"],
    &["-p", "gogc", "--features", "testing"],
    &["-p", "gostack"],
    &["-p", "gosched"],
    &["-p", "gosysmon"],
    &["-p", "goruntime"],
    &["-p", "goruntime-tests"],
];

/// Lines of a file: how many there are, and how many were reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    all: u64,
    reached: u64,
}

impl Lines {
    fn percent(self) -> f64 {
        self.reached as f64 / self.all.max(1) as f64 * 100.0
    }
}

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut html = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Long("html") => html = true,
            other => return Err(other.unexpected().into()),
        }
    }
    interrupt::watch();
    let tools = match Toolchain::Own
        .need("llvm-tools")
        .and_then(|()| llvm_tools())
    {
        Ok(tools) => tools,
        Err(why) => {
            println!("{SKIPPED}{why}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let output = workspace::root().join("target/coverage");
    let programs = run_tests(&output)?;
    let profile = merge(&tools, &output)?;
    let command = |what: &[&str]| {
        let mut command = Command::new(tools.join("llvm-cov"));
        command
            .args(what)
            .arg(format!("-instr-profile={}", profile.display()));
        command.arg(&programs[0]);
        for program in &programs[1..] {
            command.arg("-object").arg(program);
        }
        command.arg("-ignore-filename-regex=(/.cargo/|/rustc/|/tests?/|tests.rs|/testing)");
        command
    };
    let exported = succeed(command(&["export", "-summary-only", "-format=text"]))?;
    let files = read(&exported, &workspace::root())?;
    show(&files);
    if html {
        let folder = output.join("html");
        let mut command = command(&["show", "-format=html"]);
        command.arg(format!("-output-dir={}", folder.display()));
        succeed(command)?;
        println!("{}", folder.join("index.html").display());
    }
    Ok(ExitCode::from(u8::from(files.is_empty())))
}

/// The folder of the LLVM tools of this toolchain.
fn llvm_tools() -> Result<PathBuf, String> {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir"]);
    let libraries = succeed(command)?;
    let folder = Path::new(libraries.trim()).with_file_name("bin");
    match folder.join("llvm-cov").exists() {
        true => Ok(folder),
        false => Err(format!("there is no llvm-cov in {}", folder.display())),
    }
}

/// Runs the tests, and returns their programs.
fn run_tests(output: &Path) -> Result<Vec<PathBuf>, String> {
    let profiles = output.join("profiles");
    let _ = std::fs::remove_dir_all(&profiles);
    let mut programs = Vec::new();
    for tests in TESTS {
        println!("{}", tests.join(" "));
        let mut command = workspace::cargo(["test", "--no-fail-fast", "--lib", "--tests"]);
        command.args(*tests).args(["--message-format=json"]);
        command
            .env("RUSTFLAGS", tools::rustflags(&["-Cinstrument-coverage"]))
            .env("CARGO_TARGET_DIR", output)
            .env("LLVM_PROFILE_FILE", profiles.join("%p-%8m.profraw"));
        let ran = process::capture(command, LIMIT, |_| ())?;
        if !ran.success() {
            println!("  some of these tests fail with instrumentation; what they reached counts");
        }
        let messages = ran
            .stdout
            .lines()
            .filter_map(|line| line.parse::<JsonValue>().ok());
        programs.extend(messages.filter_map(|m| text_at(&m, &["executable"]).map(PathBuf::from)));
    }
    programs.sort();
    programs.dedup();
    match programs.is_empty() {
        true => Err("no test was built".to_owned()),
        false => Ok(programs),
    }
}

fn merge(tools: &Path, output: &Path) -> Result<PathBuf, String> {
    let profile = output.join("all.profdata");
    let mut command = Command::new(tools.join("llvm-profdata"));
    command
        .args(["merge", "-sparse"])
        .arg(output.join("profiles"));
    command.arg("-o").arg(&profile);
    succeed(command)?;
    Ok(profile)
}

fn succeed(command: Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ran = process::capture(command, LIMIT, |_| ())?;
    match ran.success() {
        true => Ok(ran.stdout),
        false => Err(format!("{program} failed:\n{}", ran.output)),
    }
}

/// The lines of each file below `root`, by its path from there.
fn read(exported: &str, root: &Path) -> Result<BTreeMap<String, Lines>, String> {
    let json: JsonValue = exported
        .parse()
        .map_err(|why| format!("llvm-cov did not answer with JSON: {why}"))?;
    let number = |file: &JsonValue, key: &str| {
        let value = at(file, &["summary", "lines", key]).and_then(|n| n.get::<f64>().copied());
        value.unwrap_or_default() as u64
    };
    let mut files = BTreeMap::new();
    for data in list_at(&json, &["data"]) {
        for file in list_at(data, &["files"]) {
            let name = text_at(file, &["filename"]).unwrap_or_default();
            if let Ok(path) = Path::new(name).strip_prefix(root.join("crates")) {
                let lines = Lines {
                    all: number(file, "count"),
                    reached: number(file, "covered"),
                };
                files.insert(path.display().to_string(), lines);
            }
        }
    }
    Ok(files)
}

fn show(files: &BTreeMap<String, Lines>) {
    let mut crates: BTreeMap<&str, Lines> = BTreeMap::new();
    for (path, lines) in files {
        let sum = crates
            .entry(path.split('/').next().unwrap_or_default())
            .or_default();
        sum.all += lines.all;
        sum.reached += lines.reached;
    }
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by(|a, b| a.1.percent().total_cmp(&b.1.percent()));
    let line = |name: &str, lines: Lines| {
        println!(
            "{:>6.1} %  {:>5} of {:>5}  {name}",
            lines.percent(),
            lines.reached,
            lines.all
        )
    };
    println!("by file, the least first");
    sorted.iter().for_each(|(path, lines)| line(path, **lines));
    println!("by crate");
    crates.iter().for_each(|(name, lines)| line(name, *lines));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_by_file() {
        let exported = r#"{"data":[{"files":[
            {"filename":"/r/crates/a/src/x.rs","summary":{"lines":{"count":10,"covered":4}}},
            {"filename":"/elsewhere/y.rs","summary":{"lines":{"count":9,"covered":9}}}]}]}"#;
        let files = read(exported, Path::new("/r")).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(
            files["a/src/x.rs"],
            Lines {
                all: 10,
                reached: 4
            }
        );
        assert_eq!(files["a/src/x.rs"].percent(), 40.0);
        assert!(read("no", Path::new("/r")).is_err());
    }
}
