//! The client's side of RESP2: writing requests, reading replies.

use std::io::{self, ErrorKind, Read};

/// The least room for one read, in bytes.
const READ_ROOM: usize = 16 * 1024;

/// Arrays within arrays that a reply may have: reading one takes stack for each.
const DEEPEST: usize = 32;

/// Adds a request to a buffer.
pub fn request(to: &mut Vec<u8>, words: &[&[u8]]) {
    header(to, b'*', words.len());
    for word in words {
        header(to, b'$', word.len());
        to.extend_from_slice(word);
        to.extend_from_slice(b"\r\n");
    }
}

fn header(to: &mut Vec<u8>, kind: u8, number: usize) {
    to.push(kind);
    if number < 10 {
        // A digit is below ten.
        to.push(b'0' + number as u8);
    } else {
        to.extend_from_slice(number.to_string().as_bytes());
    }
    to.extend_from_slice(b"\r\n");
}

/// A reply, whose strings lie in the buffer that it was read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A status, such as `OK`.
    Status(&'a [u8]),
    /// An error.
    Error(&'a [u8]),
    /// An integer.
    Integer(i64),
    /// A byte string, or none.
    Bulk(Option<&'a [u8]>),
    /// An array, or none.
    Array(Option<Vec<Reply<'a>>>),
}

/// The stream of replies of a connection.
#[derive(Debug)]
pub struct Replies {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Replies {
    /// A stream at its start.
    pub fn new() -> Replies {
        Replies {
            buffer: vec![0; READ_ROOM],
            start: 0,
            end: 0,
        }
    }

    /// Reads the next reply.
    ///
    /// # Errors
    /// Those of `source`; its end (`UnexpectedEof`); and what is not the protocol (`InvalidData`).
    pub fn next(&mut self, source: &mut impl Read) -> io::Result<Reply<'_>> {
        // A parsed reply borrows the buffer, so how much there is to parse is found out first.
        let length = loop {
            match skip(&self.buffer[self.start..self.end])? {
                Some(length) => break length,
                None => self.fill(source)?,
            }
        };
        let bytes = &self.buffer[self.start..self.start + length];
        self.start += length;
        match parse(bytes, DEEPEST)? {
            Some((reply, _)) => Ok(reply),
            None => Err(invalid("a reply changed its length")),
        }
    }

    fn fill(&mut self, source: &mut impl Read) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.len() - self.end < READ_ROOM {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < READ_ROOM {
                self.buffer.resize(2 * self.buffer.len(), 0);
            }
        }
        loop {
            match source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.end += count;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

/// The line at the start of `bytes`, and its length with its end.
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let feed = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((
        bytes[..feed].strip_suffix(b"\r").unwrap_or(&bytes[..feed]),
        feed + 1,
    ))
}

/// The kind of reply, its first line, its number if it has one, and the length of that line.
type Head<'a> = (u8, &'a [u8], i64, usize);

fn head(bytes: &[u8]) -> io::Result<Option<Head<'_>>> {
    let Some((text, length)) = line(bytes) else {
        return Ok(None);
    };
    let (&kind, text) = text.split_first().ok_or_else(|| invalid("an empty line"))?;
    let number = match kind {
        b'+' | b'-' => 0,
        b':' | b'$' | b'*' => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid("a number was expected"))?,
        _ => return Err(invalid("not a kind of reply")),
    };
    Ok(Some((kind, text, number, length)))
}

/// The length of the reply at the start of `bytes`, if all of it is there.
fn skip(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    let mut missing = 1u64;
    while missing > 0 {
        let Some((kind, _, number, length)) = head(&bytes[at..])? else {
            return Ok(None);
        };
        at += length;
        missing -= 1;
        match (kind, usize::try_from(number)) {
            (b'*', Ok(count)) => {
                let more = missing.checked_add(count as u64);
                missing = more.ok_or_else(|| invalid("more elements than there can be"))?;
            }
            (b'$', Ok(length)) => at += length + 2,
            _ => {}
        }
        if at > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

/// The reply at the start of `bytes` and its length, if all of it is there, with at most `depth` arrays around one another.
fn parse(bytes: &[u8], depth: usize) -> io::Result<Option<(Reply<'_>, usize)>> {
    let Some((kind, text, number, mut at)) = head(bytes)? else {
        return Ok(None);
    };
    let reply = match (kind, usize::try_from(number)) {
        (b'+', _) => Reply::Status(text),
        (b'-', _) => Reply::Error(text),
        (b':', _) => Reply::Integer(number),
        (b'$', Ok(length)) => {
            let Some(contents) = bytes.get(at..at + length) else {
                return Ok(None);
            };
            at += length + 2;
            Reply::Bulk(Some(contents))
        }
        (b'$', Err(_)) => Reply::Bulk(None),
        (_, Ok(_)) if depth == 0 => return Err(invalid("arrays within arrays without end")),
        (_, Ok(count)) => {
            let mut elements = Vec::new();
            for _ in 0..count {
                let Some((element, length)) = parse(&bytes[at..], depth - 1)? else {
                    return Ok(None);
                };
                elements.push(element);
                at += length;
            }
            Reply::Array(Some(elements))
        }
        (_, Err(_)) => Reply::Array(None),
    };
    Ok(Some((reply, at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(1).min(to.len());
            to[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn replies_of_every_kind_in_pieces() {
        let mut source = Trickle(
            b"+OK\r\n-ERR no\r\n:-7\r\n$4\r\na\r\nb\r\n$-1\r\n*3\r\n$1\r\nx\r\n*1\r\n:1\r\n$0\r\n\r\n*-1\r\n*0\r\n",
        );
        let mut replies = Replies::new();
        for expected in [
            Reply::Status(b"OK"),
            Reply::Error(b"ERR no"),
            Reply::Integer(-7),
            Reply::Bulk(Some(b"a\r\nb")),
            Reply::Bulk(None),
            Reply::Array(Some(vec![
                Reply::Bulk(Some(b"x")),
                Reply::Array(Some(vec![Reply::Integer(1)])),
                Reply::Bulk(Some(b"")),
            ])),
            Reply::Array(None),
            Reply::Array(Some(vec![])),
        ] {
            assert_eq!(replies.next(&mut source).unwrap(), expected);
        }
        let end = replies.next(&mut source).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn large_replies_and_nonsense() {
        let mut large = b"$100000\r\n".to_vec();
        large.extend([b'x'; 100_000]);
        large.extend(b"\r\n:5\r\n?\r\n");
        let mut source = &large[..];
        let mut replies = Replies::new();
        assert_eq!(
            replies.next(&mut source).unwrap(),
            Reply::Bulk(Some(&[b'x'; 100_000][..]))
        );
        assert_eq!(replies.next(&mut source).unwrap(), Reply::Integer(5));
        assert_eq!(
            replies.next(&mut source).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
    }

    #[test]
    fn arrays_that_would_exhaust_stack_or_numbers_are_refused() {
        for hostile in [
            b"*1\r\n".repeat(100_000),
            b"*9223372036854775807\r\n".repeat(3),
        ] {
            let hostile = [&hostile[..], b":1\r\n"].concat();
            let error = Replies::new().next(&mut &hostile[..]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn requests() {
        let mut bytes = Vec::new();
        request(&mut bytes, &[b"GET", b""]);
        assert_eq!(bytes, b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n");
    }
}
