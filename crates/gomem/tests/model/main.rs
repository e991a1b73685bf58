//! Random sequences of calls against the model, and a thread that lives on after freeing all it had.

mod model;

use gomem::Heap;
use gomem::testing::SimOs;
use model::{KINDS, MUTATORS, Op};
use proptest::prelude::*;

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1usize..200, 4 => 200usize..9000, 2 => 9000usize..40_000, 1 => 40_000usize..3_000_000]
}

fn op() -> impl Strategy<Value = Op> {
    let by = 0..MUTATORS;
    prop_oneof![
        12 => (by.clone(), size(), prop_oneof![8 => 0u32..5, 1 => 5u32..16])
            .prop_map(|(by, size, shift)| Op::Malloc { by, size, shift }),
        8 => (by.clone(), any::<usize>()).prop_map(|(by, which)| Op::Free { by, which }),
        1 => by.clone().prop_map(|by| Op::Restart { by }),
        10 => (by, size(), 0..KINDS.len()).prop_map(|(by, size, kind)| Op::Object { by, size, kind }),
        1 => (0u32..4).prop_map(|keep| Op::Collect { keep }),
        1 => Just(Op::SweepSome),
        1 => Just(Op::Scavenge),
        1 => (0u32..3, 1u32..3).prop_map(|(after, n)| Op::Refuse { after, n }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 48 }))]

    #[test]
    fn live_memory_is_disjoint_intact_and_found(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 60 } else { 400 }), frugal: bool) {
        model::run(ops, frugal);
    }
}

#[test]
fn empty_spans_go_back_while_the_thread_lives() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let count = if cfg!(miri) { 200 } else { 10_000 };
    let blocks: Vec<_> = (0..count)
        .map(|_| mutator.malloc(512, 8).unwrap())
        .collect();
    assert!(heap.stats().malloc_inuse >= count * 512);
    for block in blocks {
        // SAFETY: live, freed once.
        unsafe { mutator.free(block) };
    }
    heap.release_all();
    // Those of which the thread's cache has blocks: at most 64 KiB of them, which were freed one after the other.
    assert!(heap.stats().malloc_inuse <= (64 << 10) + 4 * gomem::PAGE_SIZE);
}
