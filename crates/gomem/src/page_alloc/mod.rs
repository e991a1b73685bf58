//! The page allocator: which pages are free, and the lowest run of `n` free ones.
//!
//! A bitmap with a radix tree of summaries over it, after Go's `mpagealloc.go`: five levels, each entry of which sums up sixteen of the
//! level below, from chunks of 4 MiB to 16 roots of 256 GiB. A search walks one node per level; neighbouring free runs are
//! one run by construction, so nothing has to be coalesced. Address-ordered first fit: it keeps the heap dense at low
//! addresses, and the high end free to be given back.
//!
//! Invariant: an entry's summary equals that of the bits below it. Go indexes the tree by address and reserves half a gigabyte for it; here
//! pages are numbered densely (see [`page`](crate::page)), so the upper levels are 2 MiB of address space, touched as used.

mod chunk;
mod summary;

use crate::page::{ARENA_PAGES, ARENA_PAGES_SHIFT, HUGE_PAGES, MAX_ARENAS, PageCount, PageId};
use chunk::{CHUNK_PAGES, Chunk};
use std::ops::{Range, RangeInclusive};
use std::ptr::NonNull;
use summary::Summary;

const FANOUT_SHIFT: u32 = 4;
const FANOUT: usize = 1 << FANOUT_SHIFT;
const CHUNK_SHIFT: u32 = CHUNK_PAGES.trailing_zeros();
const CHUNKS: usize = ARENA_PAGES / CHUNK_PAGES;
const _: () = assert!(CHUNKS == FANOUT);

/// log2 of the pages under an entry of each level above the chunks.
const SHIFTS: [u32; 4] = [
    ARENA_PAGES_SHIFT + 3 * FANOUT_SHIFT,
    ARENA_PAGES_SHIFT + 2 * FANOUT_SHIFT,
    ARENA_PAGES_SHIFT + FANOUT_SHIFT,
    ARENA_PAGES_SHIFT,
];

/// The leaves of one arena. All zero: nothing is free.
#[repr(C)]
pub(crate) struct ArenaPages {
    chunks: [Chunk; CHUNKS],
    summaries: [Summary; CHUNKS],
}

/// The levels above the arenas. All zero: no arenas.
#[repr(C)]
pub(crate) struct Tree {
    roots: [Summary; MAX_ARENAS >> (3 * FANOUT_SHIFT)],
    level1: [Summary; MAX_ARENAS >> (2 * FANOUT_SHIFT)],
    level2: [Summary; MAX_ARENAS >> FANOUT_SHIFT],
    arenas: [Summary; MAX_ARENAS],
    leaves: [Option<NonNull<ArenaPages>>; MAX_ARENAS],
}

impl Tree {
    fn level(&self, level: usize) -> &[Summary] {
        match level {
            0 => &self.roots,
            1 => &self.level1,
            2 => &self.level2,
            _ => &self.arenas,
        }
    }

    /// Brings the entries above the arenas `first..=last`, whose summaries have changed, up to date. A level that stays as it was is the
    /// last to be looked at: nothing above it can change. Most often that is the first.
    fn update(&mut self, first: usize, last: usize) {
        let at = |shift: u32| first >> shift..=last >> shift;
        let [level1, level2, arena] = [SHIFTS[1], SHIFTS[2], SHIFTS[3]].map(|shift| 1 << shift);
        let _ = sum_up(&self.arenas, &mut self.level2, at(FANOUT_SHIFT), arena)
            && sum_up(&self.level2, &mut self.level1, at(2 * FANOUT_SHIFT), level2)
            && sum_up(&self.level1, &mut self.roots, at(3 * FANOUT_SHIFT), level1);
    }
}

/// True if one of the sums changed.
fn sum_up(
    parts: &[Summary],
    wholes: &mut [Summary],
    which: RangeInclusive<usize>,
    pages: u32,
) -> bool {
    let mut changed = false;
    for i in which {
        changed |= wholes[i].set(Summary::of_parts(&parts[i * FANOUT..][..FANOUT], pages));
    }
    changed
}

/// Where the first long enough run of free pages among some neighbours is.
enum Search {
    /// It starts at this page.
    At(usize),
    /// Within what this entry sums up.
    Below(usize),
    Nowhere,
}

/// Searches entries of which the first is number `first` on its level.
fn search(entries: &[Summary], first: usize, shift: u32, wanted: u32) -> Search {
    // The free run that ends where the next entry starts.
    let (mut start, mut run) = (first << shift, 0);
    for (i, summary) in entries.iter().enumerate() {
        if run + summary.start >= wanted {
            return Search::At(start);
        }
        if summary.longest >= wanted {
            return Search::Below(first + i);
        }
        if summary.start >> shift != 0 {
            run += summary.start;
        } else {
            run = summary.end;
            start = ((first + i + 1) << shift) - run as usize;
        }
    }
    Search::Nowhere
}

/// Which pages of a block are meant, by their offsets: a few runs, ascending. What is too scattered is joined, so there may be others in between.
#[derive(Default)]
pub(crate) struct PageRuns {
    runs: [Range<u32>; 8],
    len: usize,
}

impl PageRuns {
    /// Adds pages behind those added before.
    fn add(&mut self, run: Range<u32>) {
        match self.runs[..self.len].last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            Some(last) if self.len == 8 => last.end = run.end,
            _ => {
                self.runs[self.len] = run;
                self.len += 1;
            }
        }
    }

    /// Keeps what lies in `pages`, counted from the first of these from now on.
    pub(crate) fn keep(&mut self, pages: Range<u32>) {
        for run in &mut self.runs[..self.len] {
            let inside = |page: u32| page.clamp(pages.start, pages.end) - pages.start;
            *run = inside(run.start)..inside(run.end);
        }
    }

    /// The runs, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u32>> {
        self.runs[..self.len].iter().cloned()
    }
}

/// The allocator. Its memory is lent to it for good.
pub(crate) struct PageAlloc {
    tree: NonNull<Tree>,
    /// One more than the highest arena.
    arenas: u32,
    /// No page below this one is free.
    lowest: PageId,
}

// SAFETY: `tree` and the leaves belong to this value alone.
unsafe impl Send for PageAlloc {}

impl PageAlloc {
    /// # Safety
    /// 1. `tree` is zeroed, lives as long as the value, and is used by nobody else.
    pub(crate) unsafe fn new(tree: NonNull<Tree>) -> PageAlloc {
        PageAlloc {
            tree,
            arenas: 0,
            lowest: PageId(u32::MAX),
        }
    }

    /// Takes in the arena `number`, whose pages are all free and clean.
    ///
    /// # Safety
    /// 1. `leaf` is zeroed, lives as long as the value, and is used by nobody else.
    pub(crate) unsafe fn add_arena(&mut self, number: u32, mut leaf: NonNull<ArenaPages>) {
        // SAFETY: (1).
        *unsafe { leaf.as_mut() } = ArenaPages {
            chunks: [Chunk::FRESH; CHUNKS],
            summaries: [Summary::all_free(CHUNK_PAGES as u32); CHUNKS],
        };
        let tree = self.tree_mut();
        tree.leaves[number as usize] = Some(leaf);
        tree.arenas[number as usize] = Summary::all_free(ARENA_PAGES as u32);
        tree.update(number as usize, number as usize);
        self.arenas = self.arenas.max(number + 1);
        self.lowest = self.lowest.min(PageId::of_arena(number));
    }

    fn tree(&self) -> &Tree {
        // SAFETY: obligation 1 of `new`.
        unsafe { self.tree.as_ref() }
    }

    fn tree_mut(&mut self) -> &mut Tree {
        // SAFETY: obligation 1 of `new`.
        unsafe { self.tree.as_mut() }
    }

    fn leaf(&self, arena: usize) -> Option<&ArenaPages> {
        // SAFETY: obligation 1 of `add_arena`; borrowed from `self`, as all access to it is.
        self.tree().leaves[arena].map(|leaf| unsafe { leaf.as_ref() })
    }

    fn leaf_mut(&mut self, arena: usize) -> &mut ArenaPages {
        let leaf = self.tree().leaves[arena];
        // SAFETY: as in `leaf`, and `self` is borrowed exclusively.
        unsafe { leaf.expect("a page of an unknown arena").as_mut() }
    }

    /// The lowest run of `pages` free pages.
    pub(crate) fn find(&self, pages: PageCount) -> Option<PageId> {
        let tree = self.tree();
        let mut below =
            (self.lowest.0 as usize >> SHIFTS[0]).min(tree.roots.len())..tree.roots.len();
        for (level, &shift) in SHIFTS.iter().enumerate() {
            let entries = &tree.level(level)[below.clone()];
            match search(entries, below.start, shift, pages.0) {
                Search::At(page) => return Some(PageId(page as u32)),
                Search::Below(entry) => below = entry * FANOUT..(entry + 1) * FANOUT,
                Search::Nowhere => return None,
            }
        }
        // The chunks of one arena.
        let leaf = self.leaf(below.start / CHUNKS)?;
        let page = match search(&leaf.summaries, below.start, CHUNK_SHIFT, pages.0) {
            Search::At(page) => page,
            Search::Below(chunk) => {
                (chunk << CHUNK_SHIFT) + leaf.chunks[chunk % CHUNKS].find(pages.0 as usize)?
            }
            Search::Nowhere => return None,
        };
        Some(PageId(page as u32))
    }

    /// Puts `pages` pages from `start` in use, which are free. Returns how many of them were clean.
    pub(crate) fn take(&mut self, start: PageId, pages: PageCount) -> PageCount {
        let mut clean = 0;
        self.for_each_chunk(start, pages, |chunk, range| clean += chunk.take(range));
        if start == self.lowest {
            self.lowest = start.plus(pages);
        }
        PageCount(clean)
    }

    /// Frees `pages` pages from `start`, which are in use; `clean` if their memory was given back.
    pub(crate) fn put(&mut self, start: PageId, pages: PageCount, clean: bool) {
        self.for_each_chunk(start, pages, |chunk, range| chunk.put(range, clean));
        self.lowest = self.lowest.min(start);
    }

    /// Whether `pages` pages from `start`, which may be any, are all free.
    pub(crate) fn is_free(&self, start: PageId, pages: PageCount) -> bool {
        if start.0 as usize + pages.0 as usize > self.end().0 as usize {
            return false;
        }
        self.parts(start, pages)
            .all(|(chunk, range)| chunk.is_some_and(|chunk| chunk.is_free(range)))
    }

    /// Notes which of `pages` pages from `start`, which are free, are not clean.
    pub(crate) fn note_dirty(&self, start: PageId, pages: PageCount, dirty: &mut PageRuns) {
        let mut done = 0;
        for (chunk, range) in self.parts(start, pages) {
            let (from, len) = (range.start, range.len());
            if let Some(chunk) = chunk {
                chunk.each_dirty_run(range, |run| {
                    let offset = |page: usize| (done + page - from) as u32;
                    dirty.add(offset(run.start)..offset(run.end));
                });
            }
            done += len;
        }
    }

    /// The chunks that the pages lie in, each with the range of its pages that is meant.
    fn parts(
        &self,
        start: PageId,
        pages: PageCount,
    ) -> impl Iterator<Item = (Option<&Chunk>, Range<usize>)> {
        let (first, end) = (start.0 as usize, (start.0 + pages.0) as usize);
        (first >> CHUNK_SHIFT..=(end - 1) >> CHUNK_SHIFT).map(move |number| {
            let base = number << CHUNK_SHIFT;
            let leaf = self.leaf(number / CHUNKS);
            let range = first.saturating_sub(base)..(end - base).min(CHUNK_PAGES);
            (leaf.map(|leaf| &leaf.chunks[number % CHUNKS]), range)
        })
    }

    fn for_each_chunk(
        &mut self,
        start: PageId,
        pages: PageCount,
        mut change: impl FnMut(&mut Chunk, Range<usize>),
    ) {
        let (first, end) = (start.0 as usize, (start.0 + pages.0) as usize);
        // The arenas whose summary is another now.
        let mut changed: Option<(usize, usize)> = None;
        for arena in first >> ARENA_PAGES_SHIFT..=(end - 1) >> ARENA_PAGES_SHIFT {
            let base = arena << ARENA_PAGES_SHIFT;
            let from = first.saturating_sub(base);
            let to = (end - base).min(ARENA_PAGES);
            let leaf = self.leaf_mut(arena);
            let mut leaf_changed = false;
            for i in from >> CHUNK_SHIFT..=(to - 1) >> CHUNK_SHIFT {
                let chunk_base = i << CHUNK_SHIFT;
                let range = from.saturating_sub(chunk_base)..(to - chunk_base).min(CHUNK_PAGES);
                change(&mut leaf.chunks[i], range);
                leaf_changed |= leaf.summaries[i].set(leaf.chunks[i].summary());
            }
            if leaf_changed {
                let summary = Summary::of_parts(&leaf.summaries, CHUNK_PAGES as u32);
                if self.tree_mut().arenas[arena].set(summary) {
                    changed = Some((changed.map_or(arena, |(first, _)| first), arena));
                }
            }
        }
        if let Some((first, last)) = changed {
            self.tree_mut().update(first, last);
        }
    }

    /// The page after the last.
    pub(crate) fn end(&self) -> PageId {
        PageId::of_arena(self.arenas)
    }

    /// The highest run of free pages below `limit` whose memory could be given back, at most `most` pages of it.
    pub(crate) fn find_dirty(&self, limit: PageId, most: PageCount) -> Option<(PageId, PageCount)> {
        let mut end = limit.0 as usize;
        while end > 0 {
            let arena = (end - 1) >> ARENA_PAGES_SHIFT;
            let base = arena << ARENA_PAGES_SHIFT;
            if self.tree().arenas[arena].longest != 0
                && let Some(leaf) = self.leaf(arena)
            {
                for i in (0..=(end - 1 - base) >> CHUNK_SHIFT).rev() {
                    let chunk_base = i << CHUNK_SHIFT;
                    let below = (end - base - chunk_base).min(CHUNK_PAGES);
                    if let Some(run) = leaf.chunks[i].find_dirty(below, most.0 as usize) {
                        let start = PageId((base + chunk_base + run.start) as u32);
                        return Some((start, PageCount(run.len() as u32)));
                    }
                }
            }
            end = base;
        }
        None
    }

    /// The highest huge page below `limit` that is free as a whole and part of whose memory could be given back.
    pub(crate) fn find_dirty_huge(&self, limit: PageId) -> Option<PageId> {
        let mut end = limit.0 as usize;
        while end > 0 {
            let arena = (end - 1) >> ARENA_PAGES_SHIFT;
            let base = arena << ARENA_PAGES_SHIFT;
            if self.tree().arenas[arena].longest as usize >= HUGE_PAGES
                && let Some(leaf) = self.leaf(arena)
            {
                for i in (0..=(end - 1 - base) >> CHUNK_SHIFT).rev() {
                    let chunk_base = base + (i << CHUNK_SHIFT);
                    let below = (end - chunk_base).min(CHUNK_PAGES);
                    if leaf.summaries[i].longest as usize >= HUGE_PAGES
                        && let Some(first) = leaf.chunks[i].find_dirty_huge(below)
                    {
                        return Some(PageId((chunk_base + first) as u32));
                    }
                }
            }
            end = base;
        }
        None
    }
}

#[cfg(any(test, fuzzing))]
pub mod model;
#[cfg(test)]
mod tests;
