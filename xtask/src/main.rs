//! `cargo xtask`: the workspace's own commands.
//!
//! Every command is a table entry of [`COMMANDS`], so that the help, the dispatch and the suggestion for a mistyped
//! name cannot disagree. The modules point one way, each line using only those below it:
//!
//! ```text
//!   main
//!   demo  test  lint  doc                        the commands
//!   lesson                                       what the course measures
//!   bench                                        this runtime beside its peers
//!   soak                                         everything for as long as wanted
//!   explore  fuzz  crates  checked  coverage  layers  fastpath  cost     the commands that look deeper
//!   preload                                      the allocator under other people's programs
//!   kv  tools                                    the two example programs; tools that may be missing
//!   diagram                                      the picture of the crates
//!   workspace                                    the tree and its packages
//!   chart  svg                                   pictures
//!   process                                      children that cannot outlive their purpose
//!   interrupt  console  failure  nearest         signals, the terminal, errors
//! ```
//!
//! A command answers with its exit code: 0 when all went well, 1 when the thing examined failed, 2 when the tool was
//! called wrongly. It depends on two small crates only, because it is the first thing that a newcomer compiles.

mod bench;
mod chart;
mod checked;
mod console;
mod cost;
mod coverage;
mod crates;
mod demo;
mod diagram;
mod doc;
mod explore;
mod failure;
mod fastpath;
mod fuzz;
mod interrupt;
mod kv;
mod layers;
mod lesson;
mod lint;
mod nearest;
mod preload;
mod process;
mod soak;
mod svg;
mod test;
mod tools;
mod workspace;

use failure::{Failure, Outcome};
use nearest::unknown;
use std::io::Write;
use std::process::ExitCode;

/// One command: its name, one line of help, and its function, which gets the arguments after the name.
struct Command {
    name: &'static str,
    help: &'static str,
    run: fn(lexopt::Parser) -> Outcome,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        help: "a key-value server on goroutines under load, with a live panel",
        run: demo::run,
    },
    Command {
        name: "lesson",
        help: "the experiments of the course, measured and drawn",
        run: lesson::run,
    },
    Command {
        name: "test",
        help: "every suite, each subsystem crate alone; --long for the long ones too",
        run: test::run,
    },
    Command {
        name: "explore",
        help: "the concurrent protocols under the schedule explorer",
        run: explore::run,
    },
    Command {
        name: "miri",
        help: "the suites without assembly, interpreted",
        run: checked::run_miri,
    },
    Command {
        name: "sanitize",
        help: "the suites under AddressSanitizer or ThreadSanitizer",
        run: checked::run_sanitize,
    },
    Command {
        name: "coverage",
        help: "which lines the tests reach",
        run: coverage::run,
    },
    Command {
        name: "layers",
        help: "the modules of each crate, and whether they use each other in circles",
        run: layers::run,
    },
    Command {
        name: "soak",
        help: "everything at once for a while: nothing may grow, hang or fail",
        run: soak::run,
    },
    Command {
        name: "fastpath",
        help: "instructions of the hot paths, counted, against golden figures",
        run: fastpath::run,
    },
    Command {
        name: "cost",
        help: "what the runtime adds to a program's build: time, crates, bytes",
        run: cost::run,
    },
    Command {
        name: "bench",
        help: "this runtime and its peers measured in turn, as ratios; --peers for all of them",
        run: bench::run,
    },
    Command {
        name: "preload",
        help: "libgomem.so built, and its path; --check: programs run on it",
        run: preload::run,
    },
    Command {
        name: "lint",
        help: "formatting, clippy, crate boundaries, documentation, links, file sizes",
        run: lint::run,
    },
    Command {
        name: "fuzz",
        help: "the fuzz targets for some seconds each, or over the kept inputs",
        run: fuzz::run,
    },
    Command {
        name: "crates",
        help: "other people's blocking crates, unchanged, on goroutines",
        run: crates::run,
    },
    Command {
        name: "doc",
        help: "the API reference, quoted code, links, and the book",
        run: doc::run,
    },
];

fn main() -> ExitCode {
    match dispatch(lexopt::Parser::from_env()) {
        Ok(code) => code,
        Err(failure) => {
            let (why, code) = match failure {
                Failure::Usage(why) => (why, 2),
                Failure::Broken(why) => (why, 1),
            };
            // Where standard error is closed, the exit code has to say it.
            let _ = writeln!(std::io::stderr(), "error: {why}");
            ExitCode::from(code)
        }
    }
}

fn dispatch(mut arguments: lexopt::Parser) -> Outcome {
    use lexopt::prelude::*;
    let name = match arguments.next()? {
        None | Some(Long("help") | Short('h')) => {
            print!("{}", help());
            return Ok(ExitCode::SUCCESS);
        }
        Some(Value(name)) => name.string()?,
        Some(other) => return Err(other.unexpected().into()),
    };
    if name == "help" {
        print!("{}", help());
        return Ok(ExitCode::SUCCESS);
    }
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(arguments),
        None => Err(Failure::Usage(unknown(
            "command",
            &name,
            COMMANDS.iter().map(|c| c.name),
        ))),
    }
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask <command> [options]\n\nCommands:\n");
    for command in COMMANDS {
        text.push_str(&format!("  {:<10}{}\n", command.name, command.help));
    }
    text.push_str("\n`cargo xtask <command> --help` lists its options.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_command_names_the_nearest() {
        let names = COMMANDS.iter().map(|c| c.name);
        assert!(unknown("command", "tset", names.clone()).ends_with("did you mean `test`?"));
        assert!(unknown("command", "demos", names.clone()).ends_with("did you mean `demo`?"));
        let far = unknown("command", "frobnicate", names);
        assert!(far.contains("demo, lesson, "), "{far}");
    }

    #[test]
    fn the_help_has_one_line_for_each_command() {
        let help = help();
        for command in COMMANDS {
            let lines = help
                .lines()
                .filter(|l| l.trim_start().starts_with(command.name));
            assert_eq!(lines.count(), 1, "{}", command.name);
        }
    }

    #[test]
    fn an_unknown_command_is_a_usage_error() {
        match dispatch(lexopt::Parser::from_args(["lnit"])) {
            Err(Failure::Usage(why)) => assert!(why.contains("`lint`"), "{why}"),
            _ => panic!("not refused"),
        }
    }
}
