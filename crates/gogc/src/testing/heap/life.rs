//! What the table knows of an object's life: its age, whether it is remembered, its count.
//!
//! Nothing here is part of a concurrent protocol that is explored: it changes while the world is stopped, under a collector's lock, or before anybody knows of the
//! object. So these are the standard's atomics, at which the explorer does not look.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};

use super::{GRANULE, SimHeap};
use crate::env::{Age, AgedHeap, CountedHeap, HeapView};

const AGES: [Age; 3] = [Age::Young, Age::Middle, Age::Old];

/// Of one object.
#[derive(Default)]
pub(super) struct Life {
    /// The sweeps that had begun before it was born.
    born: AtomicU32,
    age: AtomicU8,
    remembered: AtomicBool,
    note: AtomicU32,
}

impl Life {
    /// An object is born.
    pub(super) fn begin(&self, ages: &Ages) {
        self.born.store(ages.sweeps.load(Relaxed), Relaxed);
        self.age.store(Age::Young as u8, Relaxed);
        self.remembered.store(false, Relaxed);
        self.note.store(0, Relaxed);
    }

    /// Whether it was born after the last sweep began.
    pub(super) fn is_new(&self, ages: &Ages) -> bool {
        self.born.load(Relaxed) == ages.sweeps.load(Relaxed)
    }

    fn age(&self) -> Age {
        AGES[usize::from(self.age.load(Relaxed))]
    }
}

/// Of all.
#[derive(Default)]
pub(super) struct Ages {
    /// The age that is collected, plus 1; 0 if ages do not matter.
    oldest: AtomicU8,
    /// Sweeps that have begun.
    sweeps: AtomicU32,
}

impl SimHeap {
    fn heads(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.total).filter(|&n| self.owner(n) == Some(n))
    }

    fn owner(&self, granule: usize) -> Option<usize> {
        (self.granules[granule].owner.load(Relaxed) as usize).checked_sub(1)
    }

    /// What is marked has survived, and nothing is new. Returns the bytes that were too old to be collected. The world is stopped.
    pub(super) fn grow_older(&self) -> u64 {
        self.ages.sweeps.fetch_add(1, Relaxed);
        let Some(oldest) = self.ages.oldest.swap(0, Relaxed).checked_sub(1) else {
            return 0;
        };
        let oldest = AGES[usize::from(oldest)];
        let mut kept = 0;
        for n in self.heads() {
            let life = &self.granules[n].life;
            if life.age() > oldest {
                kept += self.size(n) as u64;
            } else if self.is_marked(n) {
                life.age.store(oldest.survived() as u8, Relaxed);
            }
        }
        kept
    }
}

// SAFETY: a new object has a new life (1); marks of older objects are not touched (2), ages only in `grow_older` (3); the note is exchanged atomically (4); and what
// is kept is added to `marked` (5).
unsafe impl AgedHeap for SimHeap {
    fn start_mark_of(&self, oldest: Age) {
        assert_eq!(self.cursors().sweep, self.total, "not all is swept");
        for n in self.heads() {
            if self.granules[n].life.age() <= oldest {
                self.granules[n].clear();
            }
        }
        self.born.store(0, Relaxed);
        self.ages.oldest.store(oldest as u8 + 1, Relaxed);
    }

    fn age(&self, first: usize) -> Age {
        self.granules[first].life.age()
    }

    fn remember(&self, first: usize) -> bool {
        let life = &self.granules[first].life;
        life.age() > Age::Young && !life.remembered.swap(true, Relaxed)
    }

    fn forget(&self, first: usize) {
        self.granules[first].life.remembered.store(false, Relaxed);
    }
}

// SAFETY: the note is a field of the object (1); the table is walked from one end to the other (2); and nothing else frees while nothing is swept (3).
unsafe impl CountedHeap for SimHeap {
    fn note(&self, first: usize) -> u32 {
        self.granules[first].life.note.load(Relaxed)
    }

    fn set_note(&self, first: usize, note: u32) {
        self.granules[first].life.note.store(note, Relaxed);
    }

    fn free(&self, first: usize) {
        assert_eq!(self.owner(first), Some(first), "freed twice");
        let bytes = (self.release(first) * GRANULE) as u64;
        self.collected.fetch_sub(bytes, Relaxed);
    }

    fn for_each(&self, visit: &mut impl FnMut(usize)) {
        for n in 0..self.total {
            if self.owner(n) == Some(n) {
                visit(n);
            }
        }
    }
}
