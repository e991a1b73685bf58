//! `cargo xtask fuzz`: the targets of `tests/fuzz` under libFuzzer, and the kept inputs as an ordinary test.
//!
//! The fuzzer is built with the toolchain at hand: coverage instrumentation is a pass of LLVM that stable compilers have
//! too. AddressSanitizer's flag is not stable, its runtime comes with stable toolchains nonetheless; where it does not, the
//! fuzzer is built without.
//!
//! What is found goes under the target directory. Only `--keep` changes `tests/fuzz/corpus`: it puts the smallest set of
//! inputs with the same coverage in place of the one there. Files named `regression-*` are inputs that once failed; they stay.

use crate::console::{Region, Row, Style};
use crate::failure::{Failure, Outcome};
use crate::nearest::unknown;
use crate::test::Tally;
use crate::tools::{self, SKIPPED};
use crate::{interrupt, process, workspace};
use lexopt::prelude::*;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

const HELP: &str = "\
Usage: cargo xtask fuzz [target...] [seconds] [options]

Runs each target for so many seconds (10); all of them without a name.

Options:
  --list         name the targets instead
  --input FILE   run one target on one input, to see it fail again
  --keep         then minimise what was found into tests/fuzz/corpus
  --corpus       run the kept inputs through every target as a test, without the fuzzer
";

/// A build that takes longer than this is stuck.
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);

/// What one input may take, in seconds: a target that is slower hangs, or has grown too slow to be fuzzed.
const INPUT_LIMIT: u32 = 20;

/// The longest input, in bytes.
const LONGEST: u32 = 2048;

/// Lines that are shown of a failure.
const SHOWN: usize = 60;

/// What an input that once failed is called, so that it stays.
const REGRESSION: &str = "regression-";

/// Instrumentation that libFuzzer reads, as its documentation asks for it.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

struct Options {
    targets: Vec<String>,
    seconds: u32,
    keep: bool,
    input: Option<PathBuf>,
}

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let known = targets()?;
    let mut options = Options {
        targets: Vec::new(),
        seconds: 10,
        keep: false,
        input: None,
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Long("list") => {
                for name in known {
                    println!("{name:<14}{} inputs kept", inputs(&kept(&name))?.len());
                }
                return Ok(ExitCode::SUCCESS);
            }
            Long("corpus") => return replay(),
            Long("keep") => options.keep = true,
            Long("input") => options.input = Some(arguments.value()?.into()),
            Value(value) => {
                let value = value.string()?;
                match value.parse() {
                    Ok(seconds) => options.seconds = seconds,
                    Err(_) if known.contains(&value) => options.targets.push(value),
                    Err(_) => {
                        let names = known.iter().map(String::as_str);
                        return Err(Failure::Usage(unknown("target", &value, names)));
                    }
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if options.targets.is_empty() {
        options.targets = known;
    }
    interrupt::watch();
    if let Err(why) = tools::need_program("c++", "g++") {
        println!("{SKIPPED}{why}");
        return Ok(ExitCode::SUCCESS);
    }
    let fuzzer = Fuzzer::build()?;
    match (&options.input, &options.targets[..]) {
        (None, _) => fuzzer.run_all(&options),
        (Some(input), [target]) => fuzzer.run_input(target, input),
        (Some(_), _) => Err(Failure::Usage("--input goes with one target".to_owned())),
    }
}

fn package() -> PathBuf {
    workspace::root().join("tests/fuzz")
}

/// The inputs that are kept for a target.
fn kept(target: &str) -> PathBuf {
    package().join("corpus").join(target)
}

/// The targets. Each has a folder of inputs, which the package's test makes sure of; so nothing is built to know them.
fn targets() -> Result<Vec<String>, String> {
    let folders = inputs(&package().join("corpus"))?;
    let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    Ok(folders.iter().filter_map(name).collect())
}

/// What is in a folder, in order.
fn inputs(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let cannot = |why: std::io::Error| format!("cannot read {}: {why}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        found.push(entry.map_err(cannot)?.path());
    }
    found.sort();
    Ok(found)
}

/// The kept inputs as `cargo test` runs them.
fn replay() -> Outcome {
    let mut command = workspace::cargo(["test", "--no-fail-fast", "--target-dir"]);
    command
        .arg(tools::target_directory()?.join("fuzz"))
        .current_dir(package())
        .env("RUSTFLAGS", tools::rustflags(&["--cfg", "fuzzing"]));
    let ran = process::capture(command, BUILD_LIMIT, |_| ())?;
    print!("{}", ran.output);
    let tally = Tally::read(&ran.output);
    let failed = tally.failed + u64::from(!ran.success() && tally.failed == 0);
    println!("{} passed, {failed} failed", tally.passed);
    Ok(ExitCode::from(u8::from(failed > 0 || tally.passed == 0)))
}

/// The built fuzzer.
struct Fuzzer {
    program: PathBuf,
    /// Where it puts what it finds.
    output: PathBuf,
}

impl Fuzzer {
    fn build() -> Result<Fuzzer, String> {
        let output = tools::target_directory()?.join("fuzz");
        let mut command = workspace::cargo(["build", "--release", "--bin", "fuzz"]);
        command
            .args(["--features", "engine", "--target", TRIPLE, "--target-dir"])
            .arg(&output)
            .current_dir(package());
        let mut flags = vec!["--cfg", "fuzzing"];
        flags.extend(COVERAGE);
        if has_address_sanitizer() {
            flags.push("-Zsanitizer=address");
            command.env("RUSTC_BOOTSTRAP", "1");
        } else {
            println!("without AddressSanitizer: this toolchain has no runtime for it");
        }
        command.env("RUSTFLAGS", tools::rustflags(&flags));
        let mut region = Region::begin();
        let ran = process::capture(command, BUILD_LIMIT, |_| {
            if let Some(region) = &mut region {
                let row = Row::new().with(Style::Dim, "building the fuzzer");
                // Progress that cannot be shown is no reason to stop.
                let _ = region.draw(&[row]);
            }
        })?;
        if let Some(region) = &mut region {
            let _ = region.clear();
        }
        if !ran.success() {
            return Err(format!("the fuzzer does not compile:\n{}", ran.output));
        }
        let program = output.join(TRIPLE).join("release/fuzz");
        Ok(Fuzzer { program, output })
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(workspace::root());
        command.env("GORUNTIME_FUZZ_TARGET", target);
        command.arg(format!("-timeout={INPUT_LIMIT}"));
        command.arg(format!("-max_len={LONGEST}"));
        command
    }

    fn folder(&self, kind: &str, target: &str) -> Result<PathBuf, String> {
        let folder = self.output.join(kind).join(target);
        std::fs::create_dir_all(&folder)
            .map_err(|why| format!("cannot make {}: {why}", folder.display()))?;
        Ok(folder)
    }

    fn run_input(&self, target: &str, input: &Path) -> Outcome {
        let mut command = Command::new(&self.program);
        let status = command
            .env("GORUNTIME_FUZZ_TARGET", target)
            .arg(input)
            .status()
            .map_err(|why| format!("cannot start the fuzzer: {why}"))?;
        Ok(ExitCode::from(u8::from(!status.success())))
    }

    fn run_all(&self, options: &Options) -> Outcome {
        let (mut ok, mut failed) = (0, 0);
        for target in &options.targets {
            let found = self.run_one(target, options.seconds)?;
            let (style, verdict) = match found.problem {
                None => (Style::Good, "ok    "),
                Some(_) => (Style::Bad, "failed"),
            };
            Row::new()
                .with(style, verdict)
                .with(Style::Plain, format!("  {target:<14}{}", found.summary))
                .print()?;
            match found.problem {
                None => ok += 1,
                Some(problem) => {
                    failed += 1;
                    println!("{problem}");
                }
            }
            if options.keep {
                self.keep(target)?;
            }
        }
        println!("{ok} passed, {failed} failed");
        Ok(ExitCode::from(u8::from(failed > 0 || ok == 0)))
    }

    fn run_one(&self, target: &str, seconds: u32) -> Result<Found, String> {
        let mut command = self.command(target);
        let artifacts = self.folder("failures", target)?;
        command
            .arg(format!("-max_total_time={seconds}"))
            .args(["-print_final_stats=1", "-rss_limit_mb=2048"])
            .arg(format!("-artifact_prefix={}/", artifacts.display()));
        let dictionary = package()
            .join("dictionaries")
            .join(target)
            .with_extension("dict");
        if dictionary.exists() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        // New inputs go to the first folder; the others are read.
        command
            .arg(self.folder("corpus", target)?)
            .arg(kept(target));
        let limit = Duration::from_secs(u64::from(seconds) + 120);
        let ran = process::capture(command, limit, |_| ())?;
        Ok(Found::read(target, &ran.output, ran.success()))
    }

    /// Puts the least set of inputs with the coverage of all in place of the kept ones.
    fn keep(&self, target: &str) -> Result<(), String> {
        let fresh = self.folder("merged", target)?;
        let io = |why: std::io::Error| format!("cannot keep inputs for {target}: {why}");
        std::fs::remove_dir_all(&fresh).map_err(io)?;
        std::fs::create_dir_all(&fresh).map_err(io)?;
        let mut command = self.command(target);
        command
            .arg("-set_cover_merge=1")
            .arg(&fresh)
            .arg(kept(target))
            .arg(self.folder("corpus", target)?);
        let ran = process::capture(command, BUILD_LIMIT, |_| ())?;
        let merged = inputs(&fresh)?;
        if !ran.success() || merged.is_empty() {
            return Err(format!("minimising {target} failed:\n{}", ran.output));
        }
        for old in inputs(&kept(target))? {
            let name = old.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(REGRESSION) {
                std::fs::remove_file(&old).map_err(io)?;
            }
        }
        for input in &merged {
            let name = input.file_name().unwrap_or_default();
            std::fs::copy(input, kept(target).join(name)).map_err(io)?;
        }
        println!("        {} inputs kept", merged.len());
        Ok(())
    }
}

/// Does the toolchain come with the sanitizer's runtime?
fn has_address_sanitizer() -> bool {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir"]);
    let Ok(ran) = process::capture(command, Duration::from_secs(20), |_| ()) else {
        return false;
    };
    std::fs::read_dir(ran.stdout.trim()).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with("_rt.asan.a"))
        })
    })
}

/// How a run of a target went.
struct Found {
    summary: String,
    problem: Option<String>,
}

impl Found {
    fn read(target: &str, output: &str, success: bool) -> Found {
        let number = |name: &str| -> Option<u64> {
            let line = output.lines().rev().find(|line| line.contains(name))?;
            let rest = &line[line.find(name)? + name.len()..];
            rest.split_whitespace().next()?.parse().ok()
        };
        let runs = number("stat::number_of_executed_units:").unwrap_or(0);
        let edges = number(" cov:").unwrap_or(0);
        let summary = format!("{runs} runs, {edges} edges");
        if success && runs > 0 {
            return Found {
                summary,
                problem: None,
            };
        }
        let said: Vec<&str> = output
            .lines()
            .filter(|line| !line.starts_with('#') && !line.starts_with("stat::"))
            .collect();
        let mut problem: Vec<String> = said[said.len().saturating_sub(SHOWN)..]
            .iter()
            .map(|line| format!("        {line}"))
            .collect();
        if success {
            problem.push("        it ran no input".to_owned());
        }
        let artifact = output
            .lines()
            .find_map(|line| line.split_once("Test unit written to "));
        if let Some((_, path)) = artifact {
            problem.push(format!(
                "        again: cargo xtask fuzz {target} --input {path}\n        \
                 when mended: cp {path} tests/fuzz/corpus/{target}/{REGRESSION}what-it-was"
            ));
        }
        Found {
            summary,
            problem: Some(problem.join("\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_known_without_building() {
        let targets = targets().unwrap();
        assert!(targets.contains(&"heap".to_owned()), "{targets:?}");
    }

    #[test]
    fn a_run_without_inputs_is_a_failure() {
        assert!(Found::read("x", "", true).problem.is_some());
        let output = "#9\tDONE   cov: 7 ft: 9\nstat::number_of_executed_units: 9\n";
        let found = Found::read("x", output, true);
        assert!(found.problem.is_none());
        assert_eq!(found.summary, "9 runs, 7 edges");
    }

    #[test]
    fn a_failure_says_how_to_see_it_again() {
        let output = "#2\tINITED\nthread panicked\nTest unit written to /t/crash-1\n";
        let problem = Found::read("x", output, false).problem.unwrap();
        assert!(problem.contains("thread panicked") && !problem.contains("INITED"));
        assert!(problem.contains("cargo xtask fuzz x --input /t/crash-1"));
    }
}
