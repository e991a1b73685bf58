//! `cargo xtask miri` and `cargo xtask sanitize`: the suites on machines that watch every access.
//!
//! Miri interprets, and finds undefined behaviour of the language and, with several seeds, weak-memory behaviour that this processor never shows. The
//! sanitizers run compiled code with instrumentation. Both need the nightly toolchain, which is installed if it can be; what cannot be had is skipped with a
//! line that says so. What each cannot run is left out where the test stands, with the reason.

use crate::failure::{Failure, Outcome};
use crate::nearest::unknown;
use crate::test::Tally;
use crate::tools::{self, SKIPPED, Toolchain};
use crate::{interrupt, process, workspace};
use lexopt::prelude::*;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// A suite that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Lines that are shown of a failure.
const SHOWN: usize = 60;

/// One suite under one watcher.
struct Suite {
    name: &'static str,
    /// Of `cargo test`.
    arguments: &'static [&'static str],
    /// Flags for Miri; nothing for the sanitizers.
    flags: &'static str,
    /// Tests that a watcher cannot follow.
    left_out: &'static [LeftOut],
}

/// Tests that do not run under one watcher.
struct LeftOut {
    /// `address` or `thread`.
    by: &'static str,
    /// What their names contain.
    tests: &'static str,
    /// Printed with the results.
    because: &'static str,
}

/// What needs no assembly. Seeds choose other schedules and other values for loads that may be stale.
const MIRI: &[Suite] = &[
    // Blocks lead back to their spans by address: provenance is exposed, as allocators do. Aliasing is not looked at, for which the interpreter
    // would go through millions of table entries at each lookup; races, bounds and uninitialised memory are.
    Suite {
        name: "gomem",
        arguments: &["-p", "gomem", "--lib", "--tests"],
        flags: "-Zmiri-permissive-provenance -Zmiri-disable-stacked-borrows",
        left_out: &[],
    },
    Suite {
        name: "gogc",
        arguments: &["-p", "gogc", "--features", "testing", "--lib", "--tests"],
        flags: "-Zmiri-permissive-provenance",
        left_out: &[],
    },
    // Goroutines and Ms are never freed.
    Suite {
        name: "gosched",
        arguments: &["-p", "gosched", "--lib"],
        flags: "-Zmiri-ignore-leaks",
        left_out: &[],
    },
    // The rest of the crate is assembly and the operating system.
    Suite {
        name: "gostack",
        arguments: &["-p", "gostack", "--test", "managed"],
        flags: "",
        left_out: &[],
    },
    Suite {
        name: "gosysmon",
        arguments: &["-p", "gosysmon", "--lib", "--tests"],
        flags: "",
        left_out: &[],
    },
];

/// What runs on stacks that the sanitizers know: the crates alone, the scheduler among them with goroutines that are threads.
const SANITIZED: &[Suite] = &[
    Suite {
        name: "gomem",
        arguments: &["-p", "gomem", "--lib", "--tests"],
        flags: "",
        left_out: &[],
    },
    Suite {
        name: "gogc",
        arguments: &["-p", "gogc", "--features", "testing", "--lib", "--tests"],
        flags: "",
        left_out: &[],
    },
    Suite {
        name: "gosched",
        arguments: &["-p", "gosched", "--lib", "--tests"],
        flags: "",
        left_out: &[
            LeftOut {
                by: "address",
                tests: "a_refused_thread_is_reported_once_and_work_goes_on",
                because: "it limits the address space, of which the sanitizer needs more all the time",
            },
            LeftOut {
                by: "thread",
                tests: "a_refused_thread_is_reported_once_and_work_goes_on",
                because: "it limits the address space, and runs on stacks",
            },
            LeftOut {
                by: "thread",
                tests: "on_stacks",
                because: "the sanitizer takes a goroutine that changes threads for two that race",
            },
            LeftOut {
                by: "thread",
                tests: "stopped_threads_hold_nothing",
                because: "the sanitizer puts signals off until the next system call",
            },
        ],
    },
    Suite {
        name: "gosysmon",
        arguments: &["-p", "gosysmon", "--lib", "--tests"],
        flags: "",
        left_out: &[],
    },
];

const MIRI_HELP: &str = "\
Usage: cargo xtask miri [suite] [filter] [--seeds N]

Interprets the suites that need no assembly, or one, or those of its tests that have the filter in their names.

Options:
  --seeds N   how many schedules of each (1)
";

const SANITIZE_HELP: &str = "\
Usage: cargo xtask sanitize [address|thread] [suite]

Runs the suites under AddressSanitizer with its leak check (the default), or under ThreadSanitizer.
";

/// Runs the suites under Miri.
pub fn run_miri(mut arguments: lexopt::Parser) -> Outcome {
    let (mut words, mut seeds) = (Vec::new(), 1u32);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{MIRI_HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Long("seeds") => seeds = arguments.value()?.parse::<u32>()?.max(1),
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let (suites, filter) = choose(MIRI, &words)?;
    interrupt::watch();
    for component in ["miri", "rust-src"] {
        if let Err(why) = Toolchain::Nightly.need(component) {
            println!("{SKIPPED}{why}");
            return Ok(ExitCode::SUCCESS);
        }
    }
    run_all(&suites, |suite| {
        let mut command = Toolchain::Nightly.cargo(["miri", "test", "--no-fail-fast"]);
        command.args(suite.arguments);
        if let Some(filter) = filter {
            command.args(["--", filter]);
        }
        // The tests read the clock and /proc.
        let flags = format!("-Zmiri-disable-isolation {}", suite.flags);
        let flags = match seeds {
            1 => flags,
            n => format!("{flags} -Zmiri-many-seeds=0..{n}"),
        };
        command.env("MIRIFLAGS", flags);
        Ok(command)
    })
}

/// Runs the suites under a sanitizer.
pub fn run_sanitize(mut arguments: lexopt::Parser) -> Outcome {
    let mut words: Vec<String> = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{SANITIZE_HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let sanitizer = match words.first().map(String::as_str) {
        Some("thread") => "thread",
        _ => "address",
    };
    if words.first().is_some_and(|word| word == sanitizer) {
        words.remove(0);
    }
    let (suites, _) = choose(SANITIZED, &words)?;
    interrupt::watch();
    // The standard library is instrumented as well, because its synchronisation is what orders accesses.
    if let Err(why) = Toolchain::Nightly.need("rust-src") {
        println!("{SKIPPED}{why}");
        return Ok(ExitCode::SUCCESS);
    }
    let target = workspace::root().join("target/sanitize").join(sanitizer);
    run_all(&suites, |suite| {
        let mut command = Toolchain::Nightly.cargo(["test", "--no-fail-fast"]);
        command.args(suite.arguments);
        command.args(["--target", "x86_64-unknown-linux-gnu", "--target-dir"]);
        command.arg(&target);
        let flag = format!("-Zsanitizer={sanitizer}");
        command.env("RUSTFLAGS", tools::rustflags(&[&flag]));
        if sanitizer == "thread" {
            command.arg("-Zbuild-std");
        }
        command.arg("--");
        for left_out in suite.left_out.iter().filter(|out| out.by == sanitizer) {
            command.args(["--skip", left_out.tests]);
            println!(
                "{:<10} without {}: {}",
                suite.name, left_out.tests, left_out.because
            );
        }
        Ok(command)
    })
}

/// The suites that are meant, and what the names of tests must contain.
fn choose<'a>(
    all: &'static [Suite],
    words: &'a [String],
) -> Result<(Vec<&'static Suite>, Option<&'a str>), Failure> {
    let Some(first) = words.first() else {
        return Ok((all.iter().collect(), None));
    };
    match all.iter().find(|suite| suite.name == first) {
        Some(suite) => Ok((vec![suite], words.get(1).map(String::as_str))),
        None => Err(Failure::Usage(unknown(
            "suite",
            first,
            all.iter().map(|suite| suite.name),
        ))),
    }
}

fn run_all(suites: &[&Suite], command: impl Fn(&Suite) -> Result<Command, String>) -> Outcome {
    let mut total = Tally::default();
    for suite in suites {
        let begin = Instant::now();
        let ran = process::capture(command(suite)?, LIMIT, |_| ());
        if let Some(signal) = interrupt::pending() {
            return Ok(ExitCode::from(interrupt::exit_code(signal)));
        }
        let ran = ran?;
        let mut tally = Tally::read(&ran.output);
        let has_failed = !ran.success() || tally.passed == 0;
        if has_failed && tally.failed == 0 {
            tally.failed = 1;
        }
        println!(
            "{:<10} {} passed, {} failed, {} left out, {:.0} s",
            suite.name,
            tally.passed,
            tally.failed,
            tally.ignored,
            begin.elapsed().as_secs_f64()
        );
        if has_failed {
            let lines: Vec<&str> = ran.output.lines().collect();
            for line in &lines[lines.len().saturating_sub(SHOWN)..] {
                println!("        {line}");
            }
        }
        total = total.plus(tally);
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(ExitCode::from(u8::from(
        total.failed > 0 || total.passed == 0,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_chosen_by_name() {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let names = |text: &str| choose(MIRI, &words(text)).map(|(s, _)| s.len()).ok();
        assert_eq!(names(""), Some(MIRI.len()));
        assert_eq!(names("gomem"), Some(1));
        assert_eq!(names("gomen"), None);
        let (both, one) = (words("gomem lock"), words("gomem"));
        assert_eq!(choose(MIRI, &both).ok().unwrap().1, Some("lock"));
        assert_eq!(choose(MIRI, &one).ok().unwrap().1, None);
    }
}
