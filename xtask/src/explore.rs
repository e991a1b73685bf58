//! `cargo xtask explore`: every concurrent protocol under the schedule explorer.
//!
//! The crates are built with `--cfg explore`, into a folder of their own, and their tests whose names begin with `explore_` are run. Each prints a line
//! for a model that was explored and one for each planted bug that was caught; a bug that is not caught fails its test. What is counted in the end is
//! models and bugs, so that an exploration that silently shrinks to nothing is seen.

use crate::failure::{Failure, Outcome};
use crate::{interrupt, process, workspace};
use lexopt::prelude::*;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A crate with models, and what it has to be built with.
struct Explored {
    name: &'static str,
    features: &'static [&'static str],
}

const CRATES: &[Explored] = &[
    Explored {
        name: "gomem",
        features: &[],
    },
    Explored {
        name: "gogc",
        features: &["--features", "testing"],
    },
    Explored {
        name: "gosched",
        features: &[],
    },
    Explored {
        name: "goruntime",
        features: &[],
    },
];

/// How much more a long exploration does: so many times the random executions, and wider bounds.
const LONG_EFFORT: &str = "20";

/// A crate's models that take longer hang.
const LIMIT: Duration = Duration::from_secs(4 * 60 * 60);

const HELP: &str = "\
Usage: cargo xtask explore [--long] [crate] [filter]

Explores the concurrent protocols of every crate, or of one, or those whose test has the filter in its name.

Options:
  --long   more random executions and wider bounds

A failure prints how to run its execution again: GOEXPLORE_REPLAY. GOEXPLORE_SEED and GOEXPLORE_EXECUTIONS change random explorations.
";

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut words, mut is_long) = (Vec::new(), false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Long("long") => is_long = true,
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let (crates, filter) = choose(&words)?;
    interrupt::watch();
    let begin = Instant::now();
    let mut total = Found::default();
    for explored in crates {
        match explore(explored, filter, is_long) {
            Ok(found) => total.add(&found),
            Err(why) => match interrupt::pending() {
                Some(signal) => return Ok(ExitCode::from(interrupt::exit_code(signal))),
                None => return Err(why.into()),
            },
        }
    }
    println!(
        "{} explorations, {} executions, {} planted bugs caught, in {:.0} s",
        total.explored,
        total.executions,
        total.caught,
        begin.elapsed().as_secs_f64()
    );
    println!(
        "{} passed, {} failed",
        total.explored + total.caught,
        total.failed
    );
    Ok(ExitCode::from(u8::from(
        total.failed > 0 || total.explored == 0,
    )))
}

/// The crates that are meant, and what the names of tests must contain.
fn choose(words: &[String]) -> Result<(Vec<&'static Explored>, Option<&str>), Failure> {
    let named = |word: &String| CRATES.iter().find(|explored| explored.name == word);
    match words {
        [] => Ok((CRATES.iter().collect(), None)),
        [word] => Ok(match named(word) {
            Some(explored) => (vec![explored], None),
            None => (CRATES.iter().collect(), Some(word)),
        }),
        [word, filter] => match named(word) {
            Some(explored) => Ok((vec![explored], Some(filter))),
            None => Err(Failure::Usage(crate::nearest::unknown(
                "crate",
                word,
                CRATES.iter().map(|explored| explored.name),
            ))),
        },
        _ => Err(Failure::Usage(HELP.to_owned())),
    }
}

/// What an exploration said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    explored: u64,
    executions: u64,
    caught: u64,
    failed: u64,
}

impl Found {
    fn read(output: &str) -> Found {
        let mut found = Found::default();
        for line in output.lines() {
            // A test's own unfinished line may stand before it.
            if let Some((_, rest)) = line.split_once("explored: ") {
                found.explored += 1;
                let number = |word: &str| word.parse::<u64>().ok();
                let before = rest.split(" executions").next().unwrap_or_default();
                found.executions += before.rsplit(' ').next().and_then(number).unwrap_or(0);
            } else if line.contains("caught: ") && line.contains(", in execution ") {
                found.caught += 1;
            }
        }
        found
    }

    fn add(&mut self, other: &Found) {
        self.explored += other.explored;
        self.executions += other.executions;
        self.caught += other.caught;
        self.failed += other.failed;
    }
}

fn explore(explored: &Explored, filter: Option<&str>, is_long: bool) -> Result<Found, String> {
    let begin = Instant::now();
    println!("{}", explored.name);
    let mut command = workspace::cargo(["test", "-p", explored.name, "--lib"]);
    command.args(explored.features);
    // A filter stands for what it matches; those tests alone that are explorations have models.
    command.args(["--", filter.unwrap_or("explore_"), "--nocapture"]);
    command.env("RUSTFLAGS", "--cfg explore");
    command.env("CARGO_TARGET_DIR", workspace::root().join("target/explore"));
    if is_long {
        command.env("GOEXPLORE_EFFORT", LONG_EFFORT);
    }
    let ran = process::capture(command, LIMIT, |_| ())?;
    let mut found = Found::read(&ran.stdout);
    for line in ran.stdout.lines() {
        let start = ["explored: ", "caught: "]
            .iter()
            .filter_map(|word| line.find(word))
            .min();
        if let Some(start) = start {
            println!("  {}", &line[start..]);
        }
    }
    if !ran.success() {
        found.failed = 1;
        for line in ran
            .output
            .lines()
            .rev()
            .take(80)
            .collect::<Vec<_>>()
            .iter()
            .rev()
        {
            println!("  {line}");
        }
    } else if found.explored == 0 && filter.is_none() {
        found.failed = 1;
        println!("  nothing was explored");
    }
    println!("  {:.0} s", begin.elapsed().as_secs_f64());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{list_at, text_at};

    #[test]
    fn models_and_bugs_are_counted() {
        let output = "test a::explore_x ... explored: gosched: a b: 45066 executions, all there are within the bounds\n\
                      caught: gosched: a b: removed: futex_wake(x) (src/a.rs:3), in execution 7\nok\nexplored: c: 4 executions, at random\n";
        let expected = Found {
            explored: 2,
            executions: 45_070,
            caught: 1,
            failed: 0,
        };
        assert_eq!(Found::read(output), expected);
    }

    #[test]
    fn every_crate_that_has_models_is_explored() {
        let metadata = workspace::metadata().unwrap();
        let mut seen = 0;
        for package in list_at(&metadata, &["packages"]) {
            let folder = std::path::Path::new(text_at(package, &["manifest_path"]).unwrap());
            let Some(folder) = folder
                .parent()
                .filter(|f| f.starts_with(workspace::root().join("crates")))
            else {
                continue;
            };
            let sources = workspace::texts(folder, &["rs"]).unwrap();
            if sources
                .iter()
                .any(|source| source.text.contains("\nfn explore_"))
            {
                let name = text_at(package, &["name"]).unwrap();
                assert!(
                    CRATES.iter().any(|explored| explored.name == name),
                    "{name}"
                );
                seen += 1;
            }
        }
        assert_eq!(seen, CRATES.len());
    }
}
