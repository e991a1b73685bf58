//! `cargo xtask soak`: the whole runtime, or the allocator alone, under everything at once, or a server whose surroundings fail, for as long as wanted; nothing may grow, hang or fail.
//!
//! The server's program (`tests/crates/examples/faults`) judges everything but its memory's course, of which it says each second how it stands. The allocator's program (`tests/src/bin/soak_gomem.rs`) judges itself, and says each ten seconds how it stands. The runtime's program (`tests/src/bin/soak.rs`) checks its own results and says each second what it has. Here its course is judged: the most of the last quarter
//! against the most of the second one, since the first is warming up.

use crate::failure::{Failure, Outcome};
use crate::{crates, interrupt, process, workspace};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const HELP: &str = "\
Usage: cargo xtask soak [gomem | faults] [seconds]

Runs goroutines, channels, timers, sockets, blocking calls and collected objects in rounds (180 s), and fails when a result is wrong, when
it hangs, or when memory, goroutines, threads or descriptors grow.
With `gomem` the allocator alone (1800 s): threads that come and go, blocks of all sizes that others free, forks, a limit on memory; every byte of every
block is looked at, and memory must fall when all is freed.
With `faults` a server of keys, HTTP and WebSockets under load (3600 s), from which descriptors, memory, the disk and the processors are taken in turns, while clients
reset connections and handlers panic: no acknowledged write may be lost, no answer be wrong or late, nothing be left behind, and memory not grow by 1 % an hour.
";

/// How much longer than it was told the program may take.
const OVERTIME: Duration = Duration::from_secs(60);

/// By how much resident memory may grow, in percent, beside a little that does not count.
const GROWTH: u64 = 20;

/// Resident memory that does not count, in bytes.
const SMALL: u64 = 8 << 20;

/// Threads and descriptors that come and go.
const FEW: u64 = 4;

/// By how many percent memory may grow in an hour of faults.
const SLOPE: f64 = 1.0;

/// Seconds of which a course has to be for its slope to mean anything.
const TELLING: u64 = 1200;

/// How many standard errors make it certain that it does.
const CERTAIN: f64 = 3.0;

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut seconds = None;
    let mut what = What::Runtime;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Value(value) if value == "gomem" => what = What::Allocator,
            Value(value) if value == "faults" => what = What::Faults,
            Value(value) => seconds = Some(value.parse::<u64>()?.max(8)),
            other => return Err(other.unexpected().into()),
        }
    }
    interrupt::watch();
    match what {
        What::Allocator => run_allocator(seconds.unwrap_or(1800)),
        What::Runtime => {
            let mut command = Command::new(build("soak")?);
            command.env("GOGC", "25");
            run_judged(command, seconds.unwrap_or(180), judge)
        }
        What::Faults => {
            let Some(program) = crates::build_example("faults")? else {
                return Ok(ExitCode::SUCCESS);
            };
            run_judged(Command::new(program), seconds.unwrap_or(3600), judge_memory)
        }
    }
}

/// Which soak.
enum What {
    Runtime,
    Allocator,
    Faults,
}

/// Runs a program that says each second what it has, and fails if its course or the program itself is not as it should be.
fn run_judged(mut command: Command, seconds: u64, judge: fn(&[Second]) -> Vec<String>) -> Outcome {
    command.arg(seconds.to_string());
    let limit = Duration::from_secs(seconds) + OVERTIME;
    let ran = process::capture(command, limit, |_| ())?;
    let course: Vec<Second> = ran.stdout.lines().filter_map(Second::read).collect();
    let others = ran
        .stdout
        .lines()
        .filter(|line| Second::read(line).is_none());
    others.for_each(|line| println!("{line}"));
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
    process::compile(build, Duration::from_secs(20 * 60))?;
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
    second: u64,
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
            second: number("second")?,
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

/// Whether memory grows by more than is allowed in an hour, beyond doubt; in a course too short to tell, by so much that it shows. Says how fast it does.
fn judge_memory(course: &[Second]) -> Vec<String> {
    if course.last().is_some_and(|last| last.second < TELLING) {
        let memory_alone = |s: &Second| Second {
            rss: s.rss,
            cycles: s.cycles,
            ..Second::default()
        };
        return judge(&course.iter().map(memory_alone).collect::<Vec<_>>());
    }
    // The first quarter is warming up.
    let warm = &course[course.len() / 4..];
    let points: Vec<(f64, f64)> = warm
        .iter()
        .map(|s| (s.second as f64 / 3600.0, s.rss as f64))
        .collect();
    let Some(line) = Line::through(&points) else {
        return vec!["it was too short to tell".to_owned()];
    };
    let (slope, error) = (
        line.slope / line.mean * 100.0,
        line.error / line.mean * 100.0,
    );
    println!(
        "memory {:.1} MB, growing by {slope:.1} +- {error:.1} % an hour",
        line.mean / f64::from(1 << 20)
    );
    if slope - CERTAIN * error > SLOPE {
        return vec![format!(
            "memory grows by {slope:.1} +- {error:.1} % an hour"
        )];
    }
    Vec::new()
}

/// A straight line fitted to points by least squares.
struct Line {
    mean: f64,
    slope: f64,
    /// The slope's standard error.
    error: f64,
}

impl Line {
    fn through(points: &[(f64, f64)]) -> Option<Line> {
        let n = points.len() as f64;
        if points.len() < 3 {
            return None;
        }
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean = points.iter().map(|(_, y)| y).sum::<f64>() / n;
        let spread = points
            .iter()
            .map(|(x, _)| (x - mean_x).powi(2))
            .sum::<f64>();
        let slope = points
            .iter()
            .map(|(x, y)| (x - mean_x) * (y - mean))
            .sum::<f64>()
            / spread;
        let off = |(x, y): &(f64, f64)| (y - mean - slope * (x - mean_x)).powi(2);
        let error = (points.iter().map(off).sum::<f64>() / (n - 2.0) / spread).sqrt();
        (spread > 0.0).then_some(Line { mean, slope, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(rss: impl Fn(u64) -> u64) -> Vec<Second> {
        let second = |n| Second {
            second: n,
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
    fn a_slope_is_told_from_noise() {
        // An hour, with noise of a tenth.
        let hour = |percent: f64| -> Vec<Second> {
            let noise = |n: u64| (n * 7919 % 201) as f64 / 1000.0 - 0.1;
            let rss = |n: u64| 4e7 * (1.0 + noise(n) + percent / 100.0 * n as f64 / 3600.0);
            let second = |n| Second {
                second: n,
                rss: rss(n) as u64,
                ..Second::default()
            };
            (0..3600).map(second).collect()
        };
        assert_eq!(judge_memory(&hour(0.0)), Vec::<String>::new());
        assert!(judge_memory(&hour(5.0))[0].contains("memory grows"));
        assert!(
            judge_memory(&hour(5.0)[..1500]).is_empty(),
            "nobody can tell"
        );
        assert!(judge_memory(&hour(500.0)[..1500])[0].contains("memory grows"));
        assert!(judge_memory(&[])[0].contains("too short"));
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
