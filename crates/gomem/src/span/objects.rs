//! Spans of collected objects: a bit per slot for *free*, another for *marked*.
//!
//! Invariant: slot `i` holds an object exactly if `i < count` and bit `i` of `free` is clear. Bits beyond the last slot are clear in both
//! bitmaps. A free slot is unmarked, but for spans that caches hold while objects are born marked ([`collect`](crate::collect)). Allocation takes the lowest set bit of the word at `cursor` and moves on; sweeping sets `free` to the
//! complement of `marks`, clears `marks` and moves `cursor` back. (Go keeps a free index and a shifted copy of one word
//! instead; with the bitmap itself as the truth a lookup is one bit test, exact at every moment.)
//!
//! Slots are at least 16 bytes, so that 512 bits serve every span of a page and the bitmaps can be part of the record: a stale
//! pointer to a mark bit still points to a mark bit, and to one of a span of objects.

use super::{Span, SpanPtr, WORDS, valid};
use crate::atomic::Ordering::*;
use crate::meta::Zeroed;
use std::ops::Deref;
use std::ptr::NonNull;

/// Bytes in the smallest slot.
pub(crate) const MIN_OBJECT: usize = 16;

#[repr(transparent)]
pub(crate) struct ObjectSpan {
    span: Span,
}

// SAFETY: atomics, for which zero is valid.
unsafe impl Zeroed for ObjectSpan {}

impl Deref for ObjectSpan {
    type Target = Span;
    #[inline(always)]
    fn deref(&self) -> &Span {
        &self.span
    }
}

/// A pointer to a record of a slab of object spans; the record may be in other use by now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ObjectSpanPtr(NonNull<ObjectSpan>);

impl Deref for ObjectSpanPtr {
    type Target = ObjectSpan;
    #[inline(always)]
    fn deref(&self) -> &ObjectSpan {
        // SAFETY: obligation 1 of `new`.
        unsafe { self.0.as_ref() }
    }
}

impl ObjectSpanPtr {
    /// # Safety
    /// 1. As for [`SpanPtr::new`].
    #[inline(always)]
    pub(crate) unsafe fn new(span: NonNull<ObjectSpan>) -> ObjectSpanPtr {
        ObjectSpanPtr(span)
    }

    #[inline(always)]
    pub(crate) fn as_ptr(self) -> *mut ObjectSpan {
        self.0.as_ptr()
    }

    pub(crate) fn as_span(self) -> SpanPtr {
        // SAFETY: the span is the record's first field.
        unsafe { SpanPtr::new(self.0.cast()) }
    }
}

impl ObjectSpan {
    /// Takes a free slot from the current word and returns its address. Called by who holds the span.
    #[inline(always)]
    pub(crate) fn take_slot(&self) -> Option<usize> {
        let word = self.cursor.load(Relaxed) as usize % WORDS;
        let free = self.free[word].load(Relaxed);
        if free == 0 {
            return None;
        }
        // Whoever sees the slot taken sees its mark, if it is born with one.
        self.free[word].store(free & (free - 1), Release);
        let index = word * 64 + free.trailing_zeros() as usize;
        Some(self.base() + index * self.size())
    }

    /// Moves on to the next word with a free slot; false if there is none.
    pub(crate) fn advance(&self) -> bool {
        let from = self.cursor.load(Relaxed) as usize;
        match (from..WORDS).find(|&word| self.free[word].load(Relaxed) != 0) {
            Some(word) => {
                self.cursor.store(word as u32, Relaxed);
                true
            }
            None => false,
        }
    }

    /// Slot number `index` holds an object. Any index may be asked for.
    #[inline(always)]
    pub(crate) fn is_allocated(&self, index: u32) -> bool {
        index < self.count() && {
            let word = self.free[index as usize / 64 % WORDS].load(Acquire);
            word >> (index % 64) & 1 == 0
        }
    }

    #[inline(always)]
    pub(crate) fn is_marked(&self, index: u32) -> bool {
        self.marks[index as usize / 64 % WORDS].load(Relaxed) >> (index % 64) & 1 == 1
    }

    /// Marks a slot; true to the one caller that changed the bit.
    #[inline(always)]
    pub(crate) fn try_mark(&self, index: u32) -> bool {
        let word = &self.marks[index as usize / 64 % WORDS];
        let bit = 1 << (index % 64);
        // Most pointers lead to objects that are marked already: a load does not take the cache line from other markers.
        word.load(Relaxed) & bit == 0 && word.fetch_or(bit, AcqRel) & bit == 0
    }

    /// Sets the marks of the slots that are free: what is going to be allocated is born marked. Called by who holds the span.
    pub(crate) fn mark_free_slots(&self) {
        for (marks, free) in self.marks.iter().zip(&self.free) {
            let free = free.load(Relaxed);
            if free != 0 {
                marks.fetch_or(free, Relaxed);
            }
        }
    }

    /// Takes that back for those that are free still.
    pub(crate) fn unmark_free_slots(&self) {
        for (marks, free) in self.marks.iter().zip(&self.free) {
            let free = free.load(Relaxed);
            if free != 0 {
                marks.fetch_and(!free, Relaxed);
            }
        }
    }

    pub(crate) fn free_slots(&self) -> u32 {
        self.free.iter().map(|w| w.load(Relaxed).count_ones()).sum()
    }

    pub(crate) fn marked_slots(&self) -> u32 {
        self.marks
            .iter()
            .map(|w| w.load(Relaxed).count_ones())
            .sum()
    }

    /// Frees the objects that are not marked and unmarks the others. Returns how many were freed. Called by who took the span to sweep it.
    pub(crate) fn sweep(&self) -> u32 {
        let mut freed = 0;
        for word in 0..WORDS {
            let free = !self.marks[word].load(Relaxed) & valid(word, self.count());
            freed += (free & !self.free[word].load(Relaxed)).count_ones();
            self.free[word].store(free | self.free[word].load(Relaxed), Relaxed);
            self.marks[word].store(0, Relaxed);
        }
        self.cursor.store(0, Relaxed);
        if freed != 0 {
            self.dirty.store(true, Relaxed);
        }
        freed
    }

    /// Calls `visit` with the index of each object whose mark is `marked`.
    pub(crate) fn for_each(&self, marked: bool, mut visit: impl FnMut(u32)) {
        for word in 0..WORDS {
            let allocated = !self.free[word].load(Relaxed) & valid(word, self.count());
            let marks = self.marks[word].load(Relaxed);
            let mut bits = allocated & if marked { marks } else { !marks };
            while bits != 0 {
                visit(word as u32 * 64 + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
    }
}
