//! The page allocator against a plain array of pages.

use super::model::{Arenas, Op, run};
use super::*;
use proptest::prelude::*;

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![4 => 1u32..20, 2 => 1u32..1500, 1 => 4000u32..18000];
    prop_oneof![
        4 => size.prop_map(Op::Alloc),
        3 => any::<usize>().prop_map(Op::Free),
        1 => (1u32..300).prop_map(Op::Release),
        1 => Just(Op::ReleaseHuge),
        2 => (any::<usize>(), 1u32..1200).prop_map(|(which, more)| Op::Grow(which, more)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 40 }))]

    #[test]
    fn agrees_with_the_plain_one(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 10 } else { 120 })) {
        run(&ops);
    }
}

#[test]
fn runs_cross_arenas_but_not_gaps() {
    let mut arenas = Arenas::new();
    let pages = &mut arenas.pages;
    let arena = ARENA_PAGES as u32;
    let run = pages.find(PageCount(arena + 1)).unwrap();
    assert_eq!(run, PageId(0));
    pages.take(run, PageCount(arena + 1));
    assert_eq!(pages.find(PageCount(arena)), Some(PageId(3 * arena)));
    assert_eq!(pages.find(PageCount(arena + 1)), None);
    assert_eq!(pages.find(PageCount(1)), Some(PageId(arena + 1)));
}
