//! The blocks of a class that are in quarantine, in the order in which they were freed: a ring.
//!
//! Invariant: used under a lock; its places are its own.

use crate::fatal;
use crate::meta::Zeroed;
use std::ptr::NonNull;

/// A block in quarantine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) addr: usize,
    /// The kernel's number of the thread that freed it.
    thread: u32,
    /// When, in milliseconds of a clock that starts anywhere.
    when: u32,
}

// SAFETY: numbers; used under the lock of a ring.
unsafe impl Zeroed for Entry {}

impl Entry {
    pub(crate) fn now(addr: usize, thread: u32) -> Entry {
        Entry {
            addr,
            thread,
            when: milliseconds(),
        }
    }

    pub(crate) fn told(self) -> fatal::Freed {
        fatal::Freed {
            thread: self.thread,
            milliseconds: milliseconds().wrapping_sub(self.when),
        }
    }
}

fn milliseconds() -> u32 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a place for the time. The clock is there on every Linux, so `errno` stays.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    (time.tv_sec as u32)
        .wrapping_mul(1000)
        .wrapping_add(time.tv_nsec as u32 / 1_000_000)
}

/// The kernel's number of the calling thread.
pub(crate) fn this_thread() -> u32 {
    // SAFETY: a system call without arguments.
    unsafe { libc::gettid() as u32 }
}

/// Blocks in the order in which they were freed.
pub(crate) struct Ring {
    places: Option<NonNull<[Entry]>>,
    oldest: usize,
    len: usize,
}

// SAFETY: the places belong to this value.
unsafe impl Send for Ring {}

impl Ring {
    pub(crate) const fn new() -> Ring {
        Ring {
            places: None,
            oldest: 0,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn has_places(&self) -> bool {
        self.places.is_some()
    }

    fn places(&mut self) -> &mut [Entry] {
        // SAFETY: obligation 1 of `set_places`.
        self.places
            .map_or(&mut [], |mut places| unsafe { places.as_mut() })
    }

    /// Gives it room.
    ///
    /// # Safety
    /// 1. The places live as long as the value and are used by nobody else.
    pub(crate) unsafe fn set_places(&mut self, places: NonNull<[Entry]>) {
        self.places = Some(places);
    }

    /// Puts a block in. Returns the one that has to leave for it, which is itself where there is no room at all.
    pub(crate) fn push(&mut self, freed: Entry) -> Option<Entry> {
        let capacity = self.places().len();
        if capacity == 0 {
            return Some(freed);
        }
        let leaving = if self.len == capacity {
            self.pop()
        } else {
            None
        };
        let at = (self.oldest + self.len) % capacity;
        self.places()[at] = freed;
        self.len += 1;
        leaving
    }

    /// Takes the oldest out.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        if self.len == 0 {
            return None;
        }
        let at = self.oldest;
        let freed = self.places()[at];
        self.oldest = (at + 1) % self.places().len();
        self.len -= 1;
        Some(freed)
    }

    /// The block at the address. Looks at every place: for a message.
    pub(crate) fn find(&mut self, addr: usize) -> Option<Entry> {
        let (oldest, len) = (self.oldest, self.len);
        let places = self.places();
        (0..len)
            .map(|n| places[(oldest + n) % places.len()])
            .find(|freed| freed.addr == addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 5 } else { 200 }))]

        /// The ring against a queue.
        #[test]
        fn agrees_with_a_queue(capacity in 0usize..9, ops in prop::collection::vec(0u8..4, 0..60)) {
            let mut places = vec![Entry { addr: 0, thread: 0, when: 0 }; capacity];
            let mut ring = Ring::new();
            // SAFETY: the vector outlives the ring and is used by nobody else.
            unsafe { ring.set_places(NonNull::from(places.as_mut_slice())) };
            let mut queue: VecDeque<Entry> = VecDeque::new();
            for (addr, op) in (1..).zip(ops) {
                let freed = Entry { addr, thread: 7, when: 0 };
                if op == 0 {
                    prop_assert_eq!(ring.pop(), queue.pop_front());
                } else {
                    queue.push_back(freed);
                    let expected = if queue.len() > capacity { queue.pop_front() } else { None };
                    prop_assert_eq!(ring.push(freed), expected);
                }
                prop_assert_eq!(ring.len(), queue.len());
                for addr in 0..=addr {
                    let found = queue.iter().copied().find(|freed| freed.addr == addr);
                    prop_assert_eq!(ring.find(addr), found);
                }
            }
        }
    }
}
