//! `cargo xtask preload`: `libgomem.so` built, and its path; with `--check`, programs that know nothing of it run on it and their results checked.
//!
//! The path is alone on standard output, so that `LD_PRELOAD=$(cargo xtask preload) program` works. What is checked is that each program does its own work
//! rightly with its memory from here: a database still has its rows, a server answers, a test suite passes as it does without.

mod databases;
mod python;
mod redis;
mod stand;
mod tools;

use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::nearest::unknown;
use crate::tools::{SKIPPED, need_program};
use crate::workspace::{self, is_installed, list_at};
use lexopt::prelude::*;
use stand::Stand;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Instant;
use tinyjson::JsonValue;

/// A program, or a family of them, that is run on the library.
struct Program {
    name: &'static str,
    help: &'static str,
    /// What has to be there, and Debian's packages that have it.
    needs: &'static [(&'static str, &'static str)],
    /// Does it run only with `--long`, or when named? What is missing for these is installed if it can be.
    is_long: bool,
    /// Runs it. Says what was done, or what went wrong.
    run: fn(&Stand) -> Result<String, String>,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "git",
        help: "commits, packs, checks and clones a repository",
        needs: &[("git", "git")],
        is_long: false,
        run: tools::git,
    },
    Program {
        name: "sqlite3",
        help: "200,000 rows, an index, sums, the integrity check",
        needs: &[("sqlite3", "sqlite3")],
        is_long: false,
        run: tools::sqlite,
    },
    Program {
        name: "c++",
        help: "compiles a program in C++",
        needs: &[("c++", "g++")],
        is_long: false,
        run: tools::compiler,
    },
    Program {
        name: "valgrind",
        help: "start-up and end of a program without an error that Valgrind sees",
        needs: &[("valgrind", "valgrind")],
        is_long: false,
        run: tools::valgrind,
    },
    Program {
        name: "redis",
        help: "the server under its own benchmark, saved, reloaded, compared",
        needs: &[
            ("redis-server", "redis-server"),
            ("redis-benchmark", "redis-tools"),
        ],
        is_long: true,
        run: redis::run,
    },
    Program {
        name: "postgresql",
        help: "pgbench's load on a new cluster, and its sums",
        // Not installed: its package starts a server of its own.
        needs: &[],
        is_long: true,
        run: databases::postgresql,
    },
    Program {
        name: "mariadb",
        help: "a new database loaded by several clients, and its sums",
        needs: &[
            ("mariadbd", "mariadb-server-core"),
            ("mariadb", "mariadb-client-core"),
        ],
        is_long: true,
        run: databases::mariadb,
    },
    Program {
        name: "python",
        help: "the parts of its own test suite about threads and processes",
        needs: &[("python3", "python3")],
        is_long: true,
        run: python::run,
    },
    Program {
        name: "cargo",
        help: "builds the runtime",
        needs: &[],
        is_long: true,
        run: tools::cargo,
    },
    Program {
        name: "stress-ng",
        help: "its malloc stressor, which verifies contents",
        needs: &[("stress-ng", "stress-ng")],
        is_long: true,
        run: tools::stress,
    },
];

fn help() -> String {
    let mut text = String::from(
        "Usage: cargo xtask preload [--check [--long] [program...]]\n\n\
         Builds libgomem.so in release and prints its path: LD_PRELOAD=$(cargo xtask preload) program\n\n\
         Options:\n  --check  run programs on it and check their results\n  --long   those that take minutes or have to be installed, too\n\n\
         Programs:\n",
    );
    for program in PROGRAMS {
        let note = if program.is_long { " (long)" } else { "" };
        text.push_str(&format!("  {:<12}{}{note}\n", program.name, program.help));
    }
    text
}

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut check, mut with_long, mut names) = (false, false, Vec::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{}", help());
                return Ok(ExitCode::SUCCESS);
            }
            Long("check") => check = true,
            Long("long") => with_long = true,
            Value(name) => names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if !check && (with_long || !names.is_empty()) {
        let why = "programs are run with --check only";
        return Err(Failure::Usage(why.to_owned()));
    }
    let chosen = choose(&names, with_long).map_err(Failure::Usage)?;
    let library = build()?;
    if !check {
        println!("{}", library.display());
        return Ok(ExitCode::SUCCESS);
    }
    interrupt::watch();
    let (mut passed, mut failed) = (0u32, 0u32);
    for program in chosen {
        let may_install = program.is_long || !names.is_empty();
        if let Err(why) = need(program, may_install) {
            println!("{SKIPPED}{}: {why}", program.name);
            continue;
        }
        let begin = Instant::now();
        let result = Stand::new(&library, program.name).and_then(|stand| (program.run)(&stand));
        if let Some(signal) = interrupt::pending() {
            return Ok(ExitCode::from(interrupt::exit_code(signal)));
        }
        let seconds = begin.elapsed().as_secs_f64();
        match result {
            Ok(account) => {
                passed += 1;
                println!("{:<12}{account} ({seconds:.0} s)", program.name);
            }
            Err(why) if why.starts_with(SKIPPED) => println!("{why}"),
            Err(why) => {
                failed += 1;
                println!("{:<12}FAILED ({seconds:.0} s)\n{why}", program.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn choose(names: &[String], with_long: bool) -> Result<Vec<&'static Program>, String> {
    if names.is_empty() {
        let wanted = |program: &&Program| with_long || !program.is_long;
        return Ok(PROGRAMS.iter().filter(wanted).collect());
    }
    let find = |name: &String| {
        let all = || PROGRAMS.iter();
        all()
            .find(|program| program.name == name)
            .ok_or_else(|| unknown("program", name, all().map(|program| program.name)))
    };
    names.iter().map(find).collect()
}

/// Makes sure of what a program needs.
fn need(program: &Program, may_install: bool) -> Result<(), String> {
    for (name, package) in program.needs {
        if may_install {
            need_program(name, package)?;
        } else if !is_installed(name, &["--version"]) {
            return Err(format!(
                "{name} is missing; Debian's package {package} has it"
            ));
        }
    }
    Ok(())
}

/// Builds the library in release, with cargo's progress on standard error.
fn build() -> Result<PathBuf, String> {
    let mut command = workspace::cargo([
        "build",
        "--release",
        "-p",
        "gomem-c",
        "--message-format=json-render-diagnostics",
    ]);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|why| format!("cannot start cargo: {why}"))?;
    if !output.status.success() {
        return Err("libgomem.so could not be built".to_owned());
    }
    find(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| "cargo built no libgomem.so".to_owned())
}

/// Where cargo put the library, by its own account: so any target directory will do.
fn find(messages: &str) -> Option<PathBuf> {
    let artifacts = messages.lines().filter_map(|line| line.parse().ok());
    let mut files = artifacts.flat_map(|artifact: JsonValue| {
        let files = list_at(&artifact, &["filenames"]).iter();
        let texts = files.filter_map(|file| file.get::<String>().map(PathBuf::from));
        texts.collect::<Vec<_>>()
    });
    files.find(|file| file.file_name().is_some_and(|name| name == "libgomem.so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_in_what_cargo_says() {
        let messages = "{\"reason\":\"compiler-artifact\",\"filenames\":[\"/a/libgomem.rlib\"]}\n\
                        {\"reason\":\"compiler-artifact\",\"filenames\":[\"/b/libgomem.so\"]}\n";
        assert_eq!(find(messages), Some(PathBuf::from("/b/libgomem.so")));
        assert_eq!(find("no json"), None);
    }

    #[test]
    fn long_programs_run_when_asked_for() {
        let names = |chosen: Vec<&Program>| chosen.iter().map(|p| p.name).collect::<Vec<_>>();
        assert!(!names(choose(&[], false).unwrap()).contains(&"redis"));
        assert!(names(choose(&[], true).unwrap()).contains(&"redis"));
        assert_eq!(
            names(choose(&["redis".to_owned()], false).unwrap()),
            ["redis"]
        );
        assert!(
            choose(&["reddis".to_owned()], false)
                .err()
                .unwrap()
                .contains("`redis`")
        );
    }
}
