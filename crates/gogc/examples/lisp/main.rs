//! A Lisp over `gogc`, to show how a language gets its collector: `cargo run --release -p gogc --example lisp -- FILE`.
//!
//! Everything here is the embedder's own: objects with headers, a heap of blocks, threads that stop where they like, precise roots, a write barrier. Of this project only
//! `gogc` is used. The book's chapter on embedding walks through it.
//!
//! | file | what | knows of the collector |
//! | --- | --- | --- |
//! | `value` | what a variable holds | what is an address |
//! | `heap` | objects, blocks, allocation | is its heap |
//! | `world` | stopping, roots | is its world |
//! | `mutator` | allocation, stores and stops of one interpreter | calls it |
//! | `runtime` | what interpreters share | owns it |
//! | `reader`, `syntax`, `code`, `compiler` | from text to instructions | nothing |
//! | `loader`, `machine`, `primitives`, `printer` | running them | that values live on the stack |
//! | `methods` | the collectors to choose from | which one it is |
//! | `measure` | pauses, memory and work in figures | nothing |

mod code;
mod compiler;
mod heap;
mod loader;
mod machine;
mod measure;
mod methods;
mod mutator;
mod primitives;
mod printer;
mod reader;
mod runtime;
mod syntax;
#[cfg(test)]
mod tests;
mod value;
mod world;

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;

use gogc::{Config, GcPercent};

use machine::{Machine, Trap};
use methods::{METHODS, Method, Setup, Task, When};
use runtime::{Gc, Runtime};
use world::Stack;

const HELP: &str = "\
Usage: lisp [options] [file...]

Runs the programs in the files one after the other, or the one on standard input.

Options:
  --method NAME   concurrent (the default), stopped, generational, counting, leaking
  --heap MIB      the most that the heap may take (512)
  --gogc PERCENT  how much the heap may grow from one collection to the next (100)
  --trace         prints a line for each collection
  --torture       collects before each allocation, and checks each collection
  --harass        collects all the time beside the program, and checks each collection
  --pauses        prints how long the interpreters were stopped
  --figures       prints what happened while the program ran, as points to be plotted
";

/// Values on a stack: deep enough for most, and looked through in a fraction of a millisecond.
const STACK: usize = 1 << 18;

/// What every program has.
const PRELUDE: &str = include_str!("prelude.lisp");

/// Runs program texts on an interpreter.
struct Programs<'p> {
    texts: &'p [String],
}

impl Task for Programs<'_> {
    type Output = Result<(), Trap>;

    fn run<G: Gc>(self, runtime: &Arc<Runtime<G>>) -> Result<(), Trap> {
        let stack = Arc::new(Stack::new(runtime.stack));
        runtime.world.register(&stack);
        let mut machine = Machine::new(runtime.clone(), stack);
        let prelude = [PRELUDE.to_owned()];
        let mut texts = prelude.iter().chain(self.texts);
        let result = texts.try_for_each(|text| machine.run_text(text).map(|_| ()));
        machine.end(None);
        if result.is_ok() {
            runtime.wait_for_all_threads();
        }
        result
    }
}

struct Options {
    setup: Setup,
    files: Vec<String>,
    pauses: bool,
    figures: bool,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        setup: Setup {
            method: Method::Concurrent,
            when: When::Due,
            checked: false,
            heap: 512 << 20,
            config: Config::default(),
            stack: STACK,
            traced: false,
            output: Box::new(std::io::stdout()),
        },
        files: Vec::new(),
        pauses: false,
        figures: false,
    };
    let setup = &mut options.setup;
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value.ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--method" => {
                let name = value()?;
                let found = METHODS.iter().find(|(_, known)| *known == name);
                setup.method = found.ok_or(format!("there is no method {name}"))?.0;
            }
            "--heap" => setup.heap = number(&value()?)? << 20,
            "--gogc" => {
                let percent = number(&value()?)?;
                let percent = u32::try_from(percent).map_err(|_| "so much it cannot grow")?;
                setup.config.percent = GcPercent::Percent(percent);
            }
            "--trace" => setup.traced = true,
            "--torture" => (setup.when, setup.checked) = (When::AtEachAllocation, true),
            "--harass" => (setup.when, setup.checked) = (When::AllTheTime, true),
            "--pauses" => options.pauses = true,
            "--figures" => options.figures = true,
            name if name.starts_with('-') => return Err(format!("there is no option {name}")),
            _ => options.files.push(argument),
        }
    }
    Ok(Some(options))
}

fn number(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok();
    number
        .filter(|number| (1..1 << 20).contains(number))
        .ok_or_else(|| format!("{text} is not a number that makes sense here"))
}

fn texts(files: &[String]) -> Result<Vec<String>, String> {
    if files.is_empty() {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|why| format!("standard input: {why}"))?;
        return Ok(vec![text]);
    }
    let read =
        |file: &String| std::fs::read_to_string(file).map_err(|why| format!("{file}: {why}"));
    files.iter().map(read).collect()
}

fn run(options: Options) -> Result<Result<(), Trap>, String> {
    let texts = texts(&options.files)?;
    let programs = Programs { texts: &texts };
    let refused = |why: gogc::BuildError| why.to_string();
    if options.figures || options.pauses {
        let name = METHODS
            .iter()
            .find(|(method, _)| *method == options.setup.method);
        let task = measure::Measured {
            task: programs,
            name: name.map_or("", |(_, name)| name),
            points: options.figures,
        };
        return methods::with(options.setup, task).map_err(refused);
    }
    methods::with(options.setup, programs).map_err(refused)
}

fn main() -> ExitCode {
    let result = match options(std::env::args().skip(1)) {
        Ok(Some(options)) => run(options),
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => Err(why),
    };
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(Trap::Exit(code))) => ExitCode::from(code),
        Ok(Err(Trap::Error(why))) | Err(why) => {
            eprintln!("lisp: {why}");
            ExitCode::FAILURE
        }
        Ok(Err(Trap::Exhausted)) => {
            eprintln!("lisp: the heap is full");
            ExitCode::FAILURE
        }
    }
}
