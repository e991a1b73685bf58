//! What a thread allocates from without a lock.
//!
//! For `malloc`, per size class: a *list* of free blocks, an array of pointers that is filled and emptied at its top. The block freed last is
//! handed out first, and free blocks are not written to. When a list is empty it is filled from the central list, half as full as it may be; when it is
//! full, the older half goes there. A list may be fuller the more often it was empty, so a thread that allocates much gets large batches, and one that
//! only frees what others allocate keeps few. For collected objects, per kind and class, and for some sorts: a [`Run`] of free slots of the span that is being
//! filled.
//!
//! ```text
//!   slots:   null | b b b b b . . . . | null | b b . . ...       (. not in use)
//!             class 1         ^       ^  class 2
//!                            top    limit
//! ```
//!
//! The null below each list stands for "empty", so popping asks for no bounds. It counts how many blocks are left until one is to be sampled
//! ([`samples`](crate::samples)); the number of blocks handed out follows from that, so both together cost one count.
//!
//! Invariant: only the thread that a cache is attached to uses it, but for whoever takes an idle one by the protocol of [`reclaim`](crate::reclaim), and
//! the collector while the world is stopped. A list may be looked at between any two instructions of its thread, which a signal may stop
//! there: a block is in the list exactly if it is below `top`, and each change becomes visible by one store of `top`. A cache record is never
//! unmapped and is used again for another thread.

use crate::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*, compiler_fence};
use crate::meta::Zeroed;
use crate::size_class::{CLASSES, SizeClass};
use crate::sort::{CACHED, Sort};
use crate::span::{ObjectSpan, ObjectSpanPtr, Slot, copy_blocks};
use std::ops::{Deref, Range};
use std::ptr::{NonNull, null_mut};

/// The number of kinds of collected objects.
pub(crate) const OBJECT_KINDS: usize = 4;

/// A thread's cache. Opaque: a pointer to one may be kept and copied, see [`cache_slot`](crate::cache_slot).
#[repr(C)]
pub struct Cache {
    /// One past the last block of each list. Class 0 has none: its list is always empty and always full.
    tops: [AtomicPtr<Slot>; CLASSES],
    /// Where each list is full.
    limits: [AtomicPtr<Slot>; CLASSES],
    /// Blocks of each class that may be handed out before the next is sampled.
    left: [AtomicU64; CLASSES],
    /// How many there were to be handed out since the making of the cache: those handed out, and those left. Changed under `Heap::arming`.
    granted: [AtomicU64; CLASSES],
    /// The rate of sampling that `left` was made for. As `granted`.
    pub(crate) rate: AtomicU64,
    objects: [[Run; CLASSES]; OBJECT_KINDS],
    sorts: [Run; CACHED],
    /// The cache made before this one. Written before the cache is known to others.
    pub(crate) older: AtomicPtr<Cache>,
    /// The next one in the list of caches that are not attached. Under the heap's lock.
    pub(crate) next_idle: AtomicPtr<Cache>,
    /// See [`reclaim`](crate::reclaim): where the thread has its words, and what [`activity`](CachePtr::activity) last was.
    pub(crate) local: AtomicPtr<()>,
    pub(crate) seen: AtomicU64,
    /// The kernel's number of the thread, if that was asked for since the cache was attached; 0 if not.
    pub(crate) thread: AtomicU32,
}

/// A cache and its lists.
#[repr(C)]
pub(crate) struct CacheRecord {
    cache: Cache,
    slots: [Slot; SLOTS],
}

// SAFETY: atomics, for which zero is valid. (A record is opened before it is used.)
unsafe impl Zeroed for CacheRecord {}

/// The most blocks of a class that a thread keeps: 64 KiB of them, but no more than 256.
pub(crate) const fn most(class: usize) -> usize {
    match (64 << 10) / SizeClass::size_at(class) {
        0..4 => 4,
        256.. => 256,
        n => n,
    }
}

/// How many before it is known what the thread needs.
const FIRST: usize = 16;

/// The most that freeing alone makes a list grow to.
const FREED: usize = 64;

/// Where the list of each class begins in `slots`: behind its null.
const STARTS: [usize; CLASSES + 1] = {
    let mut starts = [1; CLASSES + 1];
    let mut class = 1;
    while class < CLASSES {
        starts[class + 1] = starts[class] + most(class) + 1;
        class += 1;
    }
    starts
};
const SLOTS: usize = STARTS[CLASSES];

/// A number of blocks that is not reached.
pub(crate) const NEVER: u64 = 1 << 62;

/// The list of a cache that stands for none.
static NOTHING: [Slot; 1] = [Slot::new(null_mut())];

impl Cache {
    /// One that stands for none: every list is empty and full, so every fast path fails on it without asking; never written.
    pub(crate) const fn stand_in() -> Cache {
        Cache {
            tops: [const { AtomicPtr::new(NOTHING.as_ptr_range().end.cast_mut()) }; CLASSES],
            limits: [const { AtomicPtr::new(NOTHING.as_ptr_range().end.cast_mut()) }; CLASSES],
            left: [const { AtomicU64::new(NEVER) }; CLASSES],
            granted: [const { AtomicU64::new(NEVER) }; CLASSES],
            rate: AtomicU64::new(0),
            objects: [const { [const { Run::new() }; CLASSES] }; OBJECT_KINDS],
            sorts: [const { Run::new() }; CACHED],
            older: AtomicPtr::new(null_mut()),
            next_idle: AtomicPtr::new(null_mut()),
            local: AtomicPtr::new(null_mut()),
            seen: AtomicU64::new(0),
            thread: AtomicU32::new(0),
        }
    }

    /// Takes a block of the class, if the list has one and it is not to be sampled. Called by the cache's thread.
    #[inline(always)]
    pub(crate) fn pop(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let top = self.tops[class.index()].load(Relaxed);
        // SAFETY: the lowest slot that a top points behind is a null.
        let slot = unsafe { top.sub(1) };
        // SAFETY: as above.
        let block = NonNull::new(unsafe { &*slot }.load(Relaxed))?;
        if self.count_down(class) {
            return None;
        }
        self.tops[class.index()].store(slot, Relaxed);
        Some(block)
    }

    /// Counts down to the next block to be sampled. True, with nothing done, if it is this one.
    ///
    /// In assembly, for the compiler makes four instructions of it: it does not put an atomic load and store into one that changes memory, although
    /// nobody else writes the word.
    #[cfg(not(any(miri, explore)))]
    #[inline(always)]
    fn count_down(&self, class: SizeClass) -> bool {
        // SAFETY: changes the word `left[class]`, which only this thread writes, and flags.
        unsafe {
            std::arch::asm!(
                "sub qword ptr [{cache} + {class} * 8 + {left}], 1",
                "jc {due}",
                cache = in(reg) self,
                class = in(reg) class.index(),
                left = const std::mem::offset_of!(Cache, left),
                due = label {
                    self.left[class.index()].store(0, Relaxed);
                    return true;
                },
                options(nostack),
            );
        }
        false
    }

    /// The same for who interprets or explores.
    #[cfg(any(miri, explore))]
    fn count_down(&self, class: SizeClass) -> bool {
        let left = self.left[class.index()].load(Relaxed);
        self.left[class.index()].store(left.saturating_sub(1), Relaxed);
        left == 0
    }

    /// Puts a block into the list of the class with this index. False, with nothing done, if the list is full or the block is the one put there last.
    ///
    /// Called by the cache's thread.
    #[inline(always)]
    pub(crate) fn push(&self, class: usize, block: *mut u8) -> bool {
        let top = self.tops[class].load(Relaxed);
        // SAFETY: as in `pop`; where the list is not full, `top` is a slot of it.
        unsafe {
            if top == self.limits[class].load(Relaxed) || (*top.sub(1)).load(Relaxed) == block {
                return false;
            }
            (*top).store(block, Relaxed);
        }
        // A handler on this thread must not find the new top over the old block.
        compiler_fence(SeqCst);
        // SAFETY: at most the limit.
        self.tops[class].store(unsafe { top.add(1) }, Relaxed);
        true
    }

    /// Blocks of the class that the program got from this cache. Called by who holds `Heap::arming`.
    pub(crate) fn mallocs(&self, class: SizeClass) -> u64 {
        let left = self.left[class.index()].load(Relaxed);
        self.granted[class.index()].load(Relaxed).wrapping_sub(left)
    }

    /// Blocks of the class that may be handed out before the next is sampled.
    pub(crate) fn left(&self, class: SizeClass) -> u64 {
        self.left[class.index()].load(Relaxed)
    }

    /// Has the block of the class sampled that comes after `gap` others. Called by the cache's thread, which holds `Heap::arming`.
    pub(crate) fn arm(&self, class: SizeClass, gap: u64) {
        let handed_out = self.mallocs(class);
        self.granted[class.index()].store(handed_out.wrapping_add(gap), Relaxed);
        self.left[class.index()].store(gap, Relaxed);
    }

    /// Where objects of this kind and class are taken from.
    #[inline(always)]
    pub(crate) fn run(&self, kind: usize, class: SizeClass) -> &Run {
        &self.objects[kind][class.index()]
    }

    /// Takes an object of the sort, if it is the one that its place is for at the moment.
    #[inline(always)]
    pub(crate) fn take_of_sort(&self, sort: Sort) -> Option<usize> {
        let run = &self.sorts[sort.place(CACHED)];
        if run.holds(sort.key()) {
            run.take(sort.size())
        } else {
            None
        }
    }

    /// The place of the sort: where it is, or where nothing is, or where what is there is to go.
    pub(crate) fn run_of_sort(&self, sort: Sort) -> &Run {
        let first = sort.place(CACHED);
        let mut places = (0..WAYS).map(|way| &self.sorts[(first + way) % CACHED]);
        let holds = |key: u64| move |run: &&Run| run.holds(key);
        places
            .clone()
            .find(holds(sort.key()))
            .or_else(|| places.find(holds(0)))
            .unwrap_or(&self.sorts[first])
    }

    /// All runs of objects.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.objects.as_flattened().iter().chain(&self.sorts)
    }
}

/// Places of a cache in which a sort may be. In those after the first it is found by a longer way.
const WAYS: usize = 4;

/// The part of a span that a thread takes objects from: neighbouring slots that are taken from the span and not handed out. Empty, and of no span, when all
/// words are zero.
pub(crate) struct Run {
    next: AtomicUsize,
    end: AtomicUsize,
    span: AtomicPtr<ObjectSpan>,
    /// Of the sort; 0 in those of kinds.
    key: AtomicU64,
}

impl Run {
    const fn new() -> Run {
        Run {
            next: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            span: AtomicPtr::new(null_mut()),
            key: AtomicU64::new(0),
        }
    }

    /// Takes the next slot, which has `size` bytes.
    #[inline(always)]
    pub(crate) fn take(&self, size: usize) -> Option<usize> {
        let at = self.next.load(Relaxed);
        let after = at + size;
        if after > self.end.load(Relaxed) {
            return None;
        }
        self.next.store(after, Relaxed);
        Some(at)
    }

    /// Whether it is known by this key.
    pub(crate) fn holds(&self, key: u64) -> bool {
        self.key.load(Relaxed) == key
    }

    pub(crate) fn span(&self) -> Option<ObjectSpanPtr> {
        // SAFETY: records of a slab of object spans are never unmapped.
        NonNull::new(self.span.load(Relaxed)).map(|span| unsafe { ObjectSpanPtr::new(span) })
    }

    /// What is left of the slots.
    pub(crate) fn rest(&self) -> Range<usize> {
        self.next.load(Relaxed)..self.end.load(Relaxed)
    }

    pub(crate) fn set_rest(&self, rest: Range<usize>) {
        self.next.store(rest.start, Relaxed);
        self.end.store(rest.end, Relaxed);
    }

    /// Takes from another span from now on, or from none. There is no rest.
    pub(crate) fn set_span(&self, span: Option<ObjectSpanPtr>, key: u64) {
        self.set_rest(0..0);
        self.key.store(key, Relaxed);
        let span = span.map_or(null_mut(), ObjectSpanPtr::as_ptr);
        self.span.store(span, Relaxed);
    }
}

/// A pointer to a cache record of a heap that still exists; not to one that stands for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CachePtr(NonNull<CacheRecord>);

// SAFETY: a record is all atomics; who may use it how is said at the head of the file.
unsafe impl Send for CachePtr {}

impl Deref for CachePtr {
    type Target = Cache;
    #[inline(always)]
    fn deref(&self) -> &Cache {
        // SAFETY: obligation 1 of `new`.
        unsafe { &self.0.as_ref().cache }
    }
}

impl CachePtr {
    /// # Safety
    /// 1. `cache` is a record that is not unmapped while the value is in use.
    pub(crate) unsafe fn new(cache: NonNull<CacheRecord>) -> CachePtr {
        CachePtr(cache)
    }

    /// The same, from a pointer to the cache of a record, or null.
    ///
    /// # Safety
    /// 1. As for [`new`](Self::new), or `cache` is null.
    pub(crate) unsafe fn from_raw(cache: *mut Cache) -> Option<CachePtr> {
        NonNull::new(cache.cast()).map(CachePtr)
    }

    pub(crate) fn as_ptr(self) -> *mut Cache {
        self.0.as_ptr().cast()
    }

    /// Makes a new record one of a cache that holds nothing.
    pub(crate) fn open(self) {
        for class in SizeClass::all() {
            self.reset(class);
            self.arm(class, NEVER);
        }
        let end = NOTHING.as_ptr_range().end.cast_mut();
        self.tops[0].store(end, Relaxed);
        self.limits[0].store(end, Relaxed);
    }

    /// Where the list of the class begins.
    fn start(self, class: SizeClass) -> *mut Slot {
        // SAFETY: in the record, by the table that it was sized with.
        unsafe { (&raw mut (*self.0.as_ptr()).slots[STARTS[class.index()]]).cast() }
    }

    fn slots(self, class: SizeClass, n: usize) -> &'static [Slot] {
        debug_assert!(n <= most(class.index()));
        // SAFETY: the list has so many slots, and records are never unmapped while they can be used.
        unsafe { std::slice::from_raw_parts(self.start(class), n) }
    }

    fn set_limit(self, class: SizeClass, n: usize) {
        // SAFETY: within the list, or one past it.
        let limit = unsafe { self.start(class).add(n) };
        self.limits[class.index()].store(limit, Relaxed);
    }

    /// How many blocks the list may hold now.
    fn limit(self, class: SizeClass) -> usize {
        (self.limits[class.index()].load(Relaxed).addr() - self.start(class).addr())
            / size_of::<Slot>()
    }

    /// The blocks of the list, the oldest first. If the cache is in use by another thread, each was in the list at some moment since this was called.
    pub(crate) fn blocks(self, class: SizeClass) -> &'static [Slot] {
        let top = self.tops[class.index()].load(Acquire).addr();
        self.slots(class, (top - self.start(class).addr()) / size_of::<Slot>())
    }

    /// Makes the first `n` slots, which hold blocks, the list.
    pub(crate) fn set_len(self, class: SizeClass, n: usize) {
        // SAFETY: within the list, or one past it.
        let top = unsafe { self.start(class).add(n) };
        // Who looks at another thread's list sees the blocks that are below.
        self.tops[class.index()].store(top, Release);
    }

    /// Slots to be filled of a list that is empty; the next time there will be more.
    pub(crate) fn room_to_fill(self, class: SizeClass) -> &'static [Slot] {
        let limit = self.limit(class);
        self.set_limit(class, (2 * limit).min(most(class.index())));
        self.slots(class, (limit / 2).max(1))
    }

    /// Blocks to be taken out of a full list, the oldest. None if it may grow instead, which it does then.
    pub(crate) fn surplus(self, class: SizeClass) -> &'static [Slot] {
        let limit = self.limit(class);
        let more = (2 * limit).min(FREED).min(most(class.index()));
        if more > limit {
            self.set_limit(class, more);
            return &[];
        }
        let blocks = self.blocks(class);
        &blocks[..blocks.len().div_ceil(2)]
    }

    /// Takes the `n` oldest blocks out of the list.
    pub(crate) fn remove_oldest(self, class: SizeClass, n: usize) {
        let blocks = self.blocks(class);
        copy_blocks(&blocks[n..], blocks);
        self.set_len(class, blocks.len() - n);
    }

    /// The list is empty, and small again.
    pub(crate) fn reset(self, class: SizeClass) {
        self.set_len(class, 0);
        self.set_limit(class, FIRST.min(most(class.index())));
    }

    /// The list is empty and stays so: every block is taken from what threads share, and freed to it. See [`hardened`](crate::hardened).
    pub(crate) fn close(self, class: SizeClass) {
        self.set_len(class, 0);
        self.set_limit(class, 0);
    }

    /// Whether the list is not closed. All of a cache are closed together.
    pub(crate) fn is_open(self, class: SizeClass) -> bool {
        self.limit(class) != 0
    }

    /// No list has a block.
    pub(crate) fn is_empty(self) -> bool {
        SizeClass::all().all(|class| self.blocks(class).is_empty())
    }

    /// A number that changes when the cache is used, but for one case in many.
    pub(crate) fn activity(self) -> u64 {
        SizeClass::all()
            .map(|class| {
                let top = self.tops[class.index()].load(Relaxed).addr() as u64;
                top.wrapping_sub(self.left[class.index()].load(Relaxed))
            })
            .fold(0, |sum, each| sum.wrapping_mul(31).wrapping_add(each))
    }
}
