//! One call of a command: its arguments, where the reply goes, and what it may touch.

use crate::clock::UnixMillis;
use crate::db::{Db, Keyspace};
use crate::error::{Error, Result};
use crate::number;
use crate::reply::Reply;
use crate::resp::Args;
use crate::server::Server;
use crate::session::Session;
use goruntime::sync::MutexGuard;

/// A call under way.
pub struct Call<'a> {
    /// The request, the command's name first.
    pub args: Args<'a>,
    /// Where the reply goes.
    pub reply: &'a mut Reply,
    /// The connection that it came from.
    pub session: &'a mut Session,
    /// What all connections share.
    pub server: &'static Server,
    /// The time of the batch.
    pub now: UnixMillis,
    /// The command's name, in lower case.
    pub name: &'static str,
    /// The keyspace, once a command of the batch has locked it.
    pub lock: &'a mut Option<MutexGuard<'static, Keyspace>>,
}

impl<'a> Call<'a> {
    /// All databases.
    #[inline]
    pub fn keyspace(&mut self) -> &mut Keyspace {
        let server = self.server;
        self.lock.get_or_insert_with(|| server.keyspace.lock())
    }

    /// The database that the connection has selected.
    #[inline]
    pub fn db(&mut self) -> &mut Db {
        let selected = self.session.db;
        &mut self.keyspace().dbs[selected]
    }

    /// Lets others at the keyspace before the batch ends. The call so far and the rest of it are not atomic together.
    pub fn release(&mut self) {
        *self.lock = None;
    }

    /// The first argument after the name, which is the key of most commands.
    ///
    /// # Panics
    /// If there is none; the command's arity sees to that.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        self.args.at(1)
    }

    /// Argument `index` as an integer.
    ///
    /// # Errors
    /// It is none.
    pub fn integer(&self, index: usize) -> Result<i64> {
        number::integer(self.args.at(index)).ok_or(Error::NOT_INTEGER)
    }

    /// Argument `index` as a number of things.
    ///
    /// # Errors
    /// It is none, or is negative.
    pub fn count(&self, index: usize) -> Result<usize> {
        let count = number::integer(self.args.at(index)).ok_or(Error::NOT_POSITIVE)?;
        usize::try_from(count).map_err(|_| Error::NOT_POSITIVE)
    }

    /// Argument `index` as a floating point number.
    ///
    /// # Errors
    /// It is none.
    pub fn float(&self, index: usize) -> Result<f64> {
        // Adding zero turns minus zero into zero.
        number::float(self.args.at(index))
            .map(|value| value + 0.0)
            .ok_or(Error::NOT_FLOAT)
    }

    /// The arguments from `index` on, as options.
    pub fn options(&self, index: usize) -> Options<'a> {
        Options {
            args: self.args,
            next: index,
        }
    }

    /// The number of arguments is wrong after all, though not by the arity alone.
    pub fn wrong_arity(&self) -> Error {
        Error::arity(self.name)
    }

    /// The moment that `text` says.
    ///
    /// # Errors
    /// It is not an integer, or beyond the end of time.
    pub fn moment(&self, text: &[u8], format: TimeFormat) -> Result<UnixMillis> {
        let time = number::integer(text).ok_or(Error::NOT_INTEGER)?;
        let start = if format.relative { self.now.0 } else { 0 };
        let moment = time
            .checked_mul(format.unit)
            .and_then(|time| time.checked_add(start));
        moment
            .map(UnixMillis)
            .ok_or_else(|| Error::expire_time(self.name))
    }

    /// As [`moment`](Call::moment), of a positive time.
    ///
    /// # Errors
    /// It is not an integer, not positive, or beyond the end of time.
    pub fn positive_moment(&self, text: &[u8], format: TimeFormat) -> Result<UnixMillis> {
        match number::integer(text) {
            Some(..=0) => Err(Error::expire_time(self.name)),
            _ => self.moment(text, format),
        }
    }
}

/// How a moment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeFormat {
    /// Milliseconds in a unit.
    unit: i64,
    /// Counted from now rather than from the epoch.
    relative: bool,
}

impl TimeFormat {
    /// Seconds from now.
    pub const EX: TimeFormat = TimeFormat {
        unit: 1000,
        relative: true,
    };
    /// Milliseconds from now.
    pub const PX: TimeFormat = TimeFormat {
        unit: 1,
        relative: true,
    };
    /// Seconds since the epoch.
    pub const EXAT: TimeFormat = TimeFormat {
        unit: 1000,
        relative: false,
    };
    /// Milliseconds since the epoch.
    pub const PXAT: TimeFormat = TimeFormat {
        unit: 1,
        relative: false,
    };

    /// The format that goes by this option, in lower case.
    pub fn of_option(option: &[u8]) -> Option<TimeFormat> {
        match option {
            b"ex" => Some(TimeFormat::EX),
            b"px" => Some(TimeFormat::PX),
            b"exat" => Some(TimeFormat::EXAT),
            b"pxat" => Some(TimeFormat::PXAT),
            _ => None,
        }
    }
}

/// Words at the end of a request that are read one by one.
pub struct Options<'a> {
    args: Args<'a>,
    next: usize,
}

impl<'a> Options<'a> {
    /// The argument of the option just read.
    ///
    /// # Errors
    /// It is missing.
    pub fn argument(&mut self) -> Result<&'a [u8]> {
        self.next().ok_or(Error::SYNTAX)
    }

    /// The next word in lower case, for comparing with the names of options. What is longer than any of them matches none.
    pub fn option(&mut self) -> Option<Word> {
        self.next().map(Word::new)
    }

    /// Takes back the word just read.
    pub fn step_back(&mut self) {
        self.next -= 1;
    }

    /// The number of words not read.
    pub fn left(&self) -> usize {
        self.args.len() - self.next
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let word = (self.next < self.args.len()).then(|| self.args.at(self.next))?;
        self.next += 1;
        Some(word)
    }
}

/// A word in lower case, if it is short enough to be an option; otherwise empty.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    text: [u8; Word::LONGEST],
    length: usize,
}

impl Word {
    const LONGEST: usize = 16;

    /// `word` in lower case.
    pub fn new(word: &[u8]) -> Word {
        let length = if word.len() <= Word::LONGEST {
            word.len()
        } else {
            0
        };
        let mut text = [0; Word::LONGEST];
        text[..length].copy_from_slice(&word[..length]);
        text.make_ascii_lowercase();
        Word { text, length }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// The indices from `first` to `last`, both included and counted from the end if negative, as far as there are `len` things.
pub fn index_range(first: i64, last: i64, len: usize) -> std::ops::Range<usize> {
    // No length in memory exceeds i64::MAX.
    let len = len as i64;
    let from_start = |index: i64| {
        if index < 0 {
            index.saturating_add(len)
        } else {
            index
        }
    };
    let first = from_start(first).max(0);
    let end = from_start(last).saturating_add(1).min(len);
    if first < end {
        first as usize..end as usize
    } else {
        0..0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_indices() {
        assert_eq!(index_range(0, -1, 5), 0..5);
        assert_eq!(index_range(-3, 1, 5), 0..0);
        assert_eq!(index_range(-100, 100, 5), 0..5);
        assert_eq!(index_range(1, 3, 5), 1..4);
        assert_eq!(index_range(5, 9, 5), 0..0);
        assert_eq!(index_range(i64::MIN, i64::MAX, 5), 0..5);
        assert_eq!(index_range(i64::MAX, i64::MIN, 5), 0..0);
        assert_eq!(index_range(0, -1, 0), 0..0);
    }

    #[test]
    fn long_words_are_no_options() {
        assert_eq!(Word::new(b"KeepTTL").as_bytes(), b"keepttl");
        assert_eq!(Word::new(&[b'x'; 1000]).as_bytes(), b"");
    }
}
