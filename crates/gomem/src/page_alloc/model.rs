//! The reference for the page allocator: a plain array of pages, and a run of operations on both.
//!
//! Tests and the fuzzer share it. It looks at every page at every step, so that it can be read at a glance; whatever the
//! two disagree about is a panic.

use super::*;
use std::alloc::{Layout, alloc_zeroed, dealloc};

/// Two arenas that follow one another, a gap, and one more.
pub(super) const ARENAS: [u32; 3] = [0, 1, 3];

/// A step of a run.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Takes the lowest run of so many pages, if there is one.
    Alloc(u32),
    /// Takes so many pages behind one of the runs taken, if they are free; the number is as in `Free`.
    Grow(usize, u32),
    /// Gives the memory of the highest huge page back that is free and has some.
    ReleaseHuge,
    /// Frees one of the runs taken: the number is reduced to how many there are.
    Free(usize),
    /// Gives the memory of at most so many pages back.
    Release(u32),
}

/// A page allocator over [`ARENAS`], with the memory lent to it.
pub(super) struct Arenas {
    pub(super) pages: PageAlloc,
    lent: Vec<(NonNull<u8>, Layout)>,
}

impl Arenas {
    pub(super) fn new() -> Arenas {
        let mut lent = Vec::new();
        let tree = zeroed::<Tree>(&mut lent);
        // SAFETY: zeroed, kept until the value is dropped, and known to nobody else.
        let mut pages = unsafe { PageAlloc::new(tree) };
        for number in ARENAS {
            let leaf = zeroed::<ArenaPages>(&mut lent);
            // SAFETY: as above.
            unsafe { pages.add_arena(number, leaf) };
        }
        Arenas { pages, lent }
    }
}

impl Drop for Arenas {
    fn drop(&mut self) {
        for &(memory, layout) in &self.lent {
            // SAFETY: allocated by `zeroed` with this layout; the allocator that it was lent to is not used any more.
            unsafe { dealloc(memory.as_ptr(), layout) };
        }
    }
}

fn zeroed<T>(lent: &mut Vec<(NonNull<u8>, Layout)>) -> NonNull<T> {
    let layout = Layout::new::<T>();
    // SAFETY: the layout is not of size zero.
    let memory = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory for a test");
    lent.push((memory, layout));
    memory.cast()
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Page {
    Absent,
    Clean,
    Dirty,
    Used,
}

/// The reference.
struct Plain(Vec<Page>);

impl Plain {
    fn new() -> Plain {
        let mut pages = vec![Page::Absent; 4 * ARENA_PAGES];
        for arena in ARENAS {
            pages[arena as usize * ARENA_PAGES..][..ARENA_PAGES].fill(Page::Clean);
        }
        Plain(pages)
    }

    fn find(&self, wanted: usize) -> Option<usize> {
        let mut run = 0;
        for (i, page) in self.0.iter().enumerate() {
            run = if matches!(page, Page::Clean | Page::Dirty) {
                run + 1
            } else {
                0
            };
            if run == wanted {
                return Some(i + 1 - wanted);
            }
        }
        None
    }

    fn is_free(&self, start: PageId, n: u32) -> bool {
        let pages = self.0.get(start.0 as usize..(start.0 + n) as usize);
        pages.is_some_and(|pages| pages.iter().all(|p| matches!(p, Page::Clean | Page::Dirty)))
    }

    /// What is noted as dirty must be at least what is, and exactly that if it is in few pieces.
    fn compare_dirty(&self, pages: &PageAlloc, start: PageId, n: u32) {
        let mut noted = PageRuns::default();
        pages.note_dirty(start, PageCount(n), &mut noted);
        let mut is_noted = vec![false; n as usize];
        for run in noted.iter() {
            is_noted[run.start as usize..run.end as usize].fill(true);
        }
        let dirty: Vec<bool> = self.0[start.0 as usize..][..n as usize]
            .iter()
            .map(|&page| page == Page::Dirty)
            .collect();
        if noted.iter().count() < 8 {
            assert_eq!(is_noted, dirty);
        }
        assert!(
            is_noted
                .iter()
                .zip(&dirty)
                .all(|(&noted, &dirty)| noted || !dirty)
        );
    }

    fn highest_huge(&self) -> Option<usize> {
        let huge = self.0.chunks(HUGE_PAGES).rposition(|pages| {
            let free = pages.iter().all(|p| matches!(p, Page::Clean | Page::Dirty));
            free && pages.contains(&Page::Dirty)
        });
        huge.map(|number| number * HUGE_PAGES)
    }

    fn highest_dirty(&self) -> Option<usize> {
        self.0.iter().rposition(|&page| page == Page::Dirty)
    }
}

/// Does `ops` on both, and panics where they disagree. In the end everything is freed, and must be one run again.
pub fn run(ops: &[Op]) {
    let mut arenas = Arenas::new();
    let pages = &mut arenas.pages;
    let mut plain = Plain::new();
    let mut live: Vec<(PageId, PageCount)> = Vec::new();
    for &op in ops {
        match op {
            Op::Alloc(n) => {
                let found = pages.find(PageCount(n));
                assert_eq!(found.map(|p| p.0 as usize), plain.find(n as usize));
                if let Some(start) = found {
                    plain.compare_dirty(pages, start, n);
                    let clean = pages.take(start, PageCount(n));
                    let range = &mut plain.0[start.0 as usize..][..n as usize];
                    let plain_clean = range.iter().filter(|&&p| p == Page::Clean).count();
                    assert_eq!(clean.0 as usize, plain_clean);
                    range.fill(Page::Used);
                    live.push((start, PageCount(n)));
                }
            }
            Op::Free(which) if !live.is_empty() => {
                let (start, n) = live.swap_remove(which % live.len());
                pages.put(start, n, false);
                plain.0[start.0 as usize..][..n.0 as usize].fill(Page::Dirty);
            }
            Op::Grow(which, more) if !live.is_empty() => {
                let which = which % live.len();
                let (start, n) = live[which];
                let end = start.plus(n);
                let free = pages.is_free(end, PageCount(more));
                assert_eq!(free, plain.is_free(end, more));
                if free {
                    plain.compare_dirty(pages, end, more);
                    pages.take(end, PageCount(more));
                    plain.0[end.0 as usize..][..more as usize].fill(Page::Used);
                    live[which].1 = PageCount(n.0 + more);
                }
            }
            Op::Free(_) | Op::Grow(..) => {}
            Op::ReleaseHuge => {
                let found = pages.find_dirty_huge(pages.end());
                assert_eq!(found.map(|start| start.0 as usize), plain.highest_huge());
                if let Some(start) = found {
                    let n = PageCount(HUGE_PAGES as u32);
                    pages.take(start, n);
                    pages.put(start, n, true);
                    plain.0[start.0 as usize..][..HUGE_PAGES].fill(Page::Clean);
                }
            }
            Op::Release(most) => {
                let found = pages.find_dirty(pages.end(), PageCount(most));
                let last = found.map(|(start, n)| (start.0 + n.0 - 1) as usize);
                assert_eq!(last, plain.highest_dirty());
                if let Some((start, n)) = found {
                    assert!(n.0 <= most);
                    let range = &mut plain.0[start.0 as usize..][..n.0 as usize];
                    assert!(range.iter().all(|&p| p == Page::Dirty));
                    range.fill(Page::Clean);
                    pages.take(start, n);
                    pages.put(start, n, true);
                }
            }
        }
    }
    for (start, n) in live {
        pages.put(start, n, false);
    }
    let most = 2 * ARENA_PAGES as u32;
    assert_eq!(pages.find(PageCount(most)), Some(PageId(0)));
    assert_eq!(pages.find(PageCount(most + 1)), None);
}
