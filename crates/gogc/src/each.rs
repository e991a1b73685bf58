//! Words one by one, for those who do not need them in batches.

use crate::env::{RootKind, RootSink, WordSink};
use crate::word;

/// Has a function called with every word, and what else it stands for.
pub(crate) struct Each<F>(pub(crate) F);

/// The words at `base` whose bits are set.
///
/// # Safety
/// 1. As for [`WordSink::masked`].
unsafe fn masked(base: *const usize, mask: u64) -> impl Iterator<Item = usize> {
    let set = (0..64).filter(move |i| mask >> i & 1 == 1);
    // SAFETY: one of the words asked for, which are aligned and readable by the caller's obligations.
    set.map(move |i| unsafe { word::load(base.wrapping_add(i)) })
}

impl<F: FnMut(usize)> WordSink for Each<F> {
    #[inline]
    fn word(&mut self, word: usize) {
        (self.0)(word);
    }

    unsafe fn masked(&mut self, base: *const usize, mask: u64) {
        // SAFETY: the caller's obligations.
        unsafe { masked(base, mask) }.for_each(&mut self.0);
    }
}

impl<F: FnMut(usize)> RootSink for Each<F> {
    unsafe fn range(&mut self, kind: RootKind, start: *const usize, words: usize) {
        for i in 0..words {
            // SAFETY: within the range, which is aligned and readable by the caller's obligations.
            let word = unsafe { word::load(start.wrapping_add(i)) };
            (self.0)(word);
            kind.end_at(word).into_iter().for_each(&mut self.0);
        }
    }

    fn word(&mut self, _kind: RootKind, word: usize) {
        (self.0)(word);
    }
}
