//! `cargo xtask lint`: what the workspace demands of its sources beyond compiling.
//!
//! Every check says how much it looked at, and one that looked at nothing fails: a check that finds no work is a
//! check that is broken. All checks run even when one fails. A check whose tool is not installed is skipped with a
//! line that says how to install it.

mod boundaries;
mod commands;
mod compiler;
mod course;
mod diagram;
mod finding;
mod links;
mod markdown;
mod prose;
mod quotes;
mod settings;
mod sources;

use crate::console::{Region, Row, Style};
use crate::failure::{Failure, Outcome};
use crate::nearest::unknown;
use crate::{interrupt, workspace};
use finding::{Finding, Tree};
use lexopt::prelude::*;
use std::process::ExitCode;

struct Check {
    name: &'static str,
    help: &'static str,
    run: fn(&Tree) -> Result<Finding, String>,
}

const CHECKS: &[Check] = &[
    Check {
        name: "format",
        help: "rustfmt would change nothing",
        run: compiler::format,
    },
    Check {
        name: "boundaries",
        help: "no crate depends on one that it must not know",
        run: boundaries::check,
    },
    Check {
        name: "heads",
        help: "every source file opens with a `//!` head",
        run: sources::heads,
    },
    Check {
        name: "sizes",
        help: "no source file is over 600 lines without a reason",
        run: sources::sizes,
    },
    Check {
        name: "links",
        help: "links and anchors of every Markdown file lead somewhere",
        run: links::links,
    },
    Check {
        name: "names",
        help: "paths and tests that prose quotes exist",
        run: links::names,
    },
    Check {
        name: "commands",
        help: "commands and examples that prose quotes exist",
        run: commands::check,
    },
    Check {
        name: "quotes",
        help: "code that the book quotes is in the file that it is from",
        run: quotes::check,
    },
    Check {
        name: "course",
        help: "every lesson of the course has its chapter",
        run: course::check,
    },
    Check {
        name: "settings",
        help: "every variable and key that is read is in the operations guide",
        run: settings::check,
    },
    Check {
        name: "diagram",
        help: "the picture of the crates is up to date",
        run: diagram::check,
    },
    Check {
        name: "book",
        help: "every chapter is in the book's summary",
        run: links::book,
    },
    Check {
        name: "prose",
        help: "no path of somebody's machine in documentation",
        run: prose::check,
    },
    Check {
        name: "clippy",
        help: "no warning in any target",
        run: compiler::clippy,
    },
    Check {
        name: "thread-engine",
        help: "no warning with that feature either",
        run: compiler::clippy_thread_engine,
    },
    Check {
        name: "contestants",
        help: "no warning in the benchmarks' programs",
        run: compiler::clippy_contestants,
    },
    Check {
        name: "rustdoc",
        help: "no public item undocumented, no broken link between items",
        run: compiler::rustdoc,
    },
];

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut chosen = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{}", help());
                return Ok(ExitCode::SUCCESS);
            }
            Value(name) => {
                let name = name.string()?;
                match CHECKS.iter().find(|check| check.name == name) {
                    Some(check) => chosen.push(check),
                    None => {
                        let names = CHECKS.iter().map(|check| check.name);
                        return Err(Failure::Usage(unknown("check", &name, names)));
                    }
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if chosen.is_empty() {
        chosen.extend(CHECKS);
    }
    interrupt::watch();
    run_all(&chosen)
}

/// Runs the checks of these names, for other commands.
///
/// # Errors
/// As the command itself.
pub fn run_named(names: &[&str]) -> Outcome {
    let chosen: Vec<&Check> = CHECKS
        .iter()
        .filter(|check| names.contains(&check.name))
        .collect();
    run_all(&chosen)
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask lint [check...]\n\nChecks:\n");
    for check in CHECKS {
        text.push_str(&format!("  {:<15}{}\n", check.name, check.help));
    }
    text
}

fn run_all(checks: &[&Check]) -> Outcome {
    let root = workspace::root();
    let tree = Tree {
        rust: workspace::texts(&root, &["rs"])?,
        markdown: workspace::texts(&root, &["md"])?,
        root,
    };
    let (mut ok, mut failed, mut skipped) = (0, 0, 0);
    for check in checks {
        let finding = watched(check, &tree)?;
        if let Some(signal) = interrupt::pending() {
            return Ok(ExitCode::from(interrupt::exit_code(signal)));
        }
        let (style, verdict, note, problems) = judge(finding);
        match verdict {
            "ok" => ok += 1,
            "failed" => failed += 1,
            _ => skipped += 1,
        }
        Row::new()
            .with(style, format!("{verdict:<8}"))
            .with(Style::Plain, format!("{:<15}{note}", check.name))
            .print()?;
        for problem in problems {
            for line in problem.trim_end().lines() {
                println!("        {line}");
            }
        }
    }
    println!("lint: {ok} ok, {failed} failed, {skipped} skipped");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Runs a check, saying which one while it runs where there is a terminal.
fn watched(check: &Check, tree: &Tree) -> std::io::Result<Result<Finding, String>> {
    let mut region = Region::begin();
    if let Some(region) = &mut region {
        let row = Row::new().with(Style::Dim, format!("        {}", check.name));
        region.draw(&[row])?;
    }
    let finding = (check.run)(tree);
    if let Some(region) = &mut region {
        region.clear()?;
    }
    Ok(finding)
}

/// The verdict over a finding: its colour, its word, what to say of it, and the problems to list.
fn judge(finding: Result<Finding, String>) -> (Style, &'static str, String, Vec<String>) {
    match finding {
        Ok(Finding::Looked { at: 0, what, .. }) => {
            let note = format!("looked at no {what}: the check itself is broken");
            (Style::Bad, "failed", note, Vec::new())
        }
        Ok(Finding::Looked { at, what, problems }) if problems.is_empty() => {
            (Style::Good, "ok", format!("{at} {what}"), problems)
        }
        Ok(Finding::Looked { at, what, problems }) => {
            let plural = if problems.len() == 1 { "" } else { "s" };
            let note = format!("{} problem{plural} in {at} {what}", problems.len());
            (Style::Bad, "failed", note, problems)
        }
        Ok(Finding::Skipped(why)) => (Style::Dim, "skipped", why.to_owned(), Vec::new()),
        Err(why) => (
            Style::Bad,
            "failed",
            "could not be done".to_owned(),
            vec![why],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_looked_at_nothing_fails() {
        let nothing = Finding::Looked {
            at: 0,
            what: "files",
            problems: Vec::new(),
        };
        assert_eq!(judge(Ok(nothing)).1, "failed");
    }

    #[test]
    fn one_problem_fails_a_check() {
        let finding = |problems| Finding::Looked {
            at: 3,
            what: "files",
            problems,
        };
        assert_eq!(judge(Ok(finding(Vec::new()))).1, "ok");
        assert_eq!(judge(Ok(finding(vec!["bad".to_owned()]))).1, "failed");
        assert_eq!(judge(Err("no cargo".to_owned())).1, "failed");
        assert_eq!(judge(Ok(Finding::Skipped("no clippy"))).1, "skipped");
    }
}
