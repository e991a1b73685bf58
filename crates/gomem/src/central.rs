//! What threads share, by class: free blocks on their way from one cache to another and spans that have some; objects' spans that are full or not swept.
//!
//! Invariant: a span is in at most one list of one central; who removes it from there, under the lock, has it to itself. A block in `transfer` is
//! in no span and no cache.

use crate::cache::OBJECT_KINDS;
use crate::lock::Lock;
use crate::size_class::{CLASSES, SizeClass};
use crate::sort::{CollectedKind, Sort, TAGS, Tags};
use crate::span::{Slot, SpanList, copy_blocks};
use std::ptr::NonNull;

/// The malloc blocks of one class.
pub(crate) struct MallocCentral {
    pub(crate) lists: Lock<MallocLists>,
}

pub(crate) struct MallocLists {
    pub(crate) transfer: Transfer,
    /// Spans with free blocks.
    pub(crate) partial: SpanList,
    /// Used since the last time somebody looked whether it is.
    pub(crate) used: bool,
}

impl MallocCentral {
    pub(crate) const fn new() -> MallocCentral {
        MallocCentral {
            lists: Lock::new(MallocLists {
                transfer: Transfer {
                    slots: None,
                    len: 0,
                },
                partial: SpanList::new(),
                used: false,
            }),
        }
    }
}

impl MallocLists {
    /// Takes blocks, those that were put into `transfer` last before those of spans, as many as there are and `slots` has room for. Returns how many.
    pub(crate) fn take(&mut self, slots: &[Slot]) -> usize {
        self.used = true;
        let mut n = self.transfer.take(slots);
        while n < slots.len()
            && let Some(span) = self.partial.first()
        {
            n += span.take_blocks(&slots[n..]);
            if span.available() == 0 {
                self.partial.remove(span);
            }
        }
        n
    }
}

/// Blocks that one thread had too many of, for the next that needs some: a stack. Neither the blocks nor their spans are touched.
pub(crate) struct Transfer {
    /// `None` until the first is put in.
    slots: Option<NonNull<[Slot]>>,
    len: usize,
}

// SAFETY: the slots belong to this value.
unsafe impl Send for Transfer {}

impl Transfer {
    /// How many blocks of a class it holds at most: four full lists of a cache.
    pub(crate) fn capacity(class: SizeClass) -> usize {
        4 * crate::cache::most(class.index())
    }

    pub(crate) fn has_slots(&self) -> bool {
        self.slots.is_some()
    }

    /// Gives it room for blocks.
    ///
    /// # Safety
    /// 1. The slots live as long as the value and are used by nobody else.
    pub(crate) unsafe fn set_slots(&mut self, slots: NonNull<[Slot]>) {
        self.slots = Some(slots);
    }

    fn slots(&self) -> &[Slot] {
        // SAFETY: obligation 1 of `set_slots`.
        self.slots.map_or(&[], |slots| unsafe { slots.as_ref() })
    }

    /// The blocks in it.
    pub(crate) fn blocks(&self) -> &[Slot] {
        &self.slots()[..self.len]
    }

    /// Puts blocks in, if there is room for all.
    pub(crate) fn put(&mut self, blocks: &[Slot]) -> bool {
        let Some(room) = self.slots().get(self.len..self.len + blocks.len()) else {
            return false;
        };
        copy_blocks(blocks, room);
        self.len += blocks.len();
        true
    }

    /// Takes as many out as there are and `slots` has room for.
    pub(crate) fn take(&mut self, slots: &[Slot]) -> usize {
        let n = slots.len().min(self.len);
        copy_blocks(&self.slots()[self.len - n..][..n], slots);
        #[cfg(explore)]
        if goexplore::planted("a block is copied out of transfer and stays") {
            return n;
        }
        self.len -= n;
        n
    }
}

/// Spans of objects of one kind and class, or of one sort, that are in no cache.
pub(crate) struct ObjectCentral {
    pub(crate) lists: Lock<ObjectLists>,
}

pub(crate) struct ObjectLists {
    /// Swept, with free slots.
    pub(crate) partial: SpanList,
    /// Swept, without.
    pub(crate) full: SpanList,
    /// Not swept since the cycle began, with and without free slots then.
    pub(crate) unswept_partial: SpanList,
    pub(crate) unswept_full: SpanList,
    /// How many spans there are, those in caches included.
    pub(crate) made: u32,
}

impl ObjectCentral {
    pub(crate) const fn new() -> ObjectCentral {
        ObjectCentral {
            lists: Lock::new(ObjectLists {
                partial: SpanList::new(),
                full: SpanList::new(),
                unswept_partial: SpanList::new(),
                unswept_full: SpanList::new(),
                made: 0,
            }),
        }
    }
}

/// All of them, numbered: first those of kinds, then those of sorts.
pub(crate) struct ObjectCentrals {
    /// By kind and class; class 0 is that of large objects.
    kinds: [[ObjectCentral; CLASSES]; OBJECT_KINDS],
    sorts: [ObjectCentral; TAGS],
    tags: Tags,
}

impl ObjectCentrals {
    pub(crate) const fn new() -> ObjectCentrals {
        ObjectCentrals {
            kinds: [const { [const { ObjectCentral::new() }; CLASSES] }; OBJECT_KINDS],
            sorts: [const { ObjectCentral::new() }; TAGS],
            tags: Tags::new(),
        }
    }

    pub(crate) fn get(&self, number: usize) -> Option<&ObjectCentral> {
        let kinds = self.kinds.as_flattened();
        match number.checked_sub(kinds.len()) {
            None => Some(&kinds[number]),
            Some(sort) => self.sorts.get(sort),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ObjectCentral> {
        self.kinds.as_flattened().iter().chain(&self.sorts)
    }

    /// The number of that of a kind and a class, or 0 for large objects.
    pub(crate) fn of_kind(&self, kind: CollectedKind, class: usize) -> usize {
        kind.index() * CLASSES + class
    }

    /// The number of that of a sort; `None` if there are too many sorts.
    pub(crate) fn of_sort(&self, sort: Sort) -> Option<usize> {
        let number = self.tags.number(sort)?;
        Some(OBJECT_KINDS * CLASSES + number)
    }
}
