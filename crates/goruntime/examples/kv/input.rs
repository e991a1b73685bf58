//! The bytes of a connection that have been read and not yet executed.
//!
//! Invariant: room grows with what arrives, never with what was announced, by doubling; so a client pays in bytes for the memory that
//! it makes the server take. Once all is executed, the room of a large request is given back.

use std::io::{self, ErrorKind, Read};

/// The room that a connection starts with, in bytes: enough for a few dozen short requests, small enough for thousands of idle ones.
const INITIAL: usize = 4 * 1024;

/// The room that pipelining may take for good, in bytes.
const STEADY: usize = 64 * 1024;

/// One connection's unread input.
#[derive(Debug)]
pub struct Input {
    /// All initialised; what is unread lies at `start..end`.
    room: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// An empty buffer.
    pub fn new() -> Input {
        Input {
            room: vec![0; INITIAL],
            start: 0,
            end: 0,
        }
    }

    /// What has been read and not consumed.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    /// Takes `count` bytes off the front.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        assert!(
            count <= self.end - self.start,
            "consuming what was not read"
        );
        self.start += count;
    }

    /// Reads once, blocking. Gives the number of bytes read, 0 at the end of the stream.
    ///
    /// # Errors
    /// Those of `source`, except interruption, after which it reads again.
    pub fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        loop {
            match source.read(&mut self.room[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn make_room(&mut self) {
        let unread = self.start..self.end;
        if unread.is_empty() {
            // A read that filled the buffer leaves more behind.
            let filled = self.end == self.room.len();
            (self.start, self.end) = (0, 0);
            if self.room.len() > STEADY {
                self.room = vec![0; STEADY];
            } else if filled && self.room.len() < STEADY {
                self.room = vec![0; 2 * self.room.len()];
            }
        } else if self.end == self.room.len() {
            // Moving what is unread to the front is worth it if that frees half of the room; this keeps the cost of moving in
            // proportion to what is read.
            if unread.start >= self.room.len() / 2 {
                self.room.copy_within(unread.clone(), 0);
            } else {
                let mut room = vec![0; 2 * self.room.len()];
                room[..unread.len()].copy_from_slice(&self.room[unread.clone()]);
                self.room = room;
            }
            (self.start, self.end) = (0, unread.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives its bytes in pieces of the given sizes, and is interrupted before each.
    struct Pieces<'a> {
        bytes: &'a [u8],
        sizes: &'a [usize],
        interrupted: bool,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(ErrorKind::Interrupted.into());
            }
            let (&size, sizes) = self.sizes.split_first().unwrap_or((&usize::MAX, &[]));
            self.sizes = sizes;
            let count = self.bytes.len().min(size).min(to.len());
            let (piece, rest) = self.bytes.split_at(count);
            to[..count].copy_from_slice(piece);
            self.bytes = rest;
            Ok(count)
        }
    }

    #[test]
    fn room_follows_need() {
        let bytes = vec![7; 1 << 20];
        let mut source = Pieces {
            bytes: &bytes,
            sizes: &[],
            interrupted: false,
        };
        let mut input = Input::new();
        while input.fill(&mut source).unwrap() > 0 {
            assert!(input.room.len() <= 2 * input.unread().len().max(INITIAL));
        }
        assert_eq!(input.unread(), bytes);
        input.consume(bytes.len());
        input.fill(&mut source).unwrap();
        assert_eq!(input.room.len(), STEADY);
    }

    #[test]
    #[should_panic(expected = "not read")]
    fn consuming_too_much_is_refused() {
        Input::new().consume(1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn nothing_is_lost(
            bytes in prop::collection::vec(any::<u8>(), 0..30_000),
            steps in prop::collection::vec((1usize..9000, 0usize..9000), 0..20),
        ) {
            let sizes: Vec<usize> = steps.iter().map(|step| step.0).collect();
            let mut source = Pieces { bytes: &bytes, sizes: &sizes, interrupted: false };
            let mut input = Input::new();
            let mut seen = Vec::new();
            let mut take = steps.iter().map(|step| step.1).chain(std::iter::repeat(usize::MAX));
            while input.fill(&mut source).unwrap() > 0 {
                let count = take.next().unwrap_or(0).min(input.unread().len());
                seen.extend_from_slice(&input.unread()[..count]);
                input.consume(count);
            }
            seen.extend_from_slice(input.unread());
            prop_assert_eq!(seen, bytes);
        }
    }
}
