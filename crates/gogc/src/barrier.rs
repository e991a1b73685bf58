//! The hybrid write barrier.
//!
//! While a collector marks and mutators run, a mutator could hide a white object: copy a pointer to it to
//! where the marker has already been, and delete the pointer that the marker would still have found. Two
//! classical barriers prevent one half each: Yuasa's shades the object whose pointer is overwritten
//! (*Real-time garbage collection on general-purpose machines*, 1990), Dijkstra's the one whose pointer is
//! stored. The hybrid does both (Go proposal 17503), and so needs no barrier on stacks: each is scanned once,
//! and is black from then on.
//!
//! **Why it is right.** Let a white object be reachable when all stacks are black and nothing is grey. Its
//! last pointer in the heap cannot have been overwritten while marking (Yuasa would have shaded it), nor
//! stored while marking (Dijkstra would). So the pointer was in the heap when marking began, in an object
//! that is now white too, and so on up to a stack; but a stack that was scanned held no white object's
//! pointer then, and could get one later only by loading it from an object, which is the case just excluded.
//!
//! **What a collector wants to hear of** differs, and an embedder who passes everything through here need not know which one it has:
//!
//! | collector | the barrier is on | of a store | of a birth |
//! | --- | --- | --- | --- |
//! | [`MarkSweep`](crate::MarkSweep) | while it marks | both values | the pointers it is born with |
//! | the same, if the world is a [snapshot](crate::World::SNAPSHOT) | while it marks | the old value | nothing |
//! | [`Counting`](crate::Counting) | always | both values | the object, and the pointers |
//! | [`Generational`](crate::Generational) | always | the object that is stored to | nothing |
//!
//! **The rules for the embedder**
//! 1. Every store of a collected pointer to a collected object, while the barrier [is on](Barrier::is_on),
//!    passes through [`Barrier::write`], before the store, with no stop of the mutator between the two. A mutator that may be stopped anywhere looks at the
//!    flag (again) after the store instead, and records the store if it is on; until then it keeps the new value where the last stop finds it.
//! 2. An object allocated while it is on passes through [`Barrier::born`], and each pointer that it is born with through [`Barrier::born_with`].
//! 3. The flag changes only while the world is stopped, so that no store is half under the one regime and
//!    half under the other.
//! 4. Barrier buffers are handed to the collector before marking can be declared over.
//! 5. Memory that is neither a collected object nor a stack that is black (the Rust heap, a stack that has
//!    run since it was scanned by a collector that does not stop it) is scanned again before marking can be
//!    declared over, or the world is a [snapshot](crate::World::SNAPSHOT).
//! 6. Where the barrier is always on, a mutator hands over its buffer before it stops. Where stores are counted, `old` is what the store
//!    overwrites: two mutators that may store to one place exchange the value, and pass the barrier right after, with no stop between.
//!
//! Where rule 5 holds for all memory without a barrier, Dijkstra's half alone makes marking right, and Yuasa's makes its end short; where the world is a snapshot, Yuasa's
//! half alone does: see `mark_sweep::concurrent`. A collector that marks with the world stopped turns the flag on and off all the same; no mutator ever sees
//! it set, and pays for one load and one branch that is never taken.

use crate::atomic::{AtomicBool, Ordering};
use crate::env::ObjectAddr;

/// What a collector wants to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wanted {
    /// The pointers that stores delete and write, and those that objects are born with.
    #[default]
    Both,
    /// The pointers that stores delete.
    Deleted,
    /// As `Both`; besides, of each birth, a store of the object over itself.
    Counts,
    /// The objects that are stored to.
    StoredTo,
}

/// The flag that all stores to collected objects test, and what to record of them.
#[derive(Debug, Default)]
pub struct Barrier {
    on: AtomicBool,
    wanted: Wanted,
}

impl Barrier {
    /// A barrier that is off.
    #[must_use]
    pub const fn new() -> Barrier {
        Barrier::with(Wanted::Both, false)
    }

    /// For a world that is a snapshot: off, and on it records what is deleted.
    pub(crate) const fn deletions() -> Barrier {
        Barrier::with(Wanted::Deleted, false)
    }

    /// For counting: always on.
    pub(crate) const fn counts() -> Barrier {
        Barrier::with(Wanted::Counts, true)
    }

    /// For a remembered set: always on.
    pub(crate) const fn stored_to() -> Barrier {
        Barrier::with(Wanted::StoredTo, true)
    }

    const fn with(wanted: Wanted, on: bool) -> Barrier {
        Barrier {
            on: AtomicBool::new(on),
            wanted,
        }
    }

    /// Whether stores have to be recorded and new objects to be born marked.
    ///
    /// A relaxed load is enough: the flag changes only while the world is stopped, and stopping orders it.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// To be called before `new` overwrites `old` in the collected object `object`. Records what the collector wants to hear of it.
    ///
    /// `buffer` gives the mutator's buffer; it is asked for only if needed, as getting there may cost more
    /// than the test.
    #[inline]
    pub fn write<'b>(
        &self,
        object: ObjectAddr,
        old: usize,
        new: usize,
        buffer: impl FnOnce() -> &'b mut BarrierBuffer,
    ) -> Recorded {
        if !self.is_on() {
            return Recorded::HasRoom;
        }
        let buffer = buffer();
        match self.wanted {
            Wanted::Both | Wanted::Counts => buffer.record(old, new),
            Wanted::Deleted => buffer.push(old),
            Wanted::StoredTo => buffer.push(object.0),
        }
    }

    /// To be called for an object that has just been allocated, when it is initialised.
    #[inline]
    pub fn born<'b>(
        &self,
        object: ObjectAddr,
        buffer: impl FnOnce() -> &'b mut BarrierBuffer,
    ) -> Recorded {
        match self.wanted {
            Wanted::Counts => buffer().record(object.0, object.0),
            Wanted::Both | Wanted::Deleted | Wanted::StoredTo => Recorded::HasRoom,
        }
    }

    /// To be called for each pointer that an object is born with; [`Collector::scan_newborn`](crate::Collector::scan_newborn) does the same for one with many.
    #[inline]
    pub fn born_with<'b>(
        &self,
        new: usize,
        buffer: impl FnOnce() -> &'b mut BarrierBuffer,
    ) -> Recorded {
        match self.wanted {
            Wanted::Both | Wanted::Counts if self.is_on() => buffer().record(0, new),
            _ => Recorded::HasRoom,
        }
    }

    /// Turns a barrier on or off that is not always on.
    pub(crate) fn set(&self, on: bool) {
        if matches!(self.wanted, Wanted::Both | Wanted::Deleted) {
            self.on.store(on, Ordering::Relaxed);
        }
    }
}

/// Whether a [`BarrierBuffer`] can take another store.
#[must_use = "a full buffer has to be handed to the collector before the next store"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// There is room for another store.
    HasRoom,
    /// The buffer must be emptied before the next store.
    Full,
}

/// What a barrier has recorded, kept by one mutator until the collector takes it.
///
/// Recording is two stores to memory in the cache; resolving, marking and queueing are put off until a batch
/// has come together, as in Go's `wbBuf`.
#[derive(Debug)]
pub struct BarrierBuffer {
    words: [usize; BarrierBuffer::WORDS],
    len: usize,
}

impl BarrierBuffer {
    /// Words that a buffer holds, two per store: a batch large enough to spread the cost of emptying it.
    pub const WORDS: usize = 256;

    /// An empty buffer.
    #[must_use]
    pub const fn new() -> BarrierBuffer {
        BarrierBuffer {
            words: [0; BarrierBuffer::WORDS],
            len: 0,
        }
    }

    /// Records a store.
    ///
    /// # Panics
    /// If the buffer is full, which the store before has reported.
    #[inline]
    pub fn record(&mut self, old: usize, new: usize) -> Recorded {
        self.words[self.len] = old;
        self.words[self.len + 1] = new;
        self.len += 2;
        self.room()
    }

    /// Records one word.
    #[inline]
    fn push(&mut self, word: usize) -> Recorded {
        self.words[self.len] = word;
        self.len += 1;
        self.room()
    }

    fn room(&self) -> Recorded {
        if self.len == BarrierBuffer::WORDS {
            Recorded::Full
        } else {
            Recorded::HasRoom
        }
    }

    /// What was recorded.
    #[must_use]
    pub fn words(&self) -> &[usize] {
        &self.words[..self.len]
    }

    /// Forgets what was recorded.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl Default for BarrierBuffer {
    fn default() -> Self {
        BarrierBuffer::new()
    }
}

#[cfg(test)]
mod tests;
