//! The last events of one writer, for whoever reads them while it writes.
//!
//! # Protocol
//!
//! One thread writes at a time, and each sees what the one before it wrote. `head` counts the events ever written; event number `n` lies in slot `n % len`, where it overwrites
//! number `n - len`. Nobody waits for anybody: a reader copies an event and then finds out whether it was being overwritten meanwhile.
//!
//! ```text
//!   writer, event n                      reader, event i
//!   1. release fence                     a. words of slot i % len (relaxed)
//!   2. words of slot n % len (relaxed)   b. acquire fence
//!   3. head = n + 1 (release)            c. head
//! ```
//!
//! - A reader reads events below a `head` that it has acquired, so it finds them written, or overwritten.
//! - If a reads a word that was written for the later event `n = i + len`, then 1 comes before b, and so c sees what was written before 1: a `head` of `n` at least. So what was
//!   read is right if c finds `head < i + len`. (The one event for which `head == i + len` may be intact too; it is given up.)

use crate::atomic::{AtomicU64, Ordering::*, fence};

/// Words of an event.
pub(super) const WORDS: usize = 4;

pub(super) type Slot = [AtomicU64; WORDS];

/// See the head of the file.
pub(super) struct Ring<S> {
    head: AtomicU64,
    slots: S,
}

/// What a reader found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// The number of the event that comes next.
    pub(super) next: u64,
    /// Events that were overwritten before they were read.
    pub(super) lost: u64,
}

impl<S: AsRef<[Slot]>> Ring<S> {
    pub(super) fn new(slots: S) -> Ring<S> {
        Ring {
            head: AtomicU64::new(0),
            slots,
        }
    }

    fn slot(&self, number: u64) -> &Slot {
        let slots = self.slots.as_ref();
        &slots[(number % slots.len() as u64) as usize]
    }

    pub(super) fn slots(&self) -> &S {
        &self.slots
    }

    /// Events that there is room for.
    pub(super) fn len(&self) -> u64 {
        self.slots.as_ref().len() as u64
    }

    /// How many events were ever written.
    pub(super) fn head(&self) -> u64 {
        self.head.load(Acquire)
    }

    /// Writes an event. One thread at a time, which sees what others have written before.
    #[inline]
    pub(super) fn push(&self, words: [u64; WORDS]) {
        let head = self.head.load(Relaxed);
        fence(Release);
        for (to, word) in self.slot(head).iter().zip(words) {
            to.store(word, Relaxed);
        }
        self.head.store(head + 1, Release);
    }

    /// Calls `each` with the events from number `from` on, as far as they are still there.
    pub(super) fn read(&self, from: u64, mut each: impl FnMut([u64; WORDS])) -> Read {
        let (head, len) = (self.head(), self.len());
        let first = from.max((head + 1).saturating_sub(len));
        let mut lost = first - from;
        for number in first..head {
            let words = self.slot(number).each_ref().map(|word| word.load(Relaxed));
            fence(Acquire);
            if self.head.load(Relaxed) < number + len {
                each(words);
            } else {
                lost += 1;
            }
        }
        Read { next: head, lost }
    }
}

#[cfg(test)]
fn slots(len: usize) -> Box<[Slot]> {
    (0..len)
        .map(|_| [const { AtomicU64::new(0) }; WORDS])
        .collect()
}

#[cfg(all(test, not(explore)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_last_events_are_there() {
        let ring = Ring::new(slots(4));
        let read = |from| {
            let mut found = Vec::new();
            let read = ring.read(from, |words| found.push(words[0]));
            (found, read)
        };
        assert_eq!(read(0), (vec![], Read::default()));
        (0..3).for_each(|n| ring.push([n; WORDS]));
        assert_eq!(read(0), (vec![0, 1, 2], Read { next: 3, lost: 0 }));
        assert_eq!(read(2).0, [2]);
        (3..10).for_each(|n| ring.push([n; WORDS]));
        // One of the four may be about to be overwritten.
        assert_eq!(read(3), (vec![7, 8, 9], Read { next: 10, lost: 4 }));
        assert_eq!(read(10), (vec![], Read { next: 10, lost: 0 }));
    }

    #[test]
    fn what_is_read_beside_a_writer_is_whole_and_in_order() {
        let ring = Arc::new(Ring::new(slots(64)));
        let writing = ring.clone();
        let writer = std::thread::spawn(move || {
            for n in 1..200_000u64 {
                writing.push([n, n * 3, n * 5, n * 7]);
            }
        });
        let (mut next, mut last, mut seen, mut lost) = (0, 0, 0, 0);
        while next < 199_999 {
            let read = ring.read(next, |[n, a, b, c]| {
                assert_eq!([a, b, c], [n * 3, n * 5, n * 7]);
                assert!(n > last);
                (last, seen) = (n, seen + 1);
            });
            next = read.next;
            lost += read.lost;
        }
        writer.join().unwrap();
        assert_eq!(seen + lost, 199_999);
    }
}

#[cfg(all(test, explore))]
mod explore;
