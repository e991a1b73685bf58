//! Requests of the Redis protocol (RESP2): an incremental parser over bytes, which knows nothing of sockets or of the runtime.
//!
//! A request is an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) or, for people with a terminal, a line of words
//! (`GET k\r\n`). The caller keeps the bytes; the parser keeps only how far it came and where the arguments lie, so that arguments
//! are slices of the caller's buffer, and a request that arrives in a thousand pieces is still parsed once.
//!
//! Invariant: however a stream of bytes is cut into pieces, the same requests and the same error come out. Nothing is ever
//! allocated on the word of a length header: memory grows with the bytes that did arrive.
//!
//! Limits, error texts and leniency (the two bytes after a bulk string are skipped unseen) are those of Redis 7, `networking.c`.

use std::fmt;

/// The longest line: an inline request, or the header of an array or of a bulk string, in bytes.
pub const LINE_LIMIT: usize = 64 * 1024;

/// The longest bulk string unless configured otherwise (`proto-max-bulk-len`), in bytes.
pub const DEFAULT_BULK_LIMIT: usize = 512 << 20;

/// The largest number of arguments of one request.
pub const ARGUMENT_LIMIT: i64 = i32::MAX as i64;

/// Room for this many arguments is kept from one request to the next.
const ARGUMENTS_KEPT: usize = 1024;

/// Where an argument lies: its first byte and the byte after its last.
type Span = (usize, usize);

/// Why a stream of bytes is not the Redis protocol. There is no way to find the next request after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// More than [`LINE_LIMIT`] bytes without the end of an inline request.
    InlineTooLong,
    /// More than [`LINE_LIMIT`] bytes without the end of the header of an array.
    CountTooLong,
    /// The header of an array is not a number, or exceeds [`ARGUMENT_LIMIT`].
    InvalidCount,
    /// More than [`LINE_LIMIT`] bytes without the end of the header of a bulk string.
    LengthTooLong,
    /// The header of a bulk string is not a number, is negative or exceeds the limit.
    InvalidLength,
    /// A bulk string was due, and this byte came.
    ExpectedBulk(u8),
    /// An inline request ends inside quotes, or a closing quote is not followed by a space.
    UnbalancedQuotes,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            ProtocolError::InlineTooLong => f.write_str("too big inline request"),
            ProtocolError::CountTooLong => f.write_str("too big mbulk count string"),
            ProtocolError::InvalidCount => f.write_str("invalid multibulk length"),
            ProtocolError::LengthTooLong => f.write_str("too big bulk count string"),
            ProtocolError::InvalidLength => f.write_str("invalid bulk length"),
            ProtocolError::ExpectedBulk(byte) => {
                write!(f, "expected '$', got '{}'", char::from(*byte))
            }
            ProtocolError::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// How far the parser came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A request, which takes this many bytes; [`Parser::args`] gives its arguments. There are none if the request is empty,
    /// which is not an error and gets no reply.
    Request(usize),
    /// The request is not complete: at least this many more bytes belong to it.
    Incomplete(usize),
}

/// What comes next in the request.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// Its first byte.
    Start,
    /// The header of a bulk string, this many of which are missing.
    Header(usize),
    /// The contents of a bulk string of `length` bytes; `missing` counts it too.
    Bulk { missing: usize, length: usize },
    /// Nothing: it was handed out.
    Nothing,
}

/// The parser of one connection.
#[derive(Debug)]
pub struct Parser {
    expect: Expect,
    /// Bytes of the request that need not be looked at again.
    at: usize,
    spans: Vec<Span>,
    /// The arguments of an inline request, freed of quotes and escapes; spans point into it if `inline` is set.
    unquoted: Vec<u8>,
    inline: bool,
}

/// The arguments of a request, its name included.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// The number of arguments.
    #[inline]
    pub fn len(self) -> usize {
        self.spans.len()
    }

    /// Is the request empty?
    #[inline]
    pub fn is_empty(self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`; 0 is the name of the command.
    ///
    /// # Panics
    /// If there are not that many.
    #[inline]
    pub fn at(self, index: usize) -> &'a [u8] {
        let (from, to) = self.spans[index];
        &self.bytes[from..to]
    }

    /// The arguments from `index` on; none if there are not that many.
    pub fn from(self, index: usize) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let spans = self.spans.get(index..).unwrap_or_default();
        spans.iter().map(move |&(from, to)| &self.bytes[from..to])
    }
}

impl Parser {
    /// A parser at the start of a request.
    pub fn new() -> Parser {
        Parser {
            expect: Expect::Start,
            at: 0,
            spans: Vec::new(),
            unquoted: Vec::new(),
            inline: false,
        }
    }

    /// Parses on. `input` starts with the first byte of the request: until the answer is [`Progress::Request`] each call gets the
    /// bytes of the last one and what has arrived since, and after it the bytes after that request.
    ///
    /// # Errors
    /// The stream is not the Redis protocol; what follows cannot be parsed.
    pub fn parse(&mut self, input: &[u8], bulk_limit: usize) -> Result<Progress, ProtocolError> {
        loop {
            match self.expect {
                Expect::Nothing => self.restart(),
                Expect::Start => match input.first() {
                    None => return Ok(Progress::Incomplete(1)),
                    Some(b'*') => {
                        let Some(header) = self.header(input, ProtocolError::CountTooLong)? else {
                            return Ok(Progress::Incomplete(1));
                        };
                        let count = integer(&header[1..]).ok_or(ProtocolError::InvalidCount)?;
                        if count > ARGUMENT_LIMIT {
                            return Err(ProtocolError::InvalidCount);
                        }
                        self.expect = Expect::Header(usize::try_from(count).unwrap_or(0));
                    }
                    Some(_) => return self.inline(input),
                },
                Expect::Header(0) => {
                    self.expect = Expect::Nothing;
                    return Ok(Progress::Request(self.at));
                }
                Expect::Header(missing) => {
                    let Some(header) = self.header(input, ProtocolError::LengthTooLong)? else {
                        return Ok(Progress::Incomplete(1));
                    };
                    let length = match header.split_first() {
                        Some((b'$', digits)) => integer(digits),
                        Some((&byte, _)) => return Err(ProtocolError::ExpectedBulk(byte)),
                        None => return Err(ProtocolError::ExpectedBulk(b'\r')),
                    };
                    let length = length.and_then(|length| usize::try_from(length).ok());
                    let length = length.filter(|&length| length <= bulk_limit);
                    let length = length.ok_or(ProtocolError::InvalidLength)?;
                    self.expect = Expect::Bulk { missing, length };
                }
                Expect::Bulk { missing, length } => {
                    let end = self.at + length;
                    if input.len() < end + 2 {
                        return Ok(Progress::Incomplete(end + 2 - input.len()));
                    }
                    self.spans.push((self.at, end));
                    self.at = end + 2;
                    self.expect = Expect::Header(missing - 1);
                }
            }
        }
    }

    /// The arguments of the request that [`parse`](Parser::parse) just found in `input`.
    pub fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        Args {
            bytes: if self.inline { &self.unquoted } else { input },
            spans: &self.spans,
        }
    }

    fn restart(&mut self) {
        self.expect = Expect::Start;
        self.at = 0;
        self.inline = false;
        self.spans.clear();
        self.spans.shrink_to(ARGUMENTS_KEPT);
        self.unquoted = Vec::new();
    }

    /// The line that starts here, without its end, or `None` if its end has not arrived.
    fn header<'i>(
        &mut self,
        input: &'i [u8],
        too_long: ProtocolError,
    ) -> Result<Option<&'i [u8]>, ProtocolError> {
        let rest = &input[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\r');
        if end.unwrap_or(rest.len()) > LINE_LIMIT {
            return Err(too_long);
        }
        match end {
            // The line feed is skipped unseen, but has to be there to be skipped.
            Some(end) if end + 2 <= rest.len() => {
                self.at += end + 2;
                Ok(Some(&rest[..end]))
            }
            _ => Ok(None),
        }
    }

    fn inline(&mut self, input: &[u8]) -> Result<Progress, ProtocolError> {
        let end = input.iter().position(|&byte| byte == b'\n');
        if end.unwrap_or(input.len()) > LINE_LIMIT {
            return Err(ProtocolError::InlineTooLong);
        }
        let Some(end) = end else {
            return Ok(Progress::Incomplete(1));
        };
        let line = &input[..end];
        self.inline = true;
        self.split(line.strip_suffix(b"\r").unwrap_or(line))?;
        self.expect = Expect::Nothing;
        Ok(Progress::Request(end + 1))
    }

    /// Splits a line into words. `"..."` knows the escapes of C strings, `'...'` only `\'`.
    fn split(&mut self, line: &[u8]) -> Result<(), ProtocolError> {
        let mut rest = line;
        loop {
            let Some(start) = rest.iter().position(|byte| !is_space(*byte)) else {
                return Ok(());
            };
            rest = &rest[start..];
            let from = self.unquoted.len();
            while let Some((&byte, tail)) = rest.split_first() {
                rest = match byte {
                    _ if is_space(byte) => break,
                    b'"' | b'\'' => self.quoted(byte, tail)?,
                    _ => {
                        self.unquoted.push(byte);
                        tail
                    }
                };
            }
            self.spans.push((from, self.unquoted.len()));
        }
    }

    /// The rest of a quoted string, up to and with the closing `quote`. Gives what follows.
    fn quoted<'i>(&mut self, quote: u8, mut rest: &'i [u8]) -> Result<&'i [u8], ProtocolError> {
        loop {
            let (byte, tail) = match rest {
                [] => return Err(ProtocolError::UnbalancedQuotes),
                [end, tail @ ..] if *end == quote => {
                    return match tail.first() {
                        Some(&byte) if !is_space(byte) => Err(ProtocolError::UnbalancedQuotes),
                        _ => Ok(tail),
                    };
                }
                [b'\\', b'\'', tail @ ..] if quote == b'\'' => (b'\'', tail),
                [b'\\', b'x', high, low, tail @ ..]
                    if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                {
                    (hex(*high) << 4 | hex(*low), tail)
                }
                [b'\\', escaped, tail @ ..] if quote == b'"' => (unescape(*escaped), tail),
                [byte, tail @ ..] => (*byte, tail),
            };
            self.unquoted.push(byte);
            rest = tail;
        }
    }
}

/// A decimal integer in the one way to write it: no plus sign, no leading zero, no space, no `-0`. `None` for anything else, and for
/// what does not fit.
#[inline]
pub fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => Some(0),
        [b'1'..=b'9', ..] if digits.len() < 20 => digits.iter().try_fold(0i64, |value, byte| {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            let value = value.checked_mul(10)?;
            match negative {
                true => value.checked_sub(digit.into()),
                false => value.checked_add(digit.into()),
            }
        }),
        _ => None,
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

#[cfg(test)]
#[path = "resp_tests.rs"]
mod tests;
