//! What contestants of the benchmarks share: how they are started, how they report, and the workloads.
//!
//! A contestant is started as `PROGRAM WORKLOAD [key=value ...]`, measures itself, checks its own result, and prints its figures, one a line.
//! `PROGRAM --list` names its workloads. It ends with 0, or with 1 and a message when it could not do its work or did it wrong.

pub mod workloads {
    //! Workloads that several contestants run.

    pub mod gc;
    pub mod malloc;
    mod random;
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
        Ok(Arguments { given, open })
    }

    /// A word, or `default`.
    pub fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.open.borrow_mut().retain(|open| open != key);
        self.given.get(key).map_or(default, String::as_str)
    }

    /// A number, or `default`.
    ///
    /// # Errors
    /// When it is none.
    pub fn number<T: FromStr + Copy>(&self, key: &str, default: T) -> Result<T, String> {
        match self.text(key, "") {
            "" => Ok(default),
            text => text
                .parse()
                .map_err(|_| format!("{key}={text} is not a number that fits")),
        }
    }

    /// By how much the work is multiplied.
    ///
    /// # Errors
    /// When it is not a positive number.
    pub fn scale(&self) -> Result<f64, String> {
        let scale = self.number("scale", 1.0)?;
        if scale > 0.0 && f64::is_finite(scale) {
            Ok(scale)
        } else {
            Err(format!("scale={scale} is not a positive number"))
        }
    }

    /// A number, or `default`, multiplied by the scale and at least 1.
    ///
    /// # Errors
    /// As `number` and `scale`.
    pub fn scaled(&self, key: &str, default: usize) -> Result<usize, String> {
        let number = self.number(key, default)? as f64;
        Ok((number * self.scale()?).ceil().max(1.0) as usize)
    }

    /// Is everything that was given known to the workload?
    fn all_asked_for(&self) -> Result<(), String> {
        self.text("scale", "");
        match self.open.borrow().first() {
            None => Ok(()),
            Some(key) => Err(format!("the workload has no argument {key}")),
        }
    }
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
            arguments.all_asked_for()
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
        assert_eq!(a.scaled("nodes", 5), Ok(100));
        assert_eq!(a.scaled("rings", 2), Ok(1));
        assert_eq!(a.number("nodes", 7), Ok(1000));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert!(
            Arguments::parse(["nodes"])
                .unwrap_err()
                .contains("key=value")
        );
        let a = Arguments::parse(["nodes=many", "scale=-1"]).unwrap();
        assert!(a.number("nodes", 1).unwrap_err().contains("nodes=many"));
        assert!(a.scale().unwrap_err().contains("scale=-1"));
    }

    #[test]
    fn an_argument_that_nobody_asks_for_is_named() {
        let a = Arguments::parse(["nodes=1", "nods=1", "scale=2"]).unwrap();
        a.number("nodes", 0).unwrap();
        assert!(a.all_asked_for().unwrap_err().contains("nods"));
    }

    #[test]
    fn this_process_has_a_peak() {
        assert!(peak_rss().unwrap() > 100_000);
    }
}
