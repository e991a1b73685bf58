//! Errors of commands, in Redis's words: clients match on the first word, and people search for the rest.

use std::borrow::Cow;
use std::fmt;

/// What a client is told instead of a result: a code word, a space, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Cow<'static, [u8]>);

/// The outcome of something that a command does.
pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    /// The key holds another kind of value.
    pub const WRONG_TYPE: Error =
        Error::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// Not an integer in its one spelling, or too large.
    pub const NOT_INTEGER: Error = Error::fixed("ERR value is not an integer or out of range");
    /// A negative number where one counts.
    pub const NOT_POSITIVE: Error = Error::fixed("ERR value is out of range, must be positive");
    /// Not a floating point number.
    pub const NOT_FLOAT: Error = Error::fixed("ERR value is not a valid float");
    /// Options that make no sense.
    pub const SYNTAX: Error = Error::fixed("ERR syntax error");
    /// There is no such key, and the command makes no sense without.
    pub const NO_KEY: Error = Error::fixed("ERR no such key");
    /// The result is beyond 64 bits.
    pub const OVERFLOW: Error = Error::fixed("ERR increment or decrement would overflow");
    /// A string would become longer than one may be.
    pub const TOO_LONG: Error =
        Error::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

    /// An error with this text, code word included.
    pub const fn fixed(text: &'static str) -> Error {
        Error(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with a text made for the occasion.
    pub fn text(text: impl Into<Vec<u8>>) -> Error {
        Error(Cow::Owned(text.into()))
    }

    /// The number of arguments is not one that the command takes. `name` is in lower case, a subcommand's after a bar.
    pub fn arity(name: &str) -> Error {
        Error::text(format!(
            "ERR wrong number of arguments for '{name}' command"
        ))
    }

    /// A deadline that is not in the future, or beyond the end of time.
    pub fn expire_time(command: &str) -> Error {
        Error::text(format!("ERR invalid expire time in '{command}' command"))
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl std::error::Error for Error {}
