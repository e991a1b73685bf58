//! Replies of the Redis protocol (RESP2), gathered in one buffer so that a batch of requests is answered with one write.

use crate::number::{Decimal, float_text};

/// After a write, room for this many bytes is kept.
const ROOM_KEPT: usize = 64 * 1024;

/// Replies that have not been sent yet.
#[derive(Debug, Default)]
pub struct Reply(Vec<u8>);

impl Reply {
    /// What is to be sent.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number of bytes to be sent.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes back everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Everything was sent. The room that one large reply took is given back.
    pub fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(ROOM_KEPT);
    }

    /// A status, such as `OK`: one line without line ends.
    #[inline]
    pub fn status(&mut self, text: &str) {
        self.0.push(b'+');
        self.0.extend_from_slice(text.as_bytes());
        self.end_line();
    }

    /// `OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.0.extend_from_slice(b"+OK\r\n");
    }

    /// An error. Line ends inside the text become spaces, or the client would lose its place.
    pub fn error(&mut self, text: &[u8]) {
        self.0.push(b'-');
        let line = text.iter().map(|byte| {
            if matches!(byte, b'\r' | b'\n') {
                b' '
            } else {
                *byte
            }
        });
        self.0.extend(line);
        self.end_line();
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A number of things.
    #[inline]
    pub fn count(&mut self, count: usize) {
        self.length(b':', count);
    }

    /// Yes or no, as 1 or 0.
    #[inline]
    pub fn truth(&mut self, truth: bool) {
        self.integer(truth.into());
    }

    /// A byte string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.length(b'$', bytes.len());
        self.0.extend_from_slice(bytes);
        self.end_line();
    }

    /// A floating point number, as a byte string.
    pub fn float(&mut self, value: f64) {
        self.bulk(float_text(value).as_bytes());
    }

    /// No byte string.
    #[inline]
    pub fn null(&mut self) {
        self.0.extend_from_slice(b"$-1\r\n");
    }

    /// No array.
    #[inline]
    pub fn null_array(&mut self) {
        self.0.extend_from_slice(b"*-1\r\n");
    }

    /// An array, of which the next `len` replies are the elements.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.length(b'*', len);
    }

    fn length(&mut self, kind: u8, length: usize) {
        // No length in memory exceeds i64::MAX.
        self.header(kind, length as i64);
    }

    fn header(&mut self, kind: u8, value: i64) {
        self.0.push(kind);
        self.0.extend_from_slice(Decimal::new(value).as_bytes());
        self.end_line();
    }

    fn end_line(&mut self) {
        self.0.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind() {
        let mut reply = Reply::default();
        reply.ok();
        reply.status("PONG");
        reply.error(b"ERR a\r\nb");
        reply.integer(-7);
        reply.truth(true);
        reply.array(2);
        reply.bulk(b"a\r\n");
        reply.null();
        reply.null_array();
        reply.float(0.5);
        let expected = "+OK\r\n+PONG\r\n-ERR a  b\r\n:-7\r\n:1\r\n*2\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n$3\r\n0.5\r\n";
        assert_eq!(reply.as_bytes(), expected.as_bytes());
    }

    #[test]
    fn a_large_reply_does_not_stay() {
        let mut reply = Reply::default();
        reply.bulk(&vec![0; 1 << 20]);
        reply.clear();
        assert!(reply.0.capacity() <= 2 * ROOM_KEPT);
    }
}
