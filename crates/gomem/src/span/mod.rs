//! A span: a run of pages that holds blocks of one size, or one large block.
//!
//! The record lives apart from the pages and is type-stable (see [`meta`](crate::meta)): a pointer to it never dangles, and a record of a slab of
//! [`ObjectSpan`]s is one for good. All fields are atomics, because lookups by address may read a record that is being changed; who
//! may *write* which field, and what a reader may conclude, is the protocol:
//!
//! ```text
//! field                           written by
//! base .. page, kind, class       who makes the span, before its entries in the span map; read by all
//! next, prev, place               who holds the lock of the list that the span is in
//! free, available, fresh          malloc spans: who holds the lock of the class's central list
//! free, cursor (ObjectSpan)       the thread whose cache holds the span; otherwise who took it from a central list
//! tag, central (ObjectSpan)       as base
//! cursor (one malloc block)       the sample: who owns the block
//! fresh (large malloc block)      who owns the block
//! marks (ObjectSpan)              anyone sets bits while marking; who sweeps the span clears them
//! waits, scans (ObjectSpan)       markers, by the protocol of `waiting`; who sweeps the span clears them
//! marks (malloc spans)            who looks for roots, holding `reclaiming`: the blocks that lie in caches; of a hardened heap
//!                                 who holds the lock of the class's quarantine: the blocks that are in it
//! ```
//!
//! # The blocks of a malloc span
//!
//! ```text
//!              take_blocks                    pop
//!   in the span ────────► in a cache's list ────────► in the program's hands
//!   (bit set)   ◄────────  (or in transfer)  ◄────────
//!               put_block                     push
//! ```
//!
//! A bit of `free` is set exactly while the block is in the span. Taking and putting blocks touches the record and not the
//! blocks: nothing is written into free memory, so nothing that the program writes there by mistake can harm the heap, and a block that
//! crosses from one thread to another brings no cache line with it. Blocks have no owner; which thread frees one makes no difference.
//!
//! A span with a bit set is in its class's list of partial spans; one with all bits set is given back to the page heap.

mod blocks;
mod list;
mod objects;
pub(crate) mod waiting;

pub(crate) use blocks::{Slot, copy_blocks};
pub(crate) use list::SpanList;
pub(crate) use objects::{MIN_OBJECT, ObjectSpan, ObjectSpanPtr};

use crate::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering::*,
};
use crate::fatal::Block;
use crate::meta::Zeroed;
use crate::page::{MAX_BLOCKS, PageCount, PageId};
use crate::size_class::SizeClass;
use std::ops::{Deref, Range};
use std::ptr::NonNull;

/// What a span is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The record is not in use.
    Free = 0,
    /// Small blocks for `malloc`.
    Malloc = 1,
    /// One block for `malloc`: a large one, or, with a class, a small one that is sampled.
    MallocLarge = 2,
    /// Memory that its user manages by hand.
    Manual = 3,
    /// Collected objects, see [`CollectedKind`](crate::CollectedKind).
    Scan = 4,
    NoScan = 5,
    Finalizable = 6,
    Tagged = 7,
}

impl Kind {
    #[inline(always)]
    pub(crate) fn from_u8(value: u8) -> Kind {
        [
            Kind::Free,
            Kind::Malloc,
            Kind::MallocLarge,
            Kind::Manual,
            Kind::Scan,
            Kind::NoScan,
            Kind::Finalizable,
            Kind::Tagged,
        ][value as usize]
    }

    pub(crate) fn is_collected(self) -> bool {
        self as u8 >= Kind::Scan as u8
    }
}

/// The list that a span is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    /// None: that of a cache, or a malloc span without a free block.
    None = 0,
    /// Has free blocks.
    Partial = 1,
    /// Has none.
    Full = 2,
    /// A large block that is freed and in [`quarantine`](crate::hardened).
    Quarantine = 3,
}

/// Words of a bitmap.
const WORDS: usize = MAX_BLOCKS as usize / 64;

/// What `moved` is while the span is in a slot of [`spare`](crate::spare).
pub(crate) const KEPT: u32 = u32::MAX;
/// What it is of a span with a guard page on either side, and of one with a guard page behind: see [`hardened`](crate::hardened).
const GUARDED: u32 = u32::MAX - 1;
const GUARDED_BEHIND: u32 = u32::MAX - 2;

/// See the head of the file.
#[repr(C, align(64))]
pub(crate) struct Span {
    base: AtomicUsize,
    next: AtomicPtr<Span>,
    prev: AtomicPtr<Span>,
    /// Bytes in a block.
    size: AtomicUsize,
    reciprocal: AtomicU32,
    /// Blocks in the span.
    count: AtomicU32,
    pages: AtomicU32,
    page: AtomicU32,
    /// Malloc: the number of bits set in `free`.
    available: AtomicU16,
    /// Malloc: blocks from this index on were never handed out. Large malloc blocks: see [`set_zeroed`](Self::set_zeroed).
    fresh: AtomicU16,
    /// Large malloc blocks: see [`large`](crate::large); [`KEPT`] while the block is freed and kept for the next. Guarded malloc spans: [`GUARDED`].
    pub(crate) moved: AtomicU32,
    /// Objects: the word of `free` that is being allocated from. One malloc block: see [`sample`](Self::sample).
    cursor: AtomicU32,
    kind: AtomicU8,
    class: AtomicU8,
    place: AtomicU8,
    /// The pages may hold something else than zeroes.
    pub(crate) dirty: AtomicBool,
    bits: [Bits; WORDS],
}

/// What is noted of 64 neighbouring blocks: next to one another, so that who looks at both touches one line of memory.
struct Bits {
    free: AtomicU64,
    marks: AtomicU64,
}

const _: () = assert!(size_of::<Span>() == 192);

// SAFETY: atomics, for which zero is valid: a record not in use.
unsafe impl Zeroed for Span {}

/// A pointer to a record of a heap that still exists; the record may be in other use by now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SpanPtr(NonNull<Span>);

// SAFETY: a record is all atomics.
unsafe impl Send for SpanPtr {}

impl Deref for SpanPtr {
    type Target = Span;
    #[inline(always)]
    fn deref(&self) -> &Span {
        // SAFETY: obligation 1 of `new`.
        unsafe { self.0.as_ref() }
    }
}

impl SpanPtr {
    /// # Safety
    /// 1. `span` is a record that is not unmapped while the value is in use.
    #[inline(always)]
    pub(crate) unsafe fn new(span: NonNull<Span>) -> SpanPtr {
        SpanPtr(span)
    }

    /// The same, from a field of a record.
    ///
    /// # Safety
    /// 1. As for [`new`](Self::new), or `span` is null.
    #[inline(always)]
    pub(crate) unsafe fn from_raw(span: *mut Span) -> Option<SpanPtr> {
        NonNull::new(span).map(SpanPtr)
    }

    #[inline(always)]
    pub(crate) fn as_ptr(self) -> *mut Span {
        self.0.as_ptr()
    }

    /// The record as one of collected objects.
    ///
    /// # Safety
    /// 1. It is a record of a slab of `ObjectSpan`.
    #[inline(always)]
    pub(crate) unsafe fn assume_objects(self) -> ObjectSpanPtr {
        // SAFETY: (1).
        unsafe { ObjectSpanPtr::new(self.0.cast()) }
    }

    /// Asks the processor to fetch the record.
    #[inline(always)]
    pub(crate) fn prefetch(self) {
        prefetch_first_lines(self.as_ptr());
    }

    /// The record as one of collected objects, if it is used as such.
    #[inline(always)]
    pub(crate) fn as_objects(self) -> Option<ObjectSpanPtr> {
        let collected = self.kind.load(Acquire) >= Kind::Scan as u8;
        // SAFETY: only records of a slab of `ObjectSpan` are given a collected kind.
        collected.then(|| unsafe { ObjectSpanPtr::new(self.0.cast()) })
    }
}

/// Where a span's blocks are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) base: usize,
    pub(crate) size: usize,
    pub(crate) count: u32,
}

impl Shape {
    /// The addresses of the blocks.
    pub(crate) fn bytes(self) -> Range<usize> {
        self.base..self.base + self.size * self.count as usize
    }
}

/// What a new span is to be.
pub(crate) struct SpanInit {
    pub(crate) kind: Kind,
    /// `None`: one block that takes all the pages.
    pub(crate) class: Option<SizeClass>,
    pub(crate) page: PageId,
    pub(crate) pages: PageCount,
    pub(crate) base: usize,
    pub(crate) dirty: bool,
}

impl Span {
    /// Makes the record, which is not in use, that of a new span. Called before the span map points to it.
    pub(crate) fn init(&self, init: SpanInit) {
        let (size, reciprocal, class) = match init.class {
            Some(class) => (class.size(), class.reciprocal(), class.index()),
            None => (init.pages.bytes(), 0, 0),
        };
        let count = (init.pages.bytes() / size).min(MAX_BLOCKS as usize) as u32;
        self.base.store(init.base, Relaxed);
        self.size.store(size, Relaxed);
        self.reciprocal.store(reciprocal, Relaxed);
        self.count.store(count, Relaxed);
        self.pages.store(init.pages.0, Relaxed);
        self.page.store(init.page.0, Relaxed);
        self.available.store(count as u16, Relaxed);
        self.fresh.store(0, Relaxed);
        self.cursor.store(0, Relaxed);
        self.moved.store(0, Relaxed);
        self.class.store(class as u8, Relaxed);
        self.place.store(Place::None as u8, Relaxed);
        self.dirty.store(init.dirty, Relaxed);
        for (word, bits) in self.bits.iter().enumerate() {
            bits.free.store(valid(word, count), Relaxed);
            bits.marks.store(0, Relaxed);
        }
        self.kind.store(init.kind as u8, Release);
    }

    /// The record is not in use any more. Called after the span map ceased to point to it.
    pub(crate) fn retire(&self) {
        self.kind.store(Kind::Free as u8, Release);
    }

    #[inline(always)]
    pub(crate) fn base(&self) -> usize {
        self.base.load(Relaxed)
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape {
            kind: self.kind(),
            base: self.base(),
            size: self.size(),
            count: self.count(),
        }
    }

    /// Bytes in a block.
    #[inline(always)]
    pub(crate) fn size(&self) -> usize {
        self.size.load(Relaxed)
    }

    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    pub(crate) fn pages(&self) -> PageCount {
        PageCount(self.pages.load(Relaxed))
    }

    /// Makes a span of one block longer or shorter. Called by who owns the block.
    pub(crate) fn resize(&self, pages: PageCount) {
        self.pages.store(pages.0, Relaxed);
        self.size.store(pages.bytes(), Relaxed);
    }

    /// Whether it is a large block that is freed and kept, or in quarantine.
    pub(crate) fn is_kept(&self) -> bool {
        self.moved.load(Relaxed) == KEPT || self.place() == Place::Quarantine
    }

    /// Of a span of one malloc block, what the heap profile knows it by, or 0: see [`samples`](crate::samples).
    pub(crate) fn sample(&self) -> &AtomicU32 {
        &self.cursor
    }

    /// Notes of a large block that it was wanted as zeros.
    pub(crate) fn set_zeroed(&self) {
        self.fresh.store(1, Relaxed);
    }

    pub(crate) fn is_zeroed(&self) -> bool {
        self.fresh.load(Relaxed) != 0
    }

    pub(crate) fn page(&self) -> PageId {
        PageId(self.page.load(Relaxed))
    }

    pub(crate) fn bytes(&self) -> Range<usize> {
        self.base()..self.base() + self.pages().bytes()
    }

    #[inline(always)]
    pub(crate) fn kind(&self) -> Kind {
        Kind::from_u8(self.kind.load(Acquire))
    }

    /// Index of the size class, 0 for one large block.
    pub(crate) fn class_index(&self) -> usize {
        self.class.load(Relaxed) as usize
    }

    /// # Panics
    /// If it is a span of one large block.
    pub(crate) fn class(&self) -> SizeClass {
        SizeClass::from_index(self.class_index())
    }

    /// The block that the address, which lies in the span, falls into: an index that is at least `count` in the tail.
    #[inline(always)]
    pub(crate) fn index_of(&self, addr: usize) -> u32 {
        let offset = addr.wrapping_sub(self.base()) as u64;
        ((offset.wrapping_mul(self.reciprocal.load(Relaxed) as u64)) >> 32) as u32
    }

    /// Whether the address, which lies in the span, is a whole number of blocks from its base.
    ///
    /// For a reciprocal `c` of `size`, the low half of `offset * c` is less than `c` just if `size` divides `offset` (Lemire et al., as in
    /// [`size_class`](crate::size_class)); offsets in spans are small enough for 32 bits.
    #[inline(always)]
    pub(crate) fn starts_block(&self, addr: usize) -> bool {
        let offset = addr.wrapping_sub(self.base()) as u32;
        let reciprocal = self.reciprocal.load(Relaxed);
        offset.wrapping_mul(reciprocal) < reciprocal
    }

    /// Links the record, which is not in use, before `next`, and returns what it was linked before.
    pub(crate) fn next_idle(&self, next: *mut Span) -> *mut Span {
        self.next.swap(next, Relaxed)
    }

    pub(crate) fn place(&self) -> Place {
        match self.place.load(Relaxed) {
            0 => Place::None,
            1 => Place::Partial,
            2 => Place::Full,
            _ => Place::Quarantine,
        }
    }

    /// Has a large block be in quarantine, for as long as there is this span. Called under the quarantine's lock.
    pub(crate) fn quarantine(&self) {
        self.place.store(Place::Quarantine as u8, Relaxed);
    }

    /// The guard pages of a malloc span.
    pub(crate) fn guards(&self) -> Guards {
        match self.moved.load(Relaxed) {
            GUARDED => Guards::AROUND,
            GUARDED_BEHIND => Guards::BEHIND,
            _ => Guards::NONE,
        }
    }

    /// Notes the guard pages of a malloc span.
    pub(crate) fn set_guards(&self, guards: Guards) {
        let moved = match guards {
            Guards::AROUND => GUARDED,
            Guards::BEHIND => GUARDED_BEHIND,
            _ => 0,
        };
        self.moved.store(moved, Relaxed);
    }

    /// The block with this index.
    pub(crate) fn block(&self, index: u32) -> Block {
        Block {
            start: self.base() + index as usize * self.size(),
            size: self.size(),
        }
    }
}

/// Pages next to a span's own that belong to it and fault when they are touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Guards {
    pub(crate) before: PageCount,
    pub(crate) behind: PageCount,
}

impl Guards {
    pub(crate) const NONE: Guards = Guards::new(0, 0);
    pub(crate) const BEHIND: Guards = Guards::new(0, 1);
    /// Not of a span: of the pages of [`AROUND`](Self::AROUND) the other one.
    pub(crate) const BEFORE: Guards = Guards::new(1, 0);
    pub(crate) const AROUND: Guards = Guards::new(1, 1);

    const fn new(before: u32, behind: u32) -> Guards {
        Guards {
            before: PageCount(before),
            behind: PageCount(behind),
        }
    }

    /// Both together.
    pub(crate) fn pages(self) -> PageCount {
        PageCount(self.before.0 + self.behind.0)
    }
}

/// Asks the processor to fetch the line that `at` lies in.
#[inline(always)]
fn prefetch_line<T>(at: *const T) {
    // SAFETY: a hint, which has no effect but on time.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
}

/// The same of the first two lines of a record.
#[inline(always)]
fn prefetch_first_lines<T>(record: *const T) {
    prefetch_line(record);
    prefetch_line(record.wrapping_byte_add(64));
}

/// The valid bits of word `word` in a span of `count` blocks.
fn valid(word: usize, count: u32) -> u64 {
    let bits = (count as usize).saturating_sub(word * 64).min(64);
    if bits == 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    }
}
