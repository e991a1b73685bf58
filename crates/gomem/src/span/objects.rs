//! Spans of collected objects: a bit per slot for *free*, another for *marked*, a third for *scanned*.
//!
//! Invariant: slot `i` is taken exactly if `i < count` and bit `i` of `free` is clear. Bits beyond the last slot are clear in all
//! bitmaps. A cache takes *runs* of neighbouring free slots, [`take_run`](ObjectSpan::take_run), and hands out their slots one by one without a look at
//! the span; so a slot may be taken and not yet be an object, and it then reads as zero unless the kind says otherwise. Sweeping sets `free` to the
//! complement of `marks`, clears `marks` and moves `cursor` back. (Go keeps a free index and a shifted copy of one word
//! instead; with the bitmap itself as the truth a lookup is one bit test.)
//!
//! ```text
//!   record:  │ base size reciprocal count kind .. │ free marks free marks .. (two lines) │ tag waits sort scans .. │
//!   touched:   to resolve an address                to test and to mark                    to queue, and to scan
//! ```
//!
//! Slots are at least 16 bytes, so that 512 bits serve every span of a page and the bitmaps can be part of the record: a stale
//! pointer to a mark bit still points to a mark bit, and to one of a span of objects.

use super::{Span, SpanPtr, WORDS, prefetch_first_lines, prefetch_line, valid};
use crate::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::*};
use crate::meta::Zeroed;
use crate::page::PAGE_SIZE;
use std::ops::{Deref, Range};
use std::ptr::NonNull;

/// Bytes in the smallest slot.
pub(crate) const MIN_OBJECT: usize = 16;

/// The most bytes in a run of more than one slot: so few that they are in the nearest cache when they are used, after they were cleared.
const RUN_BYTES: usize = PAGE_SIZE / 2;

#[repr(C)]
pub(crate) struct ObjectSpan {
    span: Span,
    /// Of the sort; 0 where there is none.
    tag: AtomicU64,
    /// The number of the central list that it belongs to.
    central: AtomicU16,
    /// Whether it is in a queue: see [`waiting`](super::waiting).
    pub(super) waits: AtomicBool,
    /// Marked objects that have been claimed for scanning.
    pub(super) scans: [AtomicU64; WORDS],
}

const _: () = assert!(size_of::<ObjectSpan>() == 320);

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
    /// Says what the span that this record is about to be is for. Called before [`init`](Span::init).
    pub(crate) fn assign(&self, central: usize, tag: u64) {
        self.tag.store(tag, Relaxed);
        self.central.store(central as u16, Relaxed);
        self.waits.store(false, Relaxed);
        for scans in &self.scans {
            scans.store(0, Relaxed);
        }
    }

    #[inline(always)]
    pub(crate) fn tag(&self) -> u64 {
        self.tag.load(Relaxed)
    }

    pub(crate) fn central(&self) -> usize {
        self.central.load(Relaxed) as usize
    }

    /// Words of the bitmaps in use.
    #[inline(always)]
    pub(super) fn words(&self) -> usize {
        (self.count() as usize).div_ceil(64).min(WORDS)
    }

    #[inline(always)]
    fn free_of(&self, word: usize) -> &AtomicU64 {
        &self.bits[word].free
    }

    #[inline(always)]
    pub(super) fn marks_of(&self, word: usize) -> &AtomicU64 {
        &self.bits[word].marks
    }

    /// Takes the next run of neighbouring free slots: the addresses of its bytes. `None` if no slot is free. Called by who holds the span.
    ///
    /// `black` has its objects born marked and scanned.
    pub(crate) fn take_run(&self, black: bool) -> Option<Range<usize>> {
        let words = self.words();
        let from = self.cursor.load(Relaxed) as usize;
        let word = (from..words).find(|&word| self.free_of(word).load(Relaxed) != 0)?;
        let size = self.size();
        let most = (RUN_BYTES / size).max(1);
        let first = word * 64 + self.free_of(word).load(Relaxed).trailing_zeros() as usize;
        let mut end = first;
        let mut at = word;
        // Word by word, as long as the run reaches into the next.
        while at < words && end - first < most {
            let free = self.free_of(at).load(Relaxed);
            let start = end % 64;
            let len = ((free >> start).trailing_ones() as usize).min(most - (end - first));
            if len == 0 {
                break;
            }
            let run = run_of(start, len);
            if black {
                self.scans[at].fetch_or(run, Relaxed);
                self.marks_of(at).fetch_or(run, Relaxed);
            }
            self.free_of(at).store(free & !run, Release);
            end += len;
            if start + len < 64 {
                break;
            }
            at += 1;
        }
        self.cursor.store((end / 64) as u32, Relaxed);
        Some(self.base() + first * size..self.base() + end * size)
    }

    /// Puts the rest of a run back. Called by who holds the span.
    pub(crate) fn put_run(&self, run: Range<usize>) {
        if run.is_empty() {
            return;
        }
        let (first, end) = (self.index_of(run.start), self.index_of(run.end - 1) + 1);
        let mut at = first as usize;
        while at < end as usize {
            let len = (64 - at % 64).min(end as usize - at);
            let free = self.free_of(at / 64);
            free.store(free.load(Relaxed) | run_of(at % 64, len), Relaxed);
            at += len;
        }
        let cursor = self.cursor.load(Relaxed).min(first / 64);
        self.cursor.store(cursor, Relaxed);
    }

    /// Marks the slots of a run of which no object was handed out yet, as [`take_run`](Self::take_run) does for `black`.
    pub(crate) fn blacken(&self, run: Range<usize>) {
        for addr in run.step_by(self.size()) {
            let index = self.index_of(addr);
            let (word, bit) = (index as usize / 64 % WORDS, 1 << (index % 64));
            self.scans[word].fetch_or(bit, Relaxed);
            self.marks_of(word).fetch_or(bit, Relaxed);
        }
    }

    /// Slot number `index` is taken. Any index may be asked for.
    #[inline(always)]
    pub(crate) fn is_allocated(&self, index: u32) -> bool {
        index < self.count() && self.is_taken(index)
    }

    /// The same of a slot that there is.
    #[inline(always)]
    pub(crate) fn is_taken(&self, index: u32) -> bool {
        let word = self.free_of(index as usize / 64 % WORDS).load(Acquire);
        word >> (index % 64) & 1 == 0
    }

    /// Asks the processor to fetch the bits of a slot.
    #[inline(always)]
    pub(crate) fn prefetch_slot(&self, index: u32) {
        prefetch_line(&raw const self.bits[index as usize / 64 % WORDS]);
    }

    #[inline(always)]
    pub(crate) fn is_marked(&self, index: u32) -> bool {
        self.marks_of(index as usize / 64 % WORDS).load(Relaxed) >> (index % 64) & 1 == 1
    }

    /// Marks a slot; true to the one caller that changed the bit.
    #[inline(always)]
    pub(crate) fn try_mark(&self, index: u32) -> bool {
        let word = self.marks_of(index as usize / 64 % WORDS);
        let bit = 1 << (index % 64);
        // Most pointers lead to objects that are marked already: a load does not take the cache line from other markers.
        word.load(Relaxed) & bit == 0 && word.fetch_or(bit, SeqCst) & bit == 0
    }

    /// Asks the processor to fetch the lines that scanning needs.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        prefetch_first_lines(self);
        prefetch_line(&raw const self.tag);
    }

    pub(crate) fn free_slots(&self) -> u32 {
        let free = |word| self.free_of(word).load(Relaxed).count_ones();
        (0..self.words()).map(free).sum()
    }

    /// Objects that are marked. Slots that are free may be, too, if they were taken when they were marked, and put back.
    pub(crate) fn marked_slots(&self) -> u32 {
        let marked = |word| {
            let free = self.free_of(word).load(Relaxed);
            (self.marks_of(word).load(Relaxed) & !free).count_ones()
        };
        (0..self.words()).map(marked).sum()
    }

    /// Frees the objects that are not marked and unmarks the others. Called by who took the span to sweep it.
    pub(crate) fn sweep(&self) {
        let mut freed = 0;
        for word in 0..self.words() {
            let dead = !self.marks_of(word).load(Relaxed) & valid(word, self.count());
            let free = self.free_of(word).load(Relaxed);
            freed |= dead & !free;
            self.free_of(word).store(free | dead, Relaxed);
            self.marks_of(word).store(0, Relaxed);
            self.scans[word].store(0, Relaxed);
        }
        self.cursor.store(0, Relaxed);
        if freed != 0 {
            self.dirty.store(true, Relaxed);
        }
    }

    /// Calls `visit` with the index of each object whose mark is `marked`.
    pub(crate) fn for_each(&self, marked: bool, mut visit: impl FnMut(u32)) {
        for word in 0..self.words() {
            let allocated = !self.free_of(word).load(Relaxed) & valid(word, self.count());
            let marks = self.marks_of(word).load(Relaxed);
            let mut bits = allocated & if marked { marks } else { !marks };
            while bits != 0 {
                visit(word as u32 * 64 + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
    }
}

/// `len` bits from bit `start` on; at least one.
fn run_of(start: usize, len: usize) -> u64 {
    u64::MAX >> (64 - len) << start
}
