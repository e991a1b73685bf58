//! From an address to its span: two array lookups and no lock.
//!
//! A root indexed by arena (2^21 entries for the 2^47 bytes of user address space: 16 MiB of address space, of which only the entries in use
//! take memory) points to leaves with one entry per page. Every page of a span in use has the span's record in its entry; all other entries are null.
//!
//! Invariant: roots, leaves and records are never unmapped, so a lookup is safe at any time, for any address. What it finds may be out of date
//! unless the caller knows that the span cannot go away: because it owns a block of it, or because the world is stopped.

use crate::atomic::{AtomicPtr, AtomicUsize, Ordering::*};
use crate::env::{Os, Refused};
use crate::meta::{Meta, Zeroed};
use crate::page::{ARENA_PAGES, ARENA_SHIFT, PAGE_SHIFT, PAGE_SIZE};
use crate::span::SpanPtr;
use std::ops::Range;
use std::ptr::{NonNull, null_mut};

const ROOT_ENTRIES: usize = 1 << (47 - ARENA_SHIFT);

struct Root([AtomicPtr<Leaf>; ROOT_ENTRIES]);
struct Leaf([AtomicPtr<crate::span::Span>; ARENA_PAGES]);

// SAFETY: atomics, for which zero is null.
unsafe impl Zeroed for Root {}
// SAFETY: as above.
unsafe impl Zeroed for Leaf {}

pub(crate) struct SpanMap {
    root: AtomicPtr<Root>,
    /// All arenas lie in `low..high`.
    low: AtomicUsize,
    high: AtomicUsize,
}

impl SpanMap {
    pub(crate) const fn new() -> SpanMap {
        SpanMap {
            root: AtomicPtr::new(null_mut()),
            low: AtomicUsize::new(usize::MAX),
            high: AtomicUsize::new(0),
        }
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

    /// The span that the address lies in.
    #[inline(always)]
    pub(crate) fn find(&self, addr: usize) -> Option<SpanPtr> {
        let leaf = self.leaf(addr)?;
        let span = leaf.0[(addr >> PAGE_SHIFT) % ARENA_PAGES].load(Acquire);
        // SAFETY: entries are null or point to span records.
        NonNull::new(span).map(|span| unsafe { SpanPtr::new(span) })
    }

    /// Asks the processor to fetch the entry for `addr`.
    #[inline]
    pub(crate) fn prefetch(&self, addr: usize) {
        if let Some(leaf) = self.leaf(addr) {
            let entry = &leaf.0[(addr >> PAGE_SHIFT) % ARENA_PAGES];
            // SAFETY: a hint.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>((&raw const *entry).cast());
            }
        }
    }

    /// Sets the entries of all pages of `bytes`, which lie in arenas of the heap.
    pub(crate) fn set(&self, bytes: Range<usize>, span: Option<SpanPtr>) {
        let value = span.map_or(null_mut(), SpanPtr::as_ptr);
        for addr in bytes.step_by(PAGE_SIZE) {
            if let Some(leaf) = self.leaf(addr) {
                leaf.0[(addr >> PAGE_SHIFT) % ARENA_PAGES].store(value, Release);
            }
        }
    }
}
