//! A span: a run of pages that holds blocks of one size, or one large block.
//!
//! The record lives apart from the pages and is type-stable (see [`meta`](crate::meta)): a pointer to it never dangles, and a record of a slab of
//! [`ObjectSpan`]s is one for good. All fields are atomics, because lookups by address may read a record that is being changed; who
//! may *write* which field, and what a reader may conclude, is the protocol:
//!
//! ```text
//! field                           written by
//! base .. pages, kind, class      who makes the span, before its entries in the span map; read by all
//! owner                           malloc spans: see below
//! local, used, notify, fresh      the owner: the thread of the cache `owner` points to, or, when null, who holds the central
//!                                 list's lock
//! next, prev, place               who owns the list that the span is in: the same
//! remote                          anyone pushes a block; only who took the span from an inbox empties it
//! inbox_next                      who turned `remote` from empty to non-empty, until the span is in the inbox
//! free, cursor (ObjectSpan)       the thread whose cache holds the span; otherwise who took it from a central list
//! marks (ObjectSpan)              anyone sets bits while marking; who sweeps the span clears them
//! ```
//!
//! # Freeing from another thread
//!
//! A block of a span that another cache owns, or the central list, is pushed on `remote`: one compare-and-swap. Who finds
//! `remote` empty has the duty to put the span into its owner's *inbox*, and only who took a span from an inbox may
//! empty its `remote`. Hence:
//!
//! - A span is in at most one inbox, once: between the push that made `remote` non-empty and the emptying there is exactly one duty.
//! - The record cannot be reused under a pusher: its block counts as used until `remote` is emptied, which is after the duty was
//!   done; and a pusher that found `remote` non-empty touches the record no more after its swap succeeded, before which its own block counted.
//! - ABA does no harm: `remote` and inboxes are only pushed to and emptied whole.
//! - The duty may be done late, when the owner has changed. Who takes a span that is not its own from its inbox passes the duty on to the
//!   owner. A thread that exits first gives all its spans away and then *closes* its inbox: a pusher that finds it closed reads the owner again.
//!
//! # Who owns a malloc span
//!
//! ```text
//!            new ──► cache (current ─ partial ─ full) ──► central list (partial, or full and in no list) ──► cache
//!                          │ empty                              │ empty
//!                          └──────────────► free ◄──────────────┘
//! ```
//!
//! `owner` changes from null to a cache under the central list's lock, from a cache to null by the thread of that cache under the same lock.

mod inbox;
mod list;
mod objects;

pub(crate) use inbox::Inbox;
pub(crate) use list::SpanList;
pub(crate) use objects::{MIN_OBJECT, ObjectSpan, ObjectSpanPtr};

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering::*};
use crate::meta::Zeroed;
use crate::page::{PageCount, PageId};
use crate::size_class::SizeClass;
use std::ops::{Deref, Range};
use std::ptr::{NonNull, null_mut, with_exposed_provenance_mut};

/// What a span is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The record is not in use.
    Free = 0,
    /// Small blocks for `malloc`.
    Malloc = 1,
    /// One block for `malloc`.
    MallocLarge = 2,
    /// Memory that its user manages by hand.
    Manual = 3,
    /// Collected objects, see [`CollectedKind`](crate::CollectedKind).
    Scan = 4,
    NoScan = 5,
    Finalizable = 6,
}

impl Kind {
    fn from_u8(value: u8) -> Kind {
        [
            Kind::Free,
            Kind::Malloc,
            Kind::MallocLarge,
            Kind::Manual,
            Kind::Scan,
            Kind::NoScan,
            Kind::Finalizable,
        ][value as usize]
    }

    pub(crate) fn is_collected(self) -> bool {
        self as u8 >= Kind::Scan as u8
    }
}

/// The list that a malloc span is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    /// None: the current span of a cache, or a full one of the central list.
    None = 0,
    /// Has free blocks.
    Partial = 1,
    /// Has none.
    Full = 2,
}

/// A free block: its first word links to the next.
#[repr(C)]
pub(crate) struct Block {
    pub(crate) next: *mut Block,
}

/// What came of freeing a block into `local`.
pub(crate) enum Pushed {
    Done,
    /// Done, and `used` is what the owner wanted to be told of.
    Notify,
    /// The block is the one that was freed last: nothing was done.
    Twice,
}

/// What `notify` holds while nobody wants to know.
pub(crate) const NEVER: u32 = u32::MAX;

/// See the head of the file.
#[repr(C, align(64))]
pub(crate) struct Span {
    pub(crate) base: AtomicUsize,
    pub(crate) owner: AtomicPtr<Inbox>,
    /// Blocks freed by the owner, and by others once collected from `remote`.
    pub(crate) local: AtomicPtr<Block>,
    /// Blocks handed out and not freed into `local`: those in the program's hands, in the cache's list, and in `remote`.
    pub(crate) used: AtomicU32,
    /// The owner wants to know when `used` falls to this: a full span gets its first free block, or a partial one becomes empty.
    pub(crate) notify: AtomicU32,
    /// Bytes in a block.
    pub(crate) size: AtomicUsize,
    reciprocal: AtomicU32,
    /// Blocks in the span.
    pub(crate) count: AtomicU32,
    /// Blocks from this index on were never handed out.
    pub(crate) fresh: AtomicU32,
    pages: AtomicU32,
    kind: AtomicU8,
    class: AtomicU8,
    place: AtomicU8,
    /// The pages may hold something else than zeroes.
    pub(crate) dirty: AtomicBool,

    remote: AtomicPtr<Block>,
    inbox_next: AtomicPtr<Span>,
    next: AtomicPtr<Span>,
    prev: AtomicPtr<Span>,
    /// Objects: the word of the free bitmap that is being allocated from.
    cursor: AtomicU32,
    page: AtomicU32,
    /// Large malloc blocks: see [`large`](crate::large).
    pub(crate) moved: AtomicU32,
}

const _: () = assert!(size_of::<Span>() == 128);

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

    /// The record as one of collected objects, if it is used as such.
    #[inline(always)]
    pub(crate) fn as_objects(self) -> Option<ObjectSpanPtr> {
        let collected = self.kind.load(Acquire) >= Kind::Scan as u8;
        // SAFETY: only records of a slab of `ObjectSpan` are given a collected kind.
        collected.then(|| unsafe { ObjectSpanPtr::new(self.0.cast()) })
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
        let (size, reciprocal, count, class) = match init.class {
            Some(class) => (
                class.size(),
                class.reciprocal(),
                class.count(),
                class.index(),
            ),
            None => (init.pages.bytes(), 0, 1, 0),
        };
        self.base.store(init.base, Relaxed);
        self.owner.store(null_mut(), Relaxed);
        self.local.store(null_mut(), Relaxed);
        self.used.store(0, Relaxed);
        self.notify.store(NEVER, Relaxed);
        self.size.store(size, Relaxed);
        self.reciprocal.store(reciprocal, Relaxed);
        self.count.store(count, Relaxed);
        self.fresh.store(0, Relaxed);
        self.pages.store(init.pages.0, Relaxed);
        self.class.store(class as u8, Relaxed);
        self.place.store(Place::None as u8, Relaxed);
        self.dirty.store(init.dirty, Relaxed);
        self.cursor.store(0, Relaxed);
        self.page.store(init.page.0, Relaxed);
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
            _ => Place::Full,
        }
    }

    /// Frees a block into `local`. Called by the owner.
    ///
    /// # Safety
    /// 1. `block` is a block of this span in nobody's use.
    #[inline(always)]
    pub(crate) unsafe fn push_local(&self, block: *mut Block) -> Pushed {
        let head = self.local.load(Relaxed);
        if head == block {
            return Pushed::Twice;
        }
        // SAFETY: (1): the block is ours.
        unsafe { (*block).next = head };
        self.local.store(block, Relaxed);
        let used = self.used.load(Relaxed).wrapping_sub(1);
        self.used.store(used, Relaxed);
        if used == self.notify.load(Relaxed) {
            Pushed::Notify
        } else {
            Pushed::Done
        }
    }

    /// Frees a block from outside. True if the caller now has the duty to put the span into the owner's inbox.
    ///
    /// # Safety
    /// 1. As for [`push_local`](Self::push_local).
    #[inline]
    pub(crate) unsafe fn push_remote(&self, block: *mut Block) -> bool {
        let mut head = self.remote.load(Relaxed);
        loop {
            // SAFETY: (1): the block is ours until the swap below succeeds.
            unsafe { (*block).next = head };
            match self
                .remote
                .compare_exchange_weak(head, block, Release, Relaxed)
            {
                Ok(_) => return head.is_null(),
                Err(now) => head = now,
            }
        }
    }

    /// Moves the blocks from `remote` to `local` and returns how many there were. Called by the owner, after it took the span from an inbox.
    pub(crate) fn collect_remote(&self) -> u32 {
        let first = self.remote.swap(null_mut(), Acquire);
        let (mut last, mut n) = (first, 1);
        if first.is_null() {
            return 0;
        }
        // SAFETY: a list of free blocks, ours since the swap.
        unsafe {
            while !(*last).next.is_null() {
                last = (*last).next;
                n += 1;
            }
            (*last).next = self.local.load(Relaxed);
        }
        self.local.store(first, Relaxed);
        self.used.store(self.used.load(Relaxed) - n, Relaxed);
        n
    }

    /// Free blocks that the owner can hand out now, without carving.
    pub(crate) fn take_local(&self) -> *mut Block {
        let blocks = self.local.swap(null_mut(), Relaxed);
        if !blocks.is_null() {
            self.used.store(self.fresh.load(Relaxed), Relaxed);
        }
        blocks
    }

    /// Links never used blocks, about a system page's worth, into a list and hands them out. Null if there are none left. Called by the owner.
    ///
    /// Bounded, because blocks that were never handed out have never been touched.
    pub(crate) fn carve(&self) -> *mut Block {
        const BYTES: usize = 4096;
        let (fresh, size) = (self.fresh.load(Relaxed), self.size());
        let n = (self.count() - fresh).min((BYTES / size).max(1) as u32);
        let mut blocks = null_mut::<Block>();
        for index in (fresh..fresh + n).rev() {
            let block: *mut Block =
                with_exposed_provenance_mut(self.base() + index as usize * size);
            // SAFETY: a block of this span that was never handed out.
            unsafe { (*block).next = blocks };
            blocks = block;
        }
        self.fresh.store(fresh + n, Relaxed);
        self.used.store(self.used.load(Relaxed) + n, Relaxed);
        blocks
    }

    /// Whether blocks can be had from it: freed or never used.
    pub(crate) fn has_room(&self) -> bool {
        !self.local.load(Relaxed).is_null() || self.fresh.load(Relaxed) < self.count()
    }

    /// Calls `visit` with each free block of `local` and `remote`. The world is stopped.
    pub(crate) fn for_each_free(&self, mut visit: impl FnMut(usize)) {
        for head in [&self.local, &self.remote] {
            // SAFETY: lists of free blocks that nobody changes now.
            unsafe { for_each_block(head.load(Acquire), &mut visit) };
        }
    }
}

/// Calls `visit` with the address of each block of a list.
///
/// # Safety
/// 1. `block` is null or the first of a list of free blocks, which nobody changes meanwhile, but for `visit` the block it is called with.
pub(crate) unsafe fn for_each_block(mut block: *mut Block, visit: &mut impl FnMut(usize)) {
    while !block.is_null() {
        // SAFETY: (1).
        let next = unsafe { (*block).next };
        visit(block.addr());
        block = next;
    }
}
