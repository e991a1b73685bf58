//! The Rust heap as roots: all of it once, then what has been written since.
//!
//! ```text
//!   round 0       protect every page of a malloc span, then look at every block
//!   round 1 ..    the same, but look only at pages that were written since the last, or were of no malloc span then
//!   last stop     look at pages that were written since the last round, or were of no malloc span then
//! ```
//!
//! A page is *known* if it was protected, and its blocks looked at afterwards. Invariant: of a known page that is not among the written ones, every live block was
//! looked at as it is now. For either it was live when it was looked at, and has not been written since the page was protected, which was before; or it has
//! become live since, and whoever keeps a pointer in it has written it since. (A block in a thread's cache is passed over by notes that are made after the protection:
//! the same holds for it.)
//!
//! A page that is of no malloc span in a round is known no longer: it may be one again before the last stop, with other blocks.
//!
//! Where the system cannot tell which pages are written, none is known, and everything is looked at in the last stop.

use crate::atomic::{AtomicBool, AtomicU64, Ordering::*};
use crate::world::dirty::{PAGE, Reset, Tracker};
use crate::world::memory::Memory;
use gogc::Bytes;
use gomem::MallocShare;
use std::ops::Range;
use std::sync::Arc;

/// Address space whose pages are more than there are bits for: none is known then.
const MOST: usize = 1 << 40;

/// Runs that are closer together than this are asked for in one go: what lies between is of no interest, and costs less than another system call.
const NEAR: usize = 1 << 20;

/// Pages that follow one another, by their numbers: an address that is kept in the heap may be that of an object, and would keep it alive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    first: usize,
    end: usize,
}

impl Run {
    fn of(bytes: &Range<usize>) -> Run {
        Run {
            first: bytes.start / PAGE,
            end: bytes.end.div_ceil(PAGE),
        }
    }

    fn bytes(self) -> Range<usize> {
        self.first * PAGE..self.end * PAGE
    }
}

/// The state of tracking. Of the thread that collects.
pub(crate) struct RustHeap {
    tracker: Option<Tracker>,
    /// Pages of malloc spans, as of the last round: in order, none touching another.
    runs: Vec<Run>,
    pages: Arc<Pages>,
}

/// What is known of the pages of the heap. Shared with the markers, which only look.
pub(crate) struct Pages {
    /// The addresses that there are bits for.
    range: Range<usize>,
    known: Bits,
    written: Bits,
    /// Are pages that are not known to be looked at?
    ending: AtomicBool,
}

/// A bit for each page, in memory that is no root.
#[derive(Default)]
struct Bits(Memory);

impl Bits {
    fn words(&self) -> &[AtomicU64] {
        self.0.words()
    }

    fn clear(&self) {
        self.words().iter().for_each(|word| word.store(0, Relaxed));
    }

    fn get(&self, page: usize) -> bool {
        self.words()[page / 64].load(Relaxed) >> (page % 64) & 1 == 1
    }

    fn put(&self, pages: Range<usize>, value: bool) {
        let mut page = pages.start;
        while page < pages.end {
            let (word, bit) = (page / 64, page % 64);
            let n = (64 - bit).min(pages.end - page);
            let mask = u64::MAX >> (64 - n) << bit;
            // Only the thread that collects writes.
            let old = self.words()[word].load(Relaxed);
            let new = if value { old | mask } else { old & !mask };
            self.words()[word].store(new, Relaxed);
            page += n;
        }
    }
}

impl Pages {
    /// For no address at all: nothing is known.
    fn none() -> Pages {
        Pages {
            range: 0..0,
            known: Bits::default(),
            written: Bits::default(),
            ending: AtomicBool::new(false),
        }
    }

    /// For the addresses of the heap; `None` if there are too many, or is no memory.
    fn of(bounds: Range<usize>) -> Option<Pages> {
        let range = bounds.start & !(PAGE - 1)..bounds.end.next_multiple_of(PAGE);
        if range.len() > MOST {
            return None;
        }
        let bytes = (range.len() / PAGE).div_ceil(64) * 8;
        Some(Pages {
            known: Bits(Memory::new(bytes)?),
            written: Bits(Memory::new(bytes)?),
            ..Pages {
                range,
                ..Pages::none()
            }
        })
    }

    fn indices(&self, range: &Range<usize>) -> Range<usize> {
        let clamped = range.start.clamp(self.range.start, self.range.end)
            ..range.end.clamp(self.range.start, self.range.end);
        (clamped.start - self.range.start) / PAGE..(clamped.end - self.range.start).div_ceil(PAGE)
    }

    /// Is the page with this address to be looked at?
    fn wanted(&self, address: usize) -> bool {
        if !self.range.contains(&address) {
            return self.ending.load(Relaxed);
        }
        let page = (address - self.range.start) / PAGE;
        self.written.get(page) || self.ending.load(Relaxed) && !self.known.get(page)
    }

    /// Calls `visit` with the parts of `range` that are to be looked at.
    pub(crate) fn parts(&self, range: Range<usize>, mut visit: impl FnMut(Range<usize>)) {
        let mut from = range.start;
        let mut start = None;
        while from < range.end {
            let next = ((from & !(PAGE - 1)) + PAGE).min(range.end);
            match (self.wanted(from), start) {
                (true, None) => start = Some(from),
                (false, Some(begin)) => {
                    visit(begin..from);
                    start = None;
                }
                _ => {}
            }
            from = next;
        }
        if let Some(begin) = start {
            visit(begin..range.end);
        }
    }

    /// Is any page of `range` to be looked at?
    pub(crate) fn any(&self, range: &Range<usize>) -> bool {
        let first = range.start & !(PAGE - 1);
        (first..range.end)
            .step_by(PAGE)
            .any(|page| self.wanted(page))
    }
}

/// What of the Rust heap is to be looked at.
pub(crate) enum Part {
    /// All live blocks.
    All,
    /// Those on the pages that these say.
    Pages(Arc<Pages>),
}

impl RustHeap {
    /// Tracks writes if the system can and `wanted`.
    pub(crate) fn new(wanted: bool) -> RustHeap {
        RustHeap {
            tracker: wanted.then(Tracker::new).flatten(),
            runs: Vec::new(),
            pages: Arc::new(Pages::none()),
        }
    }

    /// Starts a round, beside the program. Returns what is to be looked at, and about how many bytes that is.
    pub(crate) fn round(&mut self, round: u32) -> (Part, Bytes) {
        if round == 0 {
            self.cover();
        }
        let Some(tracker) = &mut self.tracker else {
            let nothing = Part::Pages(Arc::new(Pages::none()));
            return if round == 0 {
                (Part::All, Bytes(u64::MAX))
            } else {
                (nothing, Bytes(0))
            };
        };
        let pages = &self.pages;
        pages.ending.store(false, Relaxed);
        pages.known.clear();
        pages.written.clear();
        malloc_runs(&mut self.runs);
        let mut amount = 0;
        for run in self.runs.iter().map(|run| run.bytes()) {
            let mut note = |written: Range<usize>| {
                amount += written.len() as u64;
                pages.written.put(pages.indices(&written), true);
            };
            let protected = tracker
                .written(run.clone(), Reset::Protect, &mut note)
                .or_else(|_| {
                    note(run.clone());
                    tracker.protect(run.clone())
                });
            pages.known.put(pages.indices(&run), protected.is_ok());
        }
        if round == 0 {
            (Part::All, Bytes(u64::MAX))
        } else {
            (Part::Pages(pages.clone()), Bytes(amount))
        }
    }

    /// What is to be looked at in the last stop.
    pub(crate) fn end(&mut self) -> Part {
        let Some(tracker) = &mut self.tracker else {
            return Part::All;
        };
        let pages = &self.pages;
        pages.written.clear();
        pages.ending.store(true, Relaxed);
        let mut at = 0;
        while at < self.runs.len() {
            let mut last = at;
            while let Some(next) = self.runs.get(last + 1)
                && (next.first - self.runs[last].end) * PAGE < NEAR
            {
                last += 1;
            }
            let near = &self.runs[at..=last];
            let all = near[0].bytes().start..near[near.len() - 1].bytes().end;
            let note = |written: Range<usize>| pages.written.put(pages.indices(&written), true);
            if tracker.written(all, Reset::Leave, note).is_err() {
                // Something between them is not watched, or some of them are not any more.
                for run in near.iter().map(|run| run.bytes()) {
                    if tracker.written(run.clone(), Reset::Leave, note).is_err() {
                        pages.known.put(pages.indices(&run), false);
                    }
                }
            }
            at = last + 1;
        }
        Part::Pages(pages.clone())
    }

    /// Marking is over: stores need not be noticed any more.
    pub(crate) fn release(&mut self) {
        if let Some(tracker) = &self.tracker {
            self.runs
                .iter()
                .for_each(|run| tracker.release(run.bytes()));
        }
        self.runs.clear();
    }

    /// Has bits for the heap as it is now. Where there are none, nothing is known.
    fn cover(&mut self) {
        let bounds = gomem::heap().bounds();
        if self.pages.range.start > bounds.start || self.pages.range.end < bounds.end {
            self.pages = Arc::new(Pages::of(bounds).unwrap_or_else(Pages::none));
        }
    }
}

/// Lists the pages of malloc spans, in order and joined.
fn malloc_runs(runs: &mut Vec<Run>) {
    runs.clear();
    for share in gomem::heap().malloc_spans() {
        MallocShare::for_each_span(&share, |span| runs.push(Run::of(&span)));
    }
    runs.sort_unstable();
    // A span may have been freed, and others made in its place, while they were listed.
    runs.dedup_by(|next, last| {
        let joined = next.first <= last.end;
        if joined {
            last.end = last.end.max(next.end);
        }
        joined
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pages: &Pages, range: Range<usize>) -> Vec<(usize, usize)> {
        let mut parts = Vec::new();
        pages.parts(range, |part| parts.push((part.start, part.end)));
        parts
    }

    #[test]
    fn only_written_pages_are_looked_at_and_in_the_end_unknown_ones_too() {
        let base = 1 << 30;
        let pages = Pages::of(base..base + 200 * PAGE).unwrap();
        let page = |n: usize| base + n * PAGE;
        pages.known.put(2..150, true);
        pages.written.put(60..70, true);
        pages.written.put(128..129, true);
        let (start, end) = (page(0) + 8, page(200) - 8);
        let written = [(page(60), page(70)), (page(128), page(129))];
        assert_eq!(parts(&pages, start..end), written);
        let (a, b) = (page(61) + 8, page(61) + 16);
        assert_eq!(parts(&pages, a..b), [(a, b)]);
        assert!(pages.any(&(page(59)..page(61))) && !pages.any(&(page(70)..page(128))));
        pages.ending.store(true, Relaxed);
        let [c, d] = written;
        let expected = [(start, page(2)), c, d, (page(150), end)];
        assert_eq!(parts(&pages, start..end), expected);
        assert!(pages.any(&(0..1)), "what there is no bit for is not known");
        pages.known.clear();
        assert_eq!(parts(&pages, start..end), [(start, end)]);
    }

    #[test]
    fn what_becomes_a_block_again_is_looked_at_in_the_end() {
        /// Not kept for the next of its size.
        const SIZE: usize = 3 << 20;
        let heap = gomem::heap();
        let block = || heap.malloc(SIZE, 8).expect("memory");
        let mut tracked = RustHeap::new(true);
        for _ in 0..1000 {
            let old = block();
            let at = old.as_ptr().addr();
            tracked.round(0);
            if !tracked
                .pages
                .known
                .get(tracked.pages.indices(&(at..at + 1)).start)
            {
                eprintln!("writes cannot be tracked here");
                return;
            }
            // SAFETY: allocated above.
            unsafe { heap.free(old) };
            tracked.round(1);
            let new = block();
            let is_there_again =
                new == old && !tracked.runs.iter().any(|run| run.bytes().contains(&at));
            // SAFETY: a block of this size.
            unsafe { new.cast::<usize>().write(1) };
            tracked.end();
            assert!(tracked.pages.wanted(at));
            tracked.release();
            // SAFETY: as above.
            unsafe { heap.free(new) };
            if is_there_again {
                return;
            }
        }
        panic!("no block was where one had been");
    }

    #[test]
    fn nothing_is_known_of_nothing() {
        let pages = Pages::none();
        assert_eq!(parts(&pages, 5000..50_000), []);
        pages.ending.store(true, Relaxed);
        assert_eq!(parts(&pages, 5000..50_000), [(5000, 50_000)]);
    }
}
