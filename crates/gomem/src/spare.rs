//! Large blocks that were freed a moment ago, kept as they are for the next of their size.
//!
//! A block of up to 1 MiB takes a number of pages in steps of an eighth, so that sizes repeat. Freed, its span goes into an empty slot of its size, and is
//! taken from there without a lock and without a change to the free pages. One that was wanted as zeros does not: the next that is wanted so could not take it, for it
//! would have to be cleared whole, where free pages may be clean.
//!
//! Invariant: a slot is null or has a span that is in no other slot and nobody's. Who puts a span in has it to himself, and turns null into it;
//! who takes one out turns it into null, so two cannot take the same. A slot has no history that matters: there is no ABA.
//! `bytes` is raised before a span goes in and lowered after one came out, so it is never less than what the slots hold.

use crate::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};
use crate::page::PageCount;
use crate::span::{Span, SpanPtr};
use std::ptr::null_mut;

/// The least and the most pages of a block that is kept.
const LEAST: u32 = 5;
const MOST: u32 = 128;
/// One for each number of pages up to 16, and eight for each doubling after that.
const SIZES: usize = 36;
const SLOTS: usize = 2;
/// Bytes kept at most. They are not given back before a helper, or who else gives memory back, has had its turn.
const BYTES_MAX: usize = 8 << 20;

/// How many pages a block of some number of pages takes.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    index: usize,
    pub(crate) pages: PageCount,
}

impl Size {
    /// `None` if such blocks are not kept.
    #[inline]
    pub(crate) fn of(pages: PageCount) -> Option<Size> {
        let n = pages.0;
        if !(LEAST..=MOST).contains(&n) {
            return None;
        }
        if n <= 16 {
            let index = (n - LEAST) as usize;
            return Some(Size { index, pages });
        }
        let shift = (n - 1).ilog2() - 3;
        let steps = n.div_ceil(1 << shift);
        Some(Size {
            index: (12 + (shift - 1) * 8 + steps - 9) as usize,
            pages: PageCount(steps << shift),
        })
    }
}

pub(crate) struct Spare {
    slots: [[AtomicPtr<Span>; SLOTS]; SIZES],
    bytes: AtomicUsize,
    taken: AtomicU64,
    taken_bytes: AtomicU64,
}

impl Spare {
    pub(crate) const fn new() -> Spare {
        Spare {
            slots: [const { [const { AtomicPtr::new(null_mut()) }; SLOTS] }; SIZES],
            bytes: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            taken_bytes: AtomicU64::new(0),
        }
    }

    /// Bytes of the spans that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// How many were taken, and of how many bytes together.
    pub(crate) fn taken(&self) -> (u64, u64) {
        (self.taken.load(Relaxed), self.taken_bytes.load(Relaxed))
    }

    /// Takes a span of that size.
    #[inline]
    pub(crate) fn take(&self, size: Size) -> Option<SpanPtr> {
        let span = self.slots[size.index]
            .iter()
            .find_map(|slot| self.empty(slot))?;
        self.taken.fetch_add(1, Relaxed);
        self.taken_bytes
            .fetch_add(size.pages.bytes() as u64, Relaxed);
        Some(span)
    }

    fn empty(&self, slot: &AtomicPtr<Span>) -> Option<SpanPtr> {
        if slot.load(Relaxed).is_null() {
            return None;
        }
        // SAFETY: a record or null.
        let span = unsafe { SpanPtr::from_raw(slot.swap(null_mut(), AcqRel)) }?;
        self.bytes.fetch_sub(span.pages().bytes(), Relaxed);
        Some(span)
    }

    /// Keeps the span, which has as many pages as its size says, unless there is no room: false.
    #[inline]
    pub(crate) fn put(&self, size: Size, span: SpanPtr) -> bool {
        let bytes = size.pages.bytes();
        let before = self.bytes.fetch_add(bytes, Relaxed);
        let kept = before + bytes <= BYTES_MAX
            && self.slots[size.index].iter().any(|slot| {
                slot.load(Relaxed).is_null()
                    && slot
                        .compare_exchange(null_mut(), span.as_ptr(), Release, Relaxed)
                        .is_ok()
            });
        if !kept {
            self.bytes.fetch_sub(bytes, Relaxed);
        }
        kept
    }

    /// Takes all spans out.
    pub(crate) fn drain(&self, mut each: impl FnMut(SpanPtr)) {
        if self.bytes() == 0 {
            return;
        }
        for slot in self.slots.iter().flatten() {
            if let Some(span) = self.empty(slot) {
                each(span);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::Heap;
    use crate::page::PAGE_SIZE;
    use crate::testing::SimOs;

    #[test]
    fn what_was_wanted_as_zeros_is_not_kept() {
        let heap = Heap::new(SimOs::default());
        let size = LEAST as usize * PAGE_SIZE;
        let cache = heap.attach_cache().unwrap();
        for zeroed in [true, false, true] {
            let block = match zeroed {
                true => heap.calloc_large(size, 8).unwrap(),
                false => heap.malloc_large(size, 8).unwrap(),
            };
            // SAFETY: live, freed once.
            unsafe { heap.free_block(cache, block) };
            let kept = if zeroed { 0 } else { size };
            assert_eq!(heap.spare.bytes(), kept);
            heap.free_spare();
        }
        // A block that was kept is kept again, and not what it was before.
        for _ in 0..2 {
            let block = heap.malloc_large(size, 8).unwrap();
            // SAFETY: live, freed once.
            unsafe { heap.free_block(cache, block) };
            assert_eq!(heap.spare.bytes(), size);
        }
        assert_eq!(heap.spare.taken().0, 1);
    }

    #[test]
    fn sizes_lose_less_than_an_eighth_and_have_slots_of_their_own() {
        let mut last = (usize::MAX, 0);
        for n in LEAST..=MOST {
            let size = Size::of(PageCount(n)).unwrap();
            assert!(
                size.pages.0 >= n && (size.pages.0 - n) * 8 < size.pages.0,
                "{n}"
            );
            let again = Size::of(size.pages).unwrap();
            assert_eq!((again.index, again.pages), (size.index, size.pages));
            if size.index != last.0 {
                assert_eq!(size.index, last.0.wrapping_add(1), "{n}");
                assert!(size.pages.0 > last.1);
            }
            last = (size.index, size.pages.0);
        }
        assert_eq!(last, (SIZES - 1, MOST));
        assert!(Size::of(PageCount(LEAST - 1)).is_none());
        assert!(Size::of(PageCount(MOST + 1)).is_none());
    }
}
