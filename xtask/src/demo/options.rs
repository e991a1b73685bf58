//! The options of the demo.

use crate::failure::Failure;
use crate::kv::Load;
use lexopt::prelude::*;

/// What `--help` prints.
pub const HELP: &str = "\
Usage: cargo xtask demo [options]
       cargo xtask demo stacks
       cargo xtask demo gc [--book]

Builds a key-value server that speaks the Redis protocol, a goroutine for each connection, and drives it from a
second process, with the runtime's figures live.

Options:
  --connections N   connections of the load generator (50)
  --pipeline N      requests sent before the first reply is awaited (16)
  --value-size N    bytes of a value (64)
  --seconds N       how long the load lasts (20)
  --gogc N          GOGC of the server: how much the heap grows, in percent, before it is collected
  --serve           keep the server running afterwards, for redis-cli; with `--seconds 0` without load before
  --port N          port of the server (0: any free one)
  --plain           lines instead of the panel

`stacks` shows contiguous and segmented stacks instead: the lessons hot-split, contiguous and shrinking of `cargo xtask lesson`.
`gc` shows one program by every method of collection.
";

/// What the demo is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The load; none if it lasts 0 seconds.
    pub load: Load,
    /// `GOGC` of the server; `None` leaves it as it is.
    pub gogc: Option<u32>,
    /// Does the server go on when the load is over?
    pub serve: bool,
    /// Its port; 0 for any.
    pub port: u16,
    /// No panel.
    pub plain: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            load: Load {
                connections: 50,
                pipeline: 16,
                value_size: 64,
                keys: None,
                seconds: 20,
                verify: false,
            },
            gogc: None,
            serve: false,
            port: 0,
            plain: false,
        }
    }
}

/// The options; `None` if help is wanted.
///
/// # Errors
/// When one is unknown, has no value or a wrong one.
pub fn read(mut arguments: lexopt::Parser) -> Result<Option<Options>, Failure> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(None),
            Long("connections") => options.load.connections = positive(&mut arguments)?,
            Long("pipeline") => options.load.pipeline = positive(&mut arguments)?,
            Long("value-size") => options.load.value_size = positive(&mut arguments)?,
            Long("seconds") => options.load.seconds = arguments.value()?.parse()?,
            Long("gogc") => options.gogc = Some(arguments.value()?.parse()?),
            Long("port") => options.port = arguments.value()?.parse()?,
            Long("serve") => options.serve = true,
            Long("plain") => options.plain = true,
            other => return Err(other.unexpected().into()),
        }
    }
    if options.load.seconds == 0 && !options.serve {
        return Err(Failure::Usage(
            "`--seconds 0` shows nothing without `--serve`".to_owned(),
        ));
    }
    Ok(Some(options))
}

fn positive(arguments: &mut lexopt::Parser) -> Result<u32, Failure> {
    match arguments.value()?.parse()? {
        0 => Err(Failure::Usage(
            "at least 1 is needed; `--help` lists the options".to_owned(),
        )),
        number => Ok(number),
    }
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
    fn options_are_read() {
        assert_eq!(options(&[]), Ok(Some(Options::default())));
        let words = "--connections 1000 --pipeline=4 --value-size 9 --seconds 3 --gogc 20 --serve --plain --port 6379";
        let read = options(&words.split(' ').collect::<Vec<_>>())
            .unwrap()
            .unwrap();
        let expected = Options {
            load: Load {
                connections: 1000,
                pipeline: 4,
                value_size: 9,
                keys: None,
                seconds: 3,
                verify: false,
            },
            gogc: Some(20),
            serve: true,
            port: 6379,
            plain: true,
        };
        assert_eq!(read, expected);
        assert_eq!(options(&["--help", "--nonsense"]), Ok(None));
    }

    #[test]
    fn wrong_options_are_refused() {
        for words in [
            &["--connections", "0"][..],
            &["--connections", "many"],
            &["--pipeline"],
            &["--nonsense"],
            &["word"],
            &["--seconds", "0"],
        ] {
            assert!(options(words).is_err(), "{words:?}");
        }
    }
}
