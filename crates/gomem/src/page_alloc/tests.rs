//! The page allocator against a plain array of pages.

use super::*;
use proptest::prelude::*;
use std::alloc::{Layout, alloc_zeroed};

/// Two arenas that follow one another, a gap, and one more.
const ARENAS: [u32; 3] = [0, 1, 3];

fn leak_zeroed<T>() -> NonNull<T> {
    // SAFETY: the layout is not of size zero.
    NonNull::new(unsafe { alloc_zeroed(Layout::new::<T>()) })
        .unwrap()
        .cast()
}

fn three_arenas() -> PageAlloc {
    // SAFETY: zeroed, leaked, and known to nobody else.
    unsafe {
        let mut pages = PageAlloc::new(leak_zeroed());
        for number in ARENAS {
            pages.add_arena(number, leak_zeroed());
        }
        pages
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Page {
    Absent,
    Clean,
    Dirty,
    Used,
}

/// The reference: looks at every page.
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

    fn highest_dirty(&self) -> Option<usize> {
        self.0.iter().rposition(|&page| page == Page::Dirty)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Alloc(u32),
    Free(usize),
    Release(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![4 => 1u32..20, 2 => 1u32..1500, 1 => 4000u32..18000];
    prop_oneof![
        4 => size.prop_map(Op::Alloc),
        3 => any::<usize>().prop_map(Op::Free),
        1 => (1u32..300).prop_map(Op::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn agrees_with_the_plain_one(ops in prop::collection::vec(op(), 1..120)) {
        let mut pages = three_arenas();
        let mut plain = Plain::new();
        let mut live: Vec<(PageId, PageCount)> = Vec::new();
        for op in ops {
            match op {
                Op::Alloc(n) => {
                    let found = pages.find(PageCount(n));
                    prop_assert_eq!(found.map(|p| p.0 as usize), plain.find(n as usize));
                    if let Some(start) = found {
                        let clean = pages.take(start, PageCount(n));
                        let range = &mut plain.0[start.0 as usize..][..n as usize];
                        prop_assert_eq!(clean.0 as usize, range.iter().filter(|&&p| p == Page::Clean).count());
                        range.fill(Page::Used);
                        live.push((start, PageCount(n)));
                    }
                }
                Op::Free(which) if !live.is_empty() => {
                    let (start, n) = live.swap_remove(which % live.len());
                    pages.put(start, n, false);
                    plain.0[start.0 as usize..][..n.0 as usize].fill(Page::Dirty);
                }
                Op::Free(_) => {}
                Op::Release(most) => {
                    let found = pages.find_dirty(pages.end(), PageCount(most));
                    let last = found.map(|(start, n)| (start.0 + n.0 - 1) as usize);
                    prop_assert_eq!(last, plain.highest_dirty());
                    if let Some((start, n)) = found {
                        prop_assert!(n.0 <= most);
                        let range = &mut plain.0[start.0 as usize..][..n.0 as usize];
                        prop_assert!(range.iter().all(|&p| p == Page::Dirty));
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
        prop_assert_eq!(pages.find(PageCount(2 * ARENA_PAGES as u32)), Some(PageId(0)));
        prop_assert_eq!(pages.find(PageCount(2 * ARENA_PAGES as u32 + 1)), None);
    }
}

#[test]
fn runs_cross_arenas_but_not_gaps() {
    let mut pages = three_arenas();
    let arena = ARENA_PAGES as u32;
    let run = pages.find(PageCount(arena + 1)).unwrap();
    assert_eq!(run, PageId(0));
    pages.take(run, PageCount(arena + 1));
    assert_eq!(pages.find(PageCount(arena)), Some(PageId(3 * arena)));
    assert_eq!(pages.find(PageCount(arena + 1)), None);
    assert_eq!(pages.find(PageCount(1)), Some(PageId(arena + 1)));
}
