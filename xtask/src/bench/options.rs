//! The options of the benchmarks.

use super::suites::SUITES;
use crate::failure::Failure;
use crate::nearest::unknown;
use lexopt::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

/// What is to be measured, and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Names of suites.
    pub suites: Vec<&'static str>,
    /// Only rows whose name has this in it.
    pub row: Option<String>,
    /// Only these contestants.
    pub only: Vec<String>,
    /// Peers that have to be built or installed too.
    pub peers: bool,
    /// How often each is run.
    pub rounds: u32,
    /// When this is over, no further round begins.
    pub limit: Duration,
    /// By how much the work of a run is multiplied.
    pub scale: f64,
    /// Where the results go besides the terminal.
    pub json: Option<PathBuf>,
    /// Write the page even when the machine was disturbed.
    pub force: bool,
    /// Write the page from the results that are kept, without a run.
    pub report: bool,
    /// Name the rows instead of running them.
    pub list: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            suites: SUITES.iter().map(|suite| suite.name).collect(),
            row: None,
            only: Vec::new(),
            peers: false,
            rounds: 5,
            limit: Duration::from_secs(32 * 60),
            scale: 1.0,
            json: None,
            force: false,
            report: false,
            list: false,
        }
    }
}

impl Options {
    /// Is this a run of everything, such as the page is made of?
    pub fn is_full(&self) -> bool {
        self.suites.len() == SUITES.len()
            && self.row.is_none()
            && self.only.is_empty()
            && self.peers
            && self.scale == 1.0
    }
}

/// What `--help` prints.
pub fn help() -> String {
    let mut text = String::from(
        "\
Usage: cargo xtask bench [suite...] [options]

Measures this runtime and others in turn, and shows how many times as good ours is as each: above 1 ours is ahead.

Options:
  --peers        build and install the others too: from crates.io, PyPI and Debian, as far as they can be had
  --json FILE    write the results there
  --rounds N     how often each contestant runs each workload (5)
  --minutes N    begin no further round after this time (32)
  --row TEXT     only rows with this in their name
  --only ID,ID   only these contestants
  --scale F      multiply the work of each run, for instance by 0.01 to see whether everything works
  --list         name the rows instead of running them
  --report       write docs/src/benchmarks.md anew from the last full run
  --force        write it also from a disturbed run

`cargo xtask bench all --peers` writes docs/src/benchmarks.md and its plots.

Suites:
",
    );
    for suite in SUITES {
        text.push_str(&format!("  {:<8}{}\n", suite.name, suite.help));
    }
    text.push_str("  all     all of them; so do no names\n");
    text
}

/// The options; `None` if help is wanted.
///
/// # Errors
/// When one is unknown, has no value or a wrong one.
pub fn read(mut arguments: lexopt::Parser) -> Result<Option<Options>, Failure> {
    let mut options = Options::default();
    let mut chosen: Vec<String> = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(None),
            Long("peers") => options.peers = true,
            Long("json") => options.json = Some(arguments.value()?.into()),
            Long("rounds") => options.rounds = arguments.value()?.parse::<u32>()?.max(1),
            Long("minutes") => {
                let minutes: u64 = arguments.value()?.parse()?;
                options.limit = Duration::from_secs(minutes * 60);
            }
            Long("row") => options.row = Some(arguments.value()?.string()?),
            Long("only") => {
                let ids = arguments.value()?.string()?;
                options.only.extend(ids.split(',').map(str::to_owned));
            }
            Long("scale") => options.scale = arguments.value()?.parse()?,
            Long("list") => options.list = true,
            Long("report") => options.report = true,
            Long("force") => options.force = true,
            Value(name) => chosen.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.scale <= 0.0 || !options.scale.is_finite() {
        return Err(Failure::Usage("--scale wants a positive number".to_owned()));
    }
    let known = super::contestants::CONTESTANTS.iter().map(|c| c.id);
    if let Some(id) = options
        .only
        .iter()
        .find(|id| !known.clone().any(|k| k == *id))
    {
        return Err(Failure::Usage(unknown("contestant", id, known)));
    }
    let names = SUITES.iter().map(|suite| suite.name).chain(["all"]);
    if let Some(name) = chosen
        .iter()
        .find(|name| !names.clone().any(|n| n == *name))
    {
        return Err(Failure::Usage(unknown("suite", name, names)));
    }
    if !chosen.is_empty() && !chosen.iter().any(|name| name == "all") {
        options
            .suites
            .retain(|suite| chosen.iter().any(|name| name == suite));
    }
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Option<Options>, String> {
        read(lexopt::Parser::from_args(words)).map_err(|failure| match failure {
            Failure::Usage(why) | Failure::Broken(why) => why,
        })
    }

    #[test]
    fn only_everything_with_peers_is_full() {
        let full = |words: &[&str]| options(words).unwrap().unwrap().is_full();
        assert!(full(&["all", "--peers"]) && full(&["--peers", "--rounds=3"]));
        for words in [
            &["all"][..],
            &["gc", "--peers"],
            &["--peers", "--row", "trees"],
            &["--peers", "--only", "go"],
            &["--peers", "--scale", "0.5"],
        ] {
            assert!(!full(words), "{words:?}");
        }
    }

    #[test]
    fn wrong_options_are_refused() {
        assert!(options(&["gcc"]).unwrap_err().contains("gc"));
        assert!(options(&["--only", "goo"]).unwrap_err().contains("go"));
        for words in [
            &["--scale", "0"][..],
            &["--rounds", "some"],
            &["--nonsense"],
        ] {
            assert!(options(words).is_err(), "{words:?}");
        }
    }
}
