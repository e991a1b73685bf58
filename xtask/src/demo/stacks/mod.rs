//! `cargo xtask demo stacks`: contiguous and segmented stacks measured side by side, in the terminal and as charts for the book.

mod chart;

use crate::console::{Row, Style};
use crate::failure::{Failure, Outcome};
use crate::{bench, process, workspace};
use chart::{Frame, Scale, Series};
use lexopt::prelude::*;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

const HELP: &str = "\
Usage: cargo xtask demo stacks [--book]

Runs the same calls on a contiguous and on a segmented stack: the hot split, growth, copying, shrinking, thrashing.

Options:
  --book   write the charts to docs/src/stacks too
";

/// The run takes seconds; the build before it may take minutes.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// One of the pictures.
struct Plot {
    /// Its name in the program's output, and its file's.
    name: &'static str,
    frame: Frame,
    /// What to see in it.
    reading: &'static str,
}

const NANOSECONDS: &str = "nanoseconds for a call and its return";

const PLOTS: &[Plot] = &[
    Plot {
        name: "hot-split",
        frame: Frame {
            title: "A loop that calls a function, at every distance from the edge of the block",
            x: ("bytes that are left where the loop runs", Scale::Linear),
            y: (NANOSECONDS, Scale::Linear),
        },
        reading: "where the frame does not fit, every call on the segmented stack takes a segment and gives it back",
    },
    Plot {
        name: "growth",
        frame: Frame {
            title: "Recursion on a fresh stack, and again on one that has grown",
            x: ("depth in frames of 80 bytes", Scale::Doubling),
            y: (NANOSECONDS, Scale::Doubling),
        },
        reading: "growing costs a constant for each frame, since sizes double; the far right is the cost of memory outside of the caches",
    },
    Plot {
        name: "copying",
        frame: Frame {
            title: "What a contiguous stack has copied at each depth",
            x: ("depth in frames of 80 bytes", Scale::Doubling),
            y: ("words copied for each frame", Scale::Linear),
        },
        reading: "ten words in a frame, each copied less than twice however deep",
    },
    Plot {
        name: "shrink",
        frame: Frame {
            title: "A collection, then a call half as deep again, over and over",
            x: (
                "per cent of a 64 KiB block in use at the collection",
                Scale::Linear,
            ),
            y: ("nanoseconds for a collection and a call", Scale::Linear),
        },
        reading: "a stack that is halved when under a half is used thrashes at some depths; under a quarter it never does",
    },
    Plot {
        name: "thrash",
        frame: Frame {
            title: "The same, in moves of the stack",
            x: (
                "per cent of a 64 KiB block in use at the collection",
                Scale::Linear,
            ),
            y: ("moves for each collection", Scale::Linear),
        },
        reading: "two moves each time: halved by the collection, doubled by the next call",
    },
];

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
    crate::interrupt::watch();
    println!("building and measuring, some seconds");
    let command = workspace::cargo([
        "run",
        "--release",
        "--quiet",
        "--package",
        "gostack",
        "--example",
        "stacks",
    ]);
    let ran = process::capture(command, LIMIT, |_| ())?;
    if !ran.success() {
        return Err(Failure::Broken(format!(
            "the measurement failed:\n{}",
            ran.output
        )));
    }
    let go = match bench::go_contestant() {
        Some(program) => measure_go(&program)?,
        None => {
            println!(
                "`cargo xtask bench stack --peers` builds a program in Go, which is then shown too"
            );
            String::new()
        }
    };
    let points = ran.stdout + &go;
    for plot in PLOTS {
        let series = read(&points, plot.name)?;
        for row in table(plot, &series) {
            row.print()?;
        }
        if book {
            let file = workspace::root().join(format!("docs/src/stacks/{}.svg", plot.name));
            std::fs::write(&file, chart::render(&plot.frame, &series))
                .map_err(|why| format!("cannot write {}: {why}", file.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The growth of Go's own stacks, as points like the program's.
fn measure_go(program: &Path) -> Result<String, String> {
    /// Runs of which the fastest counts.
    const RUNS: usize = 5;
    let mut points = String::new();
    for depth in (8..=20).map(|power| 1u32 << power) {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..RUNS {
            let mut command = Command::new(program);
            command.args(["recursion", &format!("frames={depth}")]);
            let ran = process::capture(command, LIMIT, |_| ())?;
            for (best, name) in best.iter_mut().zip(["figure fresh ", "figure again "]) {
                let line = ran.stdout.lines().find_map(|line| line.strip_prefix(name));
                let time = line.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
                *best = best.min(time.ok_or("the program in Go is out of date: build it again")?);
            }
        }
        for (time, name) in best.iter().zip(["fresh", "again"]) {
            points += &format!("growth Go,-{name} {depth} {time}\n");
        }
    }
    Ok(points)
}

/// The lines of one plot in the program's output: `plot series x y`.
fn read(output: &str, plot: &str) -> Result<Vec<Series>, String> {
    let mut all: Vec<Series> = Vec::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, series, x, y] = words[..] else {
            return Err(format!("not a point: {line}"));
        };
        if name != plot {
            continue;
        }
        let number = |text: &str| {
            let number = text.parse::<f64>();
            number.map_err(|_| format!("not a number in: {line}"))
        };
        let series = series.replace('-', " ");
        let point = (number(x)?, number(y)?);
        match all.iter_mut().find(|known| known.name == series) {
            Some(known) => known.points.push(point),
            None => all.push(Series {
                name: series,
                points: vec![point],
            }),
        }
    }
    match all.is_empty() {
        true => Err(format!("the measurement says nothing of {plot}")),
        false => Ok(all),
    }
}

/// The numbers, a row for each place on the axis to the right.
fn table(plot: &Plot, series: &[Series]) -> Vec<Row> {
    let mut rows = vec![
        Row::new(),
        Row::new().with(Style::Bold, plot.frame.title),
        Row::new().with(Style::Dim, plot.reading),
    ];
    let heads = series.iter().map(|line| format!("{:>18}", line.name));
    rows.push(Row::new().with(
        Style::Dim,
        format!("{:>10} {}", "", heads.collect::<String>()),
    ));
    for (x, _) in &series[0].points {
        let at = |line: &Series| line.points.iter().find(|point| point.0 == *x).copied();
        let values = series.iter().map(|line| match at(line) {
            Some((_, y)) => format!("{y:>18.1}"),
            None => format!("{:>18}", "-"),
        });
        rows.push(Row::new().with(
            Style::Plain,
            format!("{x:>10} {}", values.collect::<String>()),
        ));
    }
    let axes = format!("{:>10} {}; {}", "", plot.frame.x.0, plot.frame.y.0);
    rows.push(Row::new().with(Style::Dim, axes));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_sorted_into_their_lines() {
        let output = "growth one 1 2.5\ncopying x 1 1\ngrowth two,-again 1 3\ngrowth one 2 4\n";
        let series = read(output, "growth").unwrap();
        assert_eq!(series.len(), 2);
        assert_eq!(series[0].points, [(1.0, 2.5), (2.0, 4.0)]);
        assert_eq!(series[1].name, "two, again");
        assert!(read(output, "shrink").is_err());
        assert!(read("growth one 1\n", "growth").is_err());
    }
}
