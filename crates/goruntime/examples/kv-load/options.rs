//! The command line.

use crate::ops::Group;
use std::time::Duration;

/// What `--help` prints.
pub const HELP: &str = "\
Drives a server that speaks the Redis protocol, and measures it.

Usage: kv-load [OPTIONS]

  --addr HOST:PORT   the server                                   [default: 127.0.0.1:6379]
  --connections N    connections, a goroutine each                [default: 50]
  --pipeline N       requests sent before waiting for replies     [default: 1]
  --value-size N     bytes in a value                             [default: 64]
  --keys N           keys of each type, over all connections      [default: 10000]
  --requests N       stop after this many requests
  --duration T       stop after this time: 10, 10s, 500ms, 3m     [default: 10s]
  --mix LIST         what to do, with weights: get=8:set=2        [default: all of it]
                     ping get set incr list set-type hash zset expire del
  --verify           each connection has keys of its own, remembers what it wrote
                     and checks every reply, and in the end everything
  --interval T       print a line of figures this often           [default: 1s]
  --seed N           another sequence of requests                 [default: 1]
  --json             print the summary as one line of JSON
  --help             print this

Each interval prints `stats rps=.. p50_us=.. p99_us=.. errors=..`, or `verifying checked=..` while
everything is read back. Exits with 1 if a reply was an
error or, with --verify, not what was written.
";

/// What the command line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Host and port of the server.
    pub addr: String,
    /// The number of connections.
    pub connections: u32,
    /// Requests in a batch.
    pub pipeline: u32,
    /// Bytes in a value.
    pub value_size: usize,
    /// Keys of each type, over all connections.
    pub keys: u32,
    /// When to stop.
    pub limit: Limit,
    /// What to do, and how often compared to the others.
    pub mix: Vec<(Group, u32)>,
    /// Check replies.
    pub verify: bool,
    /// From one line of figures to the next.
    pub interval: Duration,
    /// Chooses the sequence of requests.
    pub seed: u64,
    /// Print the summary as JSON.
    pub json: bool,
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After so many requests.
    Requests(u64),
    /// After this time.
    Duration(Duration),
}

/// What to do, as the command line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Run the load.
    Load(Options),
    /// Print [`HELP`].
    Help,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            addr: "127.0.0.1:6379".into(),
            connections: 50,
            pipeline: 1,
            value_size: 64,
            keys: 10_000,
            limit: Limit::Duration(Duration::from_secs(10)),
            mix: Group::ALL
                .iter()
                .map(|group| (*group, group.default_weight()))
                .collect(),
            verify: false,
            interval: Duration::from_secs(1),
            seed: 1,
            json: false,
        }
    }
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// What is wrong with them.
pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Task, String> {
    let mut options = Options::default();
    while let Some(arg) = args.next() {
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (arg.as_str(), None),
        };
        match name {
            "--verify" => options.verify = true,
            "--json" => options.json = true,
            "--help" | "-h" => return Ok(Task::Help),
            "--addr" | "--connections" | "--pipeline" | "--value-size" | "--keys"
            | "--requests" | "--duration" | "--mix" | "--interval" | "--seed" => {
                let value = inline.or_else(|| args.next());
                let value = value.ok_or_else(|| format!("{name} needs a value"))?;
                options.set(name, &value)?;
            }
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    Ok(Task::Load(options))
}

impl Options {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "--addr" => self.addr = value.to_string(),
            "--connections" => self.connections = positive(name, value)?,
            "--pipeline" => self.pipeline = positive(name, value)?,
            "--value-size" => self.value_size = number(name, value)?,
            "--keys" => self.keys = positive(name, value)?,
            "--requests" => self.limit = Limit::Requests(number(name, value)?),
            "--duration" => self.limit = Limit::Duration(duration(name, value)?),
            "--mix" => self.mix = mix(value)?,
            "--interval" => self.interval = duration(name, value)?,
            _ => self.seed = number(name, value)?,
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name} needs a number, not {value}"))
}

fn positive(name: &str, value: &str) -> Result<u32, String> {
    match number(name, value)? {
        0 => Err(format!("{name} needs at least 1")),
        n => Ok(n),
    }
}

fn duration(name: &str, value: &str) -> Result<Duration, String> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let millis = match &value[digits.len()..] {
        "ms" => 1.0,
        "" | "s" => 1e3,
        "m" => 60e3,
        unit => return Err(format!("{name}: {unit} is not one of ms, s, m")),
    };
    let seconds = number::<f64>(name, digits)? * millis / 1e3;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{name} needs a positive time, not {value}")),
    }
}

fn mix(value: &str) -> Result<Vec<(Group, u32)>, String> {
    let mut mix = Vec::new();
    for part in value.split([':', ',']) {
        let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
        let group = Group::named(name).ok_or_else(|| format!("--mix: there is no {name}"))?;
        mix.push((group, positive("--mix", weight)?));
    }
    Ok(mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn options_and_mistakes() {
        let Ok(Task::Load(options)) = parsed(
            "--addr=h:1 --connections 2 --requests 5 --mix get=3:set,zset --interval 500ms --verify",
        ) else {
            panic!("these are options");
        };
        assert_eq!(options.addr, "h:1");
        assert_eq!(options.limit, Limit::Requests(5));
        assert_eq!(
            options.mix,
            [(Group::Get, 3), (Group::Set, 1), (Group::SortedSet, 1)]
        );
        assert_eq!(options.interval, Duration::from_millis(500));
        assert!(options.verify && !options.json);
        assert_eq!(parsed("--help"), Ok(Task::Help));
        for bad in [
            "--connections 0",
            "--pipeline x",
            "--duration 0",
            "--duration 5h",
            "--mix nope",
            "--mix get=0",
            "--bogus",
            "--keys",
            "x",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_default_does_everything() {
        assert_eq!(Options::default().mix.len(), Group::ALL.len());
    }
}
