//! The leaf of the page allocator: which of 512 pages are free, and which of the free ones are clean.
//!
//! *Clean* pages have no physical memory: they were never touched, or were given back. So one bit answers two questions: does this page
//! read as zero, and is there nothing here to give back. Pages in use are never clean.

use super::summary::Summary;
use crate::page::HUGE_PAGES;
use std::ops::Range;

/// Pages in a chunk: 4 MiB of memory, as in Go.
pub(super) const CHUNK_PAGES: usize = 512;
const WORDS: usize = CHUNK_PAGES / 64;

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Chunk {
    free: [u64; WORDS],
    clean: [u64; WORDS],
}

/// The bits of word `word` that lie in `range`.
fn mask(word: usize, range: &Range<usize>) -> u64 {
    let low = range.start.saturating_sub(word * 64).min(64) as u32;
    let high = range.end.saturating_sub(word * 64).min(64) as u32;
    let below = |n: u32| if n == 64 { u64::MAX } else { (1 << n) - 1 };
    below(high) & !below(low)
}

fn words(range: &Range<usize>) -> Range<usize> {
    range.start / 64..range.end.div_ceil(64)
}

impl Chunk {
    pub(super) const FRESH: Chunk = Chunk {
        free: [u64::MAX; WORDS],
        clean: [u64::MAX; WORDS],
    };

    /// Puts the pages, which are free, in use. Returns how many of them were clean.
    pub(super) fn take(&mut self, range: Range<usize>) -> u32 {
        let mut clean = 0;
        for word in words(&range) {
            let mask = mask(word, &range);
            debug_assert_eq!(self.free[word] & mask, mask, "pages taken twice");
            self.free[word] &= !mask;
            clean += (self.clean[word] & mask).count_ones();
            self.clean[word] &= !mask;
        }
        clean
    }

    /// Frees the pages, which are in use.
    pub(super) fn put(&mut self, range: Range<usize>, clean: bool) {
        for word in words(&range) {
            let mask = mask(word, &range);
            debug_assert_eq!(self.free[word] & mask, 0, "pages freed twice");
            self.free[word] |= mask;
            if clean {
                self.clean[word] |= mask;
            }
        }
    }

    pub(super) fn is_free(&self, range: Range<usize>) -> bool {
        words(&range).all(|word| !self.free[word] & mask(word, &range) == 0)
    }

    /// Calls `visit` with the runs of free pages in the range that are not clean, ascending; each lies in one word.
    pub(super) fn each_dirty_run(&self, range: Range<usize>, mut visit: impl FnMut(Range<usize>)) {
        for word in words(&range) {
            let mut dirty = self.free[word] & !self.clean[word] & mask(word, &range);
            while dirty != 0 {
                let from = dirty.trailing_zeros();
                let len = (dirty >> from).trailing_ones();
                let start = word * 64 + from as usize;
                visit(start..start + len as usize);
                dirty &= !(u64::MAX >> (64 - len) << from);
            }
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let (mut longest, mut run, mut start) = (0, 0, None);
        // First the runs at the borders of words.
        for word in self.free {
            if word == u64::MAX {
                run += 64;
                continue;
            }
            let joined = run + word.trailing_ones();
            start.get_or_insert(joined);
            longest = longest.max(joined);
            run = word.leading_ones();
        }
        longest = longest.max(run);
        // Those inside of a word are at most 62 pages long, so there is seldom a need to look for them.
        for word in self.free {
            if longest >= 62 {
                break;
            }
            longest = longest_run(word, longest);
        }
        Summary {
            start: start.unwrap_or(run),
            longest,
            end: run,
        }
    }

    /// The first run of `pages` free pages.
    pub(super) fn find(&self, pages: usize) -> Option<usize> {
        let (mut start, mut run) = (0, 0);
        for (index, &word) in self.free.iter().enumerate() {
            let mut bit = 0;
            while bit < 64 {
                let rest = word >> bit;
                if rest & 1 == 0 {
                    run = 0;
                    bit += rest.trailing_zeros().min(64 - bit);
                    start = index * 64 + bit as usize;
                } else {
                    let ones = rest.trailing_ones();
                    run += ones as usize;
                    bit += ones;
                    if run >= pages {
                        return Some(start);
                    }
                }
            }
        }
        None
    }

    /// The highest run of free pages below `limit` that are not clean, at most `most` pages of it.
    pub(super) fn find_dirty(&self, limit: usize, most: usize) -> Option<Range<usize>> {
        let dirty =
            |page: usize| (self.free[page / 64] & !self.clean[page / 64]) >> (page % 64) & 1 == 1;
        let mut end = limit;
        while end > 0 && !dirty(end - 1) {
            let word = (end - 1) / 64;
            let below = mask(word, &(word * 64..end));
            end = match (self.free[word] & !self.clean[word] & below).checked_ilog2() {
                Some(bit) => word * 64 + bit as usize + 1,
                None => word * 64,
            };
        }
        let mut start = end;
        while start > 0 && end - start < most && dirty(start - 1) {
            start -= 1;
        }
        (start < end).then_some(start..end)
    }

    /// The first page of the highest huge page below `limit` that is free as a whole and not clean as a whole.
    pub(super) fn find_dirty_huge(&self, limit: usize) -> Option<usize> {
        const HUGE_WORDS: usize = HUGE_PAGES / 64;
        (0..limit / HUGE_PAGES).rev().find_map(|huge| {
            let words = huge * HUGE_WORDS..(huge + 1) * HUGE_WORDS;
            let is = |bits: &[u64; WORDS]| bits[words.clone()].iter().all(|&word| word == u64::MAX);
            (is(&self.free) && !is(&self.clean)).then_some(huge * HUGE_PAGES)
        })
    }
}

/// The longest run of ones in a word, or `known` if none is longer.
///
/// `w & w << n` shortens every run by `n`, as long as `n` is no more than one longer than what it was shortened by before.
fn longest_run(mut word: u64, known: u32) -> u32 {
    let (mut left, mut step) = (known, 1);
    while left > 0 {
        let by = step.min(left);
        word &= word << by;
        left -= by;
        step *= 2;
    }
    let mut longest = known;
    while word != 0 {
        word &= word << 1;
        longest += 1;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(mask(0, &(0..64)), u64::MAX);
        assert_eq!(mask(1, &(0..64)), 0);
        assert_eq!(mask(1, &(65..128)), !1);
        assert_eq!(mask(0, &(3..5)), 0b11000);
    }

    #[test]
    fn longest_runs() {
        for known in 0..64 {
            assert_eq!(longest_run(0, known), known);
            assert_eq!(longest_run(u64::MAX, known), 64);
            for len in 1..61 {
                let word = (u64::MAX >> (64 - len) << 1) | 0b11 << 62;
                assert_eq!(longest_run(word, known), known.max(len).max(2), "{word:b}");
            }
        }
    }

    #[test]
    fn runs_cross_words() {
        let mut chunk = Chunk::FRESH;
        assert_eq!(chunk.summary(), Summary::all_free(512));
        assert_eq!(chunk.take(0..60), 60);
        assert_eq!(chunk.find(100), Some(60));
        assert_eq!(chunk.take(160..512), 352);
        assert_eq!(
            chunk.summary(),
            Summary {
                start: 0,
                longest: 100,
                end: 0
            }
        );
        assert_eq!(chunk.find(100), Some(60));
        assert_eq!(chunk.find(101), None);
        chunk.put(510..512, false);
        assert_eq!(chunk.summary().end, 2);
        assert_eq!(chunk.find_dirty(512, 10), Some(510..512));
        assert_eq!(chunk.find_dirty(512, 1), Some(511..512));
        assert_eq!(chunk.find_dirty(511, 10), Some(510..511));
        assert_eq!(chunk.find_dirty(510, 10), None);
        assert_eq!(chunk.take(510..512), 0);
    }
}
