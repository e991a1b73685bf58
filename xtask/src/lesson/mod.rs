//! `cargo xtask lesson`: the experiments of the course, each with one command.
//!
//! An experiment is an example of the crate that it is about, which prints points; here they are shown as a table and drawn. The charts go to `target/course`, or, with
//! `--all`, into the book.

pub mod points;
mod table;

use crate::console::{Row, Style};
use crate::failure::{Failure, Outcome};
use crate::nearest::unknown;
use crate::{bench, chart, interrupt, process, workspace};
use lexopt::prelude::*;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
pub use table::LESSONS;
use table::Lesson;

const HELP: &str = "\
Usage: cargo xtask lesson name... [--tiny]
       cargo xtask lesson --all [--tiny]
       cargo xtask lesson --list

Runs the experiments of the course's lessons: prints what they measured, and draws it.

Options:
  --all    every lesson; its charts and figures go to docs/src/course, those of one alone to target/course
  --list   name the lessons
  --tiny   the smallest sizes, not optimised: says whether it runs, and draws nothing
";

/// An experiment takes seconds; the build before it may take minutes.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// How an experiment is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// As the lesson shows it.
    Full,
    /// At its smallest.
    Tiny,
}

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut chosen, mut all, mut size) = (Vec::new(), false, Size::Full);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Long("list") => {
                list()?;
                return Ok(ExitCode::SUCCESS);
            }
            Long("all") => all = true,
            Long("tiny") => size = Size::Tiny,
            Value(name) => chosen.push(find(&name.string()?)?),
            other => return Err(other.unexpected().into()),
        }
    }
    if all {
        chosen = LESSONS.iter().collect();
    }
    if chosen.is_empty() {
        return Err(Failure::Usage(format!("which lesson?\n\n{HELP}")));
    }
    interrupt::watch();
    let root = workspace::root();
    let folder = match (all, size) {
        (_, Size::Tiny) => None,
        (true, Size::Full) => Some(root.join("docs/src/course")),
        (false, Size::Full) => Some(root.join("target/course")),
    };
    match size {
        Size::Full => {
            for lesson in chosen {
                show(lesson, folder.as_deref())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Size::Tiny => try_all(&chosen),
    }
}

/// Runs the lessons with these names, for other commands.
///
/// # Errors
/// As the command itself.
pub fn run_named(names: &[&str]) -> Outcome {
    interrupt::watch();
    let folder = workspace::root().join("target/course");
    for name in names {
        show(find(name)?, Some(&folder))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> Result<&'static Lesson, Failure> {
    let found = LESSONS.iter().find(|lesson| lesson.name == name);
    let names = LESSONS.iter().map(|lesson| lesson.name);
    found.ok_or_else(|| Failure::Usage(unknown("lesson", name, names)))
}

fn list() -> std::io::Result<()> {
    for lesson in LESSONS {
        Row::new()
            .with(Style::Bold, format!("{:<14}", lesson.name))
            .with(Style::Plain, lesson.help)
            .print()?;
    }
    Ok(())
}

/// Runs every lesson at its smallest, and says whether each says something of all of its plots.
fn try_all(lessons: &[&Lesson]) -> Outcome {
    let (mut passed, mut failed) = (0, 0);
    for lesson in lessons {
        let says = measure(lesson, Size::Tiny).and_then(|output| {
            let mut plots = lesson.plots.iter();
            plots.try_for_each(|plot| points::read(&output, plot.name).map(drop))
        });
        match says {
            Ok(()) => passed += 1,
            Err(why) => {
                failed += 1;
                println!("{}: {why}", lesson.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0 || passed == 0)))
}

/// Runs an experiment, prints its tables, and draws its charts.
fn show(lesson: &Lesson, folder: Option<&Path>) -> Result<(), Failure> {
    Row::new()
        .with(Style::Bold, format!("{}: ", lesson.name))
        .with(Style::Plain, lesson.help)
        .print()?;
    let mut output = measure(lesson, Size::Full)?;
    if let Some(peer) = lesson.peer {
        output += &peer()?;
    }
    let mut figures = Vec::new();
    for plot in lesson.plots {
        let series = points::read(&output, plot.name)?;
        for row in points::table(plot, &series) {
            row.print()?;
        }
        if let Some(folder) = folder {
            let picture = chart::render(&plot.frame, &series);
            let file = put(folder, &format!("{}.svg", plot.name), &picture)?;
            println!("{}", file.display());
        }
        figures.push((plot.name, series));
    }
    if let Some(folder) = folder {
        let name = format!("{}.json", lesson.name);
        put(folder, &name, &points::to_json(&figures))?;
    }
    println!();
    Ok(())
}

/// Runs an experiment; returns the points that it prints.
fn measure(lesson: &Lesson, size: Size) -> Result<String, String> {
    let mut command = workspace::cargo(["run", "--quiet"]);
    if size == Size::Full {
        command.arg("--release");
    }
    let program = lesson.program;
    command.args(["--package", program.package, "--example", program.example]);
    command.args(["--", lesson.name]);
    if size == Size::Tiny {
        command.arg("--tiny");
    }
    let ran = process::capture(command, LIMIT, |_| ())?;
    match ran.success() {
        true => Ok(ran.stdout),
        false => Err(format!("the experiment failed:\n{}", ran.output)),
    }
}

/// Writes a file into a folder, which is made if need be.
pub fn put(folder: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let file = folder.join(name);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, text))
        .map_err(|why| format!("cannot write {}: {why}", file.display()))?;
    Ok(file)
}

/// The growth of Go's own stacks, as points like the experiment's; none where the program in Go has not been built.
fn growth_of_go() -> Result<String, String> {
    /// Runs of which the fastest counts.
    const RUNS: usize = 5;
    let Some(program) = bench::go_contestant() else {
        println!(
            "`cargo xtask bench stack --peers` builds a program in Go, which is then shown too"
        );
        return Ok(String::new());
    };
    let mut points = String::new();
    for depth in (8..=20).map(|power| 1u32 << power) {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..RUNS {
            let mut command = Command::new(&program);
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
