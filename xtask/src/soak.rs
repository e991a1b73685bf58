//! `cargo xtask soak`: the whole runtime, or the allocator alone, under everything at once, for as long as wanted; nothing may grow, hang or fail.
//!
//! The allocator's program (`tests/src/bin/soak_gomem.rs`) judges itself, and says each ten seconds how it stands. The runtime's program (`tests/src/bin/soak.rs`) checks its own results and says each second what it has. Here its course is judged: the most of the last quarter
//! against the most of the second one, since the first is warming up.

use crate::failure::{Failure, Outcome};
use crate::{interrupt, process, workspace};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const HELP: &str = "\
Usage: cargo xtask soak [gomem] [seconds]

Runs goroutines, channels, timers, sockets, blocking calls and collected objects in rounds (180 s), and fails when a result is wrong, when
it hangs, or when memory, goroutines, threads or descriptors grow.
With `gomem` the allocator alone (1800 s): threads that come and go, blocks of all sizes that others free, forks, a limit on memory; every byte of every
block is looked at, and memory must fall when all is freed.
";

/// How much longer than it was told the program may take.
const OVERTIME: Duration = Duration::from_secs(60);

/// By how much resident memory may grow, in percent, beside a little that does not count.
const GROWTH: u64 = 20;

/// Resident memory that does not count, in bytes.
const SMALL: u64 = 8 << 20;

/// Threads and descriptors that come and go.
const FEW: u64 = 4;

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut seconds = None;
    let mut allocator = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Value(value) if value == "gomem" => allocator = true,
            Value(value) => seconds = Some(value.parse::<u64>()?.max(8)),
            other => return Err(other.unexpected().into()),
        }
    }
    interrupt::watch();
    if allocator {
        return run_allocator(seconds.unwrap_or(1800));
    }
    let seconds = seconds.unwrap_or(180);
    let mut command = Command::new(build("soak")?);
    command.arg(seconds.to_string()).env("GOGC", "25");
    let limit = Duration::from_secs(seconds) + OVERTIME;
    let ran = process::capture(command, limit, |_| ())?;
    let course: Vec<Second> = ran.stdout.lines().filter_map(Second::read).collect();
    let mut problems = judge(&course);
    match ran.status {
        None => problems.push("it hangs".to_owned()),
        Some(status) if !status.success() => problems.push(format!("{status}\n{}", ran.output)),
        Some(_) => {}
    }
    if let Some(last) = course.last() {
        println!(
            "{} rounds, {} collections; at the end {} MB, {} goroutines, {} threads, {} descriptors",
            last.rounds,
            last.cycles,
            last.rss >> 20,
            last.goroutines,
            last.threads,
            last.fds
        );
    }
    problems.iter().for_each(|problem| println!("{problem}"));
    println!(
        "{} passed, {} failed",
        u8::from(problems.is_empty()),
        u8::from(!problems.is_empty())
    );
    Ok(ExitCode::from(u8::from(!problems.is_empty())))
}

/// Builds a program of the tests. Returns its path.
fn build(name: &str) -> Result<PathBuf, Failure> {
    let package = ["build", "--release", "-p", "goruntime-tests", "--bin", name];
    let build = workspace::cargo(package);
    let built = process::capture(build, Duration::from_secs(20 * 60), |_| ())?;
    if !built.success() {
        return Err(format!("the program does not compile:\n{}", built.output).into());
    }
    Ok(crate::tools::target_directory()?.join("release").join(name))
}

fn run_allocator(seconds: u64) -> Outcome {
    let mut command = Command::new(build("soak_gomem")?);
    command.arg(seconds.to_string());
    let limit = Duration::from_secs(seconds) + OVERTIME;
    let mut program = process::Supervised::start(command)?;
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = program.ended()? {
            break Some(status);
        }
        if begin.elapsed() > limit {
            println!("it hangs");
            break None;
        }
        if interrupt::pending().is_some() {
            return Err("interrupted".to_owned().into());
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    let went_well = status.is_some_and(|status| status.success());
    if let Some(status) = status.filter(|status| !status.success()) {
        println!("{status}");
    }
    println!(
        "{} passed, {} failed",
        u8::from(went_well),
        u8::from(!went_well)
    );
    Ok(ExitCode::from(u8::from(!went_well)))
}

/// What the program had at some second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Second {
    rounds: u64,
    rss: u64,
    goroutines: u64,
    threads: u64,
    fds: u64,
    cycles: u64,
}

impl Second {
    fn read(line: &str) -> Option<Second> {
        let words: Vec<&str> = line.strip_prefix("soak ")?.split(' ').collect();
        let number = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.parse().ok()
        };
        Some(Second {
            rounds: number("rounds")?,
            rss: number("rss")?,
            goroutines: number("goroutines")?,
            threads: number("threads")?,
            fds: number("fds")?,
            cycles: number("cycles")?,
        })
    }
}

/// What grew.
fn judge(course: &[Second]) -> Vec<String> {
    let quarter = course.len() / 4;
    if quarter == 0 {
        return vec!["it was too short to tell".to_owned()];
    }
    let (before, after) = (
        &course[quarter..2 * quarter],
        &course[course.len() - quarter..],
    );
    let most = |part: &[Second], of: fn(&Second) -> u64| part.iter().map(of).max().unwrap_or(0);
    let mut problems = Vec::new();
    let mut hold = |what: &str, of: fn(&Second) -> u64, allowed: fn(u64) -> u64| {
        let (first, last) = (most(before, of), most(after, of));
        if last > allowed(first) {
            problems.push(format!("{what} grew from {first} to {last}"));
        }
    };
    hold(
        "memory",
        |s| s.rss,
        |before| before + before * GROWTH / 100 + SMALL,
    );
    hold("goroutines", |s| s.goroutines, |before| before + FEW);
    hold("threads", |s| s.threads, |before| before + FEW);
    hold("descriptors", |s| s.fds, |before| before + FEW);
    if course.last().map(|s| s.cycles) == course.first().map(|s| s.cycles) {
        problems.push("nothing was collected".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(rss: impl Fn(u64) -> u64) -> Vec<Second> {
        let second = |n| Second {
            rounds: n,
            rss: rss(n),
            goroutines: 1,
            threads: 9,
            fds: 7 + n % 2,
            cycles: n,
        };
        (0..40).map(second).collect()
    }

    #[test]
    fn lines_are_read() {
        let line = "soak second 3 rounds 8 rss 1024 goroutines 1 threads 9 fds 7 cycles 2";
        let second = Second::read(line).unwrap();
        assert_eq!((second.rounds, second.rss, second.cycles), (8, 1024, 2));
        assert_eq!(Second::read("soak over after 8 rounds"), None);
    }

    #[test]
    fn what_is_steady_passes_and_what_grows_does_not() {
        assert_eq!(
            judge(&course(|n| (100 + n % 3) << 20)),
            Vec::<String>::new()
        );
        assert!(judge(&course(|n| (100 + 3 * n) << 20))[0].contains("memory grew"));
        assert!(judge(&[])[0].contains("too short"));
        let idle: Vec<Second> = course(|_| 1)
            .iter()
            .map(|s| Second { cycles: 5, ..*s })
            .collect();
        assert!(judge(&idle)[0].contains("nothing was collected"));
    }
}
