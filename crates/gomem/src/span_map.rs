//! From an address to its span: two array lookups and no lock.
//!
//! A root indexed by arena (2^21 entries for the 2^47 bytes of user address space: 16 MiB of address space, of which only the entries in use
//! take memory) points to leaves with one entry per page. Every page of a span in use has the span's record in its entry; all other entries are null. User
//! addresses have 47 bits: an entry for a span of objects that is one page, as most are, has the span's kind and class above them, so that the collector comes from
//! an address to the object's bits without a look at the rest of the record.
//!
//! Beside it stands a table of a byte for each page of the first reservation: the size class, if the page is of a malloc span. It is all that `free` needs to
//! know in the usual case, and small enough to stay in the processor's cache, where records and leaves are not. (A table for all addresses would be
//! simpler, and is not to be had where address space is limited.)
//!
//! Invariant: roots, leaves and records are never unmapped, so a lookup is safe at any time, for any address. What it finds may be out of date
//! unless the caller knows that the span cannot go away: because it owns a block of it, or because the world is stopped. Who relies on nothing of the kind
//! looks at the record's kind first, which is stored last when a span is made.

use crate::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering::*};
use crate::env::{Os, Refused};
use crate::meta::{Meta, Zeroed};
use crate::page::{ARENA_PAGES, ARENA_SHIFT, PAGE_SHIFT, PAGE_SIZE, PageCount};
use crate::size_class::{CLASSES, SizeClass};
use crate::span::{Kind, Span, SpanPtr};
use std::ops::Range;
use std::ptr::{NonNull, null_mut};

const ROOT_ENTRIES: usize = 1 << (47 - ARENA_SHIFT);

struct Root([AtomicPtr<Leaf>; ROOT_ENTRIES]);
struct Leaf([AtomicPtr<Span>; ARENA_PAGES]);

// SAFETY: atomics, for which zero is null.
unsafe impl Zeroed for Root {}
// SAFETY: as above.
unsafe impl Zeroed for Leaf {}

/// What the map says of an address: a record, and for some what it says.
#[derive(Clone, Copy)]
pub(crate) struct Entry(NonNull<Span>);

impl Entry {
    /// Above the address of the record.
    const SHIFT: u32 = 48;
    const CLASS_BITS: u32 = 8;

    /// The entry for a span.
    fn of(span: SpanPtr) -> *mut Span {
        let (kind, class) = (span.kind(), span.class_index());
        let above = if kind.is_collected() && class != 0 && span.pages() == PageCount(1) {
            (kind as usize) << Entry::CLASS_BITS | class
        } else {
            0
        };
        span.as_ptr().map_addr(|addr| addr | above << Entry::SHIFT)
    }

    #[inline(always)]
    pub(crate) fn span(self) -> SpanPtr {
        let mask = (1 << Entry::SHIFT) - 1;
        let span = self.0.as_ptr().map_addr(|addr| addr & mask);
        // SAFETY: entries point to span records.
        unsafe { SpanPtr::new(NonNull::new_unchecked(span)) }
    }

    /// The kind and class of a span of objects that is one page; `None` says nothing.
    #[inline(always)]
    pub(crate) fn one_page(self) -> Option<(u8, SizeClass)> {
        let above = self.0.addr().get() >> Entry::SHIFT;
        let class = SizeClass::from_nonzero(above as u8)?;
        Some(((above >> Entry::CLASS_BITS) as u8, class))
    }
}

pub(crate) struct SpanMap {
    root: AtomicPtr<Root>,
    /// All arenas lie in `low..high`.
    low: AtomicUsize,
    high: AtomicUsize,
    classes: Classes,
}

/// The table of classes: `pages` bytes from `table`, for the pages from the address `base`. Zero stands for everything but malloc spans of small blocks.
struct Classes {
    base: AtomicUsize,
    table: AtomicPtr<AtomicU8>,
    /// Written last.
    pages: AtomicUsize,
}

impl SpanMap {
    pub(crate) const fn new() -> SpanMap {
        SpanMap {
            root: AtomicPtr::new(null_mut()),
            low: AtomicUsize::new(usize::MAX),
            high: AtomicUsize::new(0),
            classes: Classes {
                base: AtomicUsize::new(0),
                table: AtomicPtr::new(null_mut()),
                pages: AtomicUsize::new(0),
            },
        }
    }

    /// Makes a table of classes for `bytes` bytes from `base`, unless there is one already. Called under the heap's lock.
    ///
    /// Where that is refused, every `free` takes the longer way.
    pub(crate) fn add_classes(&self, base: usize, bytes: usize, meta: &mut Meta, os: &impl Os) {
        let (classes, pages) = (&self.classes, bytes >> PAGE_SHIFT);
        if classes.pages.load(Relaxed) == 0
            && let Ok(table) = meta.carve_slice::<AtomicU8>(pages, os)
        {
            classes.base.store(base, Relaxed);
            classes.table.store(table.as_ptr().cast(), Relaxed);
            classes.pages.store(pages, Release);
        }
    }

    /// The place in the table for the address.
    #[inline(always)]
    fn class_place(&self, addr: usize) -> Option<usize> {
        let pages = self.classes.pages.load(Acquire);
        let page = addr.wrapping_sub(self.classes.base.load(Relaxed)) >> PAGE_SHIFT;
        (page < pages).then_some(page)
    }

    /// # Safety
    /// 1. `place` is from [`class_place`](Self::class_place).
    #[inline(always)]
    unsafe fn class_entry(&self, place: usize) -> &AtomicU8 {
        // SAFETY: (1): the table has so many bytes, and is never unmapped.
        unsafe { &*self.classes.table.load(Relaxed).add(place) }
    }

    /// The index of the size class of the malloc block at the address. Zero says nothing.
    #[inline(always)]
    pub(crate) fn malloc_class(&self, addr: usize) -> usize {
        let Some(place) = self.class_place(addr) else {
            return 0;
        };
        // SAFETY: a place in the table.
        let class = unsafe { self.class_entry(place) }.load(Relaxed) as usize;
        // SAFETY: only indices of classes are written.
        unsafe { std::hint::assert_unchecked(class < CLASSES) };
        class
    }

    /// The addresses between which all arenas lie; empty before the first.
    #[inline]
    pub(crate) fn bounds(&self) -> Range<usize> {
        self.low.load(Relaxed)..self.high.load(Relaxed)
    }

    /// Makes room for the entries of the arena at `base`. Called under the heap's lock.
    pub(crate) fn add_arena(
        &self,
        base: usize,
        meta: &mut Meta,
        os: &impl Os,
    ) -> Result<(), Refused> {
        let mut root = self.root.load(Relaxed);
        if root.is_null() {
            root = meta.carve::<Root>(os)?.as_ptr();
            self.root.store(root, Release);
        }
        // SAFETY: not null, and roots are never unmapped.
        let entry = unsafe { (*root).0.get(base >> ARENA_SHIFT) }.ok_or(Refused)?;
        if entry.load(Relaxed).is_null() {
            entry.store(meta.carve::<Leaf>(os)?.as_ptr(), Release);
        }
        self.low.fetch_min(base, Release);
        self.high.fetch_max(base + (1 << ARENA_SHIFT), Release);
        Ok(())
    }

    #[inline(always)]
    fn leaf(&self, addr: usize) -> Option<&Leaf> {
        // Zero until there is a root; below it an address is in the range of the root's index.
        if addr >= self.high.load(Acquire) {
            return None;
        }
        // SAFETY: roots and leaves are never unmapped; the root was stored before `high` was raised.
        unsafe {
            let root = &*self.root.load(Relaxed);
            root.0
                .get_unchecked(addr >> ARENA_SHIFT)
                .load(Acquire)
                .as_ref()
        }
    }

    /// What is known of the address.
    #[inline(always)]
    pub(crate) fn entry(&self, addr: usize) -> Option<Entry> {
        let leaf = self.leaf(addr)?;
        NonNull::new(leaf.0[(addr >> PAGE_SHIFT) % ARENA_PAGES].load(Acquire)).map(Entry)
    }

    /// The span that the address lies in.
    #[inline(always)]
    pub(crate) fn find(&self, addr: usize) -> Option<SpanPtr> {
        self.entry(addr).map(Entry::span)
    }

    /// Asks the processor to fetch the record of the span that the address lies in.
    #[inline]
    pub(crate) fn prefetch_span(&self, addr: usize) {
        if let Some(span) = self.find(addr) {
            span.prefetch();
        }
    }

    /// Sets the entries of all pages of `bytes`, which lie in arenas of the heap.
    pub(crate) fn set(&self, bytes: Range<usize>, span: Option<SpanPtr>) {
        let value = span.map_or(null_mut(), Entry::of);
        let class = span
            .filter(|span| span.kind() == Kind::Malloc)
            .map_or(0, |span| span.class_index() as u8);
        for addr in bytes.step_by(PAGE_SIZE) {
            if let Some(place) = self.class_place(addr) {
                // SAFETY: a place in the table.
                unsafe { self.class_entry(place) }.store(class, Relaxed);
            }
            if let Some(leaf) = self.leaf(addr) {
                leaf.0[(addr >> PAGE_SHIFT) % ARENA_PAGES].store(value, Release);
            }
        }
    }
}
