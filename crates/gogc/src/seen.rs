//! Words on their way from where they were found to the test of their marks, in batches.
//!
//! What a word leads to (the heap's tables, the object's mark, the object) is rarely in the cache. So words are gathered first, those that cannot be pointers
//! being left out without a branch; then all that the batch needs is asked for at once, and the processor fetches it side by side (Cher, Hosking and Vitek,
//! *Software Prefetching for Mark-Sweep Garbage Collection*, ASPLOS 2004, do so with a queue; in a batch the loops are simpler, and gathering can be done by vector
//! instructions, [`gather`](crate::gather)).

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::gather::Gather;

/// Words in a batch. Twice what can be gathered at once, for a batch is worked off when there may not be room for more.
const WORDS: usize = 128;

/// The batch. Its words lie within the bounds of the heap, or are the address of its end, which may be that of the last object.
pub(crate) struct Seen {
    words: [MaybeUninit<usize>; WORDS],
    len: usize,
    low: usize,
    span: usize,
    gather: Gather,
}

impl Seen {
    /// An empty batch of words within `bounds`, the end included.
    pub(crate) fn new(bounds: Range<usize>) -> Seen {
        Seen {
            words: [const { MaybeUninit::uninit() }; WORDS],
            len: 0,
            low: bounds.start,
            span: bounds.end.saturating_add(1).saturating_sub(bounds.start),
            gather: Gather::best(),
        }
    }

    /// Whether what is found at once may not fit any more.
    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        self.len > WORDS - Gather::MOST
    }

    /// Puts a word in, if it lies within the bounds. There is room.
    #[inline(always)]
    pub(crate) fn put(&mut self, word: usize) {
        debug_assert!(!self.is_full());
        self.words[self.len % WORDS].write(word);
        self.len += usize::from(word.wrapping_sub(self.low) < self.span);
    }

    /// Puts those words in that lie within the bounds, of those at `base` whose bits are set in `mask`. There is room.
    ///
    /// # Safety
    /// 1. As for [`Gather::words`].
    #[inline(always)]
    pub(crate) unsafe fn put_masked(&mut self, base: *const usize, mask: u64) {
        debug_assert!(!self.is_full());
        // SAFETY: (1); there is room for as many words as can be gathered.
        unsafe {
            let to = self.words.as_mut_ptr().add(self.len).cast();
            self.len += self.gather.words(base, mask, self.low, self.span, to);
        }
    }

    /// The words.
    #[inline(always)]
    pub(crate) fn words(&self) -> &[usize] {
        // SAFETY: the first `len` words are initialised.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.len) }
    }

    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_and_in_bounds_is_there_in_order() {
        let mut seen = Seen::new(100..200);
        for word in [0, 100, 99, 150, 200, 201, usize::MAX] {
            seen.put(word);
        }
        assert_eq!(seen.words(), [100, 150, 200]);
        let more: Vec<usize> = (0..64).map(|n| n * 4).collect();
        // SAFETY: a live array of 64 words.
        unsafe { seen.put_masked(more.as_ptr(), u64::MAX) };
        let expected = [100, 150, 200].into_iter().chain((100..=200).step_by(4));
        assert_eq!(seen.words(), expected.collect::<Vec<_>>());
        seen.clear();
        assert!(seen.words().is_empty());
    }

    #[test]
    fn without_a_heap_nothing_is_a_pointer() {
        let mut seen = Seen::new(Range {
            start: usize::MAX,
            end: 0,
        });
        for word in [0, 1, usize::MAX, usize::MAX - 1] {
            seen.put(word);
        }
        assert!(seen.words().is_empty());
    }
}
