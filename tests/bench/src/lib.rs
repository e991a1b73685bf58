//! What contestants of the benchmarks share: how they are started, how they report, and the workloads.
//!
//! A contestant is started as `PROGRAM WORKLOAD [key=value ...]`, measures itself, checks its own result, and prints its figures, one a line.
//! `PROGRAM --list` names its workloads. It ends with 0, or with 1 and a message when it could not do its work or did it wrong.

pub mod workloads {
    //! Workloads that several contestants run.

    pub mod gc;
    pub mod latency;
    pub mod malloc;
    pub mod net;
    pub mod process;
    pub mod random;
    pub mod sched;
    pub mod stack;
    pub mod sysmon;
}

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::ExitCode;
use std::str::FromStr;

/// The `key=value` arguments of a run.
#[derive(Debug, Default)]
pub struct Arguments {
    given: BTreeMap<String, String>,
    /// Those that the workload has not asked for yet.
    open: RefCell<Vec<String>>,
    /// What was wrong first.
    wrong: RefCell<Option<String>>,
}

impl Arguments {
    /// Takes arguments apart.
    ///
    /// # Errors
    /// When one is not of the form `key=value`.
    pub fn parse<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        for argument in arguments {
            let argument = argument.as_ref();
            let (key, value) = argument
                .split_once('=')
                .ok_or_else(|| format!("{argument:?} is not of the form key=value"))?;
            given.insert(key.to_owned(), value.to_owned());
        }
        let open = RefCell::new(given.keys().cloned().collect());
        Ok(Arguments {
            given,
            open,
            wrong: RefCell::default(),
        })
    }

    /// A word, or `default`.
    pub fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.open.borrow_mut().retain(|open| open != key);
        self.given.get(key).map_or(default, String::as_str)
    }

    /// A number, or `default`, also for a word that is none: then [`Arguments::problem`] says so.
    pub fn number<T: FromStr + Copy>(&self, key: &str, default: T) -> T {
        match self.text(key, "") {
            "" => default,
            text => text.parse().unwrap_or_else(|_| {
                let problem = format!("{key}={text} is not a number that fits");
                self.wrong.borrow_mut().get_or_insert(problem);
                default
            }),
        }
    }

    /// By how much the work is multiplied: a positive number.
    pub fn scale(&self) -> f64 {
        let scale = self.number("scale", 1.0);
        if scale > 0.0 && f64::is_finite(scale) {
            return scale;
        }
        let problem = format!("scale={scale} is not a positive number");
        self.wrong.borrow_mut().get_or_insert(problem);
        1.0
    }

    /// A number, or `default`, multiplied by the scale and at least 1.
    pub fn scaled<T>(&self, key: &str, default: T) -> T
    where
        T: FromStr + Copy + TryInto<u64> + TryFrom<u64>,
    {
        let number = self.number(key, default);
        let scaled = |number: u64| (number as f64 * self.scale()).ceil().max(1.0) as u64;
        let fitting = number
            .try_into()
            .ok()
            .and_then(|n| T::try_from(scaled(n)).ok());
        fitting.unwrap_or(number)
    }

    /// Everything that was given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.open.borrow_mut().clear();
        self.given
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// What was wrong with the arguments asked for so far, or what nobody asked for.
    pub fn problem(&self) -> Option<String> {
        self.text("scale", "");
        let wrong = self.wrong.borrow().clone();
        let open = self.open.borrow();
        wrong.or_else(|| {
            open.first()
                .map(|key| format!("the workload has no argument {key}"))
        })
    }
}

/// A workload and its name.
pub type Workload = (&'static str, fn(&Arguments) -> Result<(), String>);

/// The `main` of a contestant with a table of workloads.
pub fn main_of(workloads: &[Workload]) -> ExitCode {
    let names: Vec<&str> = workloads.iter().map(|(name, _)| *name).collect();
    contestant(&names, |name, arguments| {
        let run = workloads.iter().find(|(known, _)| *known == name);
        run.map_or(Ok(()), |(_, run)| run(arguments))
    })
}

/// Reports a figure.
pub fn figure(name: &str, value: impl Display, unit: &str) {
    println!("figure {name} {value} {unit}");
}

/// The most resident memory that this process has had, in bytes.
///
/// # Errors
/// When the system does not tell.
pub fn peak_rss() -> Result<u64, String> {
    status("VmHWM:")
}

/// The resident memory that this process has now, in bytes.
///
/// # Errors
/// When the system does not tell.
pub fn rss() -> Result<u64, String> {
    status("VmRSS:")
}

/// A size from the process's status.
fn status(name: &str) -> Result<u64, String> {
    let path = "/proc/self/status";
    let status = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"))
        .and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok())
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| format!("{path} has no line {name} in kB"))
}

/// The `main` of a contestant, given the names of its workloads and how one is run.
pub fn contestant(
    workloads: &[&str],
    run: impl FnOnce(&str, &Arguments) -> Result<(), String>,
) -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match arguments.next().as_deref() {
        None => Err("which workload? --list names those there are".into()),
        Some("--list") => {
            workloads.iter().for_each(|name| println!("{name}"));
            Ok(())
        }
        Some(name) if !workloads.contains(&name) => {
            Err(format!("no workload {name}; --list names those there are"))
        }
        Some(name) => Arguments::parse(arguments).and_then(|arguments| {
            run(name, &arguments)?;
            arguments.problem().map_or(Ok(()), Err)
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_scaled_and_bounded_below() {
        let a = Arguments::parse(["nodes=1000", "scale=0.1"]).unwrap();
        assert_eq!(a.scaled("nodes", 5usize), 100);
        assert_eq!(a.scaled("rings", 2u64), 1);
        assert_eq!(a.number("nodes", 7), 1000);
        assert_eq!(a.problem(), None);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert!(
            Arguments::parse(["nodes"])
                .unwrap_err()
                .contains("key=value")
        );
        let many = Arguments::parse(["nodes=many"]).unwrap();
        assert_eq!(many.number("nodes", 1), 1);
        assert!(many.problem().unwrap().contains("nodes=many"));
        let backward = Arguments::parse(["scale=-1"]).unwrap();
        assert_eq!(backward.scale(), 1.0);
        assert!(backward.problem().unwrap().contains("scale=-1"));
    }

    #[test]
    fn an_argument_that_nobody_asks_for_is_named() {
        let a = Arguments::parse(["nodes=1", "nods=1", "scale=2"]).unwrap();
        a.number("nodes", 0);
        assert!(a.problem().unwrap().contains("nods"));
    }

    #[test]
    fn this_process_has_a_peak() {
        assert!(peak_rss().unwrap() > 100_000);
    }
}
