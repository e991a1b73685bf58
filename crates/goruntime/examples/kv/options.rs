//! The command line.

/// The port of Redis.
const DEFAULT_PORT: u16 = 6379;

/// What `--help` prints.
pub const HELP: &str = "\
A key-value server that speaks the Redis protocol (RESP2), on goroutines and collected objects.

Usage: kv [--port N] [--bind ADDRESS]

  --port N        the port to listen on; 0 for a free one    [default: 6379]
  --bind ADDRESS  the address to listen on                   [default: 127.0.0.1]
  --help          print this

The first line printed is `listening on ADDRESS:PORT`. There are no passwords: whoever can reach
the port can do everything. The runtime's own settings come from the environment: GOMAXPROCS,
GOGC, GOMEMLIMIT, GODEBUG.
";

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The port to listen on.
    pub port: u16,
    /// The address to listen on.
    pub bind: String,
}

/// What to do, as the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Serve.
    Serve(Options),
    /// Print [`HELP`].
    Help,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            port: DEFAULT_PORT,
            bind: "127.0.0.1".into(),
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
        if matches!(name, "--help" | "-h") {
            return Ok(Task::Help);
        }
        if !matches!(name, "--port" | "--bind") {
            return Err(format!("unknown option {arg}"));
        }
        let value = inline
            .or_else(|| args.next())
            .ok_or(format!("{name} needs a value"))?;
        match name {
            "--port" => {
                let port = value.parse();
                options.port = port.map_err(|_| format!("{value} is not a port: 0 to 65535"))?;
            }
            _ => options.bind = value,
        }
    }
    Ok(Task::Serve(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn options_and_mistakes() {
        let options = Options {
            port: 0,
            bind: "::1".into(),
        };
        assert_eq!(parsed("--port 0 --bind=::1"), Ok(Task::Serve(options)));
        assert_eq!(parsed(""), Ok(Task::Serve(Options::default())));
        assert_eq!(parsed("--port 1 -h"), Ok(Task::Help));
        for bad in ["--port", "--port 65536", "--port x", "--prot 1", "7000"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
