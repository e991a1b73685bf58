//! `cargo xtask demo gc`: one program by every method of collection, side by side: how long it was stopped, what it got done, what memory it took.
//!
//! The program runs on the Lisp that `gogc` has for an example (`crates/gogc/examples/lisp`), which can have any of the collectors. Each method gets a process of its own, so that none
//! finds memory warm that another has touched.

use crate::chart::{self, Frame, Scale};
use crate::console::{Row, Style};
use crate::failure::{Failure, Outcome};
use crate::lesson::{points, put};
use crate::{interrupt, process, tools, workspace};
use lexopt::prelude::*;
use std::process::{Command, ExitCode};
use std::time::Duration;

const HELP: &str = "\
Usage: cargo xtask demo gc [--book]

Runs one program by every method of collection: marking beside it, marking with it stopped, generations, counting with and without a search for circles. Prints
and draws how long it was stopped, what it got done, and what memory it took.

Options:
  --book   write the charts to docs/src/gogc, instead of target/demo
";

/// A run takes some seconds; the build before may take minutes.
const LIMIT: Duration = Duration::from_secs(20 * 60);

const PROGRAM: &str = "crates/gogc/examples/lisp/programs/workload.lisp";

/// Methods as the interpreter names them, and what each is.
const METHODS: &[(&str, &str)] = &[
    (
        "concurrent",
        "marks beside the program, and stops it twice for a moment",
    ),
    ("stopped", "stops the program for all of marking"),
    ("generational", "the same, of the young mostly"),
    (
        "counting",
        "counts references, and looks for circles at times",
    ),
    (
        "leaking",
        "counts references, and does not look for circles",
    ),
];

/// One of the pictures, by the name that its points have.
const PLOTS: &[(&str, Frame)] = &[
    (
        "pauses",
        Frame {
            title: "How long the program was stopped",
            x: ("per cent of the stops are no longer", Scale::Linear),
            y: ("microseconds", Scale::Tenfold),
        },
    ),
    (
        "memory",
        Frame {
            title: "What memory the heap took",
            x: ("seconds", Scale::Linear),
            y: ("MiB", Scale::Linear),
        },
    ),
    (
        "work",
        Frame {
            title: "What the program got done",
            x: ("seconds", Scale::Linear),
            y: ("trees replaced", Scale::Linear),
        },
    ),
];

/// The sums of a run, as the interpreter prints them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sums {
    seconds: f64,
    work: f64,
    stops: f64,
    /// Seconds.
    stopped: f64,
    /// Microseconds: half of the stops are no longer, nor 99 per cent, nor any.
    lengths: [f64; 3],
    /// MiB.
    memory: f64,
}

impl Sums {
    /// From the line that has them.
    fn parse(output: &str) -> Option<Sums> {
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("# total "))?;
        let numbers: Vec<f64> = line.split(' ').skip(1).flat_map(str::parse).collect();
        let [seconds, work, stops, stopped, half, most, longest, memory] = numbers[..] else {
            return None;
        };
        Some(Sums {
            seconds,
            work,
            stops,
            stopped,
            lengths: [half, most, longest],
            memory,
        })
    }
}

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut book = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Long("book") => book = true,
            other => return Err(other.unexpected().into()),
        }
    }
    interrupt::watch();
    println!("building the interpreter (release)");
    let build = workspace::cargo([
        "build",
        "--release",
        "--quiet",
        "-p",
        "gogc",
        "--example",
        "lisp",
    ]);
    let built = process::capture(build, LIMIT, |_| ())?;
    if !built.success() {
        return Err(Failure::Broken(built.output));
    }
    let mut points_of_all = String::new();
    Row::new().with(Style::Dim, heads()).print()?;
    for (method, what) in METHODS {
        let output = measure(method)?;
        let sums = Sums::parse(&output)
            .ok_or_else(|| format!("the interpreter printed no sums:\n{output}"))?;
        Row::new()
            .with(Style::Bold, format!("{method:<13}"))
            .with(Style::Plain, row(&sums))
            .with(Style::Dim, format!("  {what}"))
            .print()?;
        points_of_all += &output;
        if let Some(signal) = interrupt::pending() {
            return Ok(ExitCode::from(interrupt::exit_code(signal)));
        }
    }
    let root = workspace::root();
    let folder = root.join(if book { "docs/src/gogc" } else { "target/demo" });
    for (name, frame) in PLOTS {
        let series = points::read(&points_of_all, name)?;
        let picture = chart::render(frame, &series);
        let file = put(&folder, &format!("{name}.svg"), &picture)?;
        println!("{}: {}", frame.title, file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the program; returns what the interpreter printed.
fn measure(method: &str) -> Result<String, String> {
    let interpreter = tools::target_directory()?.join("release/examples/lisp");
    let mut command = Command::new(interpreter);
    command
        .args(["--figures", "--method", method])
        .arg(workspace::root().join(PROGRAM));
    let ran = process::capture(command, LIMIT, |_| ())?;
    match ran.success() {
        true => Ok(ran.stdout),
        false => Err(format!("the program failed by {method}:\n{}", ran.output)),
    }
}

fn heads() -> String {
    format!(
        "{:<13}{:>9}{:>9}{:>7}{:>10}{:>11}{:>11}{:>11}{:>9}",
        "", "seconds", "work/s", "stops", "stopped", "half, us", "99 %, us", "all, us", "MiB"
    )
}

fn row(sums: &Sums) -> String {
    let [half, most, longest] = sums.lengths;
    format!(
        "{:>9.2}{:>9.0}{:>7}{:>8.2} %{half:>11.0}{most:>11.0}{longest:>11.0}{:>9.1}",
        sums.seconds,
        sums.work / sums.seconds.max(f64::MIN_POSITIVE),
        sums.stops,
        100.0 * sums.stopped / sums.seconds.max(f64::MIN_POSITIVE),
        sums.memory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_from_their_line() {
        let output = "pauses stopped 0 1.5\n# total stopped 2.00 3000 12 0.5 10 20 30.5 4.5\n";
        let sums = Sums::parse(output).unwrap();
        assert_eq!((sums.work, sums.lengths), (3000.0, [10.0, 20.0, 30.5]));
        assert_eq!(
            row(&sums).split_whitespace().collect::<Vec<_>>(),
            ["2.00", "1500", "12", "25.00", "%", "10", "20", "30", "4.5"]
        );
        assert_eq!(heads().chars().count(), 13 + row(&sums).chars().count());
        assert_eq!(Sums::parse("# total stopped 2.00\n"), None);
    }

    #[test]
    fn the_program_is_where_it_is_looked_for() {
        assert!(workspace::root().join(PROGRAM).is_file());
    }
}
