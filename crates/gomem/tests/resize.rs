//! Blocks that change their size, and blocks wanted as zeros: in place, copied, moved, and refused.

use gomem::testing::SimOs;
use gomem::{Heap, Mutator};
use proptest::prelude::*;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A block with a byte for each 512 of its own, which follows from `seed`.
struct Patterned {
    block: NonNull<u8>,
    size: usize,
    seed: u8,
}

const STRIDE: usize = 512;

impl Patterned {
    fn new(mutator: &mut Mutator<'_, SimOs>, size: usize, seed: u8) -> Option<Patterned> {
        let block = mutator.malloc(size, 8)?;
        let new = Patterned { block, size, seed };
        new.write(0);
        Some(new)
    }

    fn zeroed(mutator: &mut Mutator<'_, SimOs>, size: usize, seed: u8) -> Option<Patterned> {
        let block = mutator.calloc(size, 8)?;
        // SAFETY: ours.
        let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), size) };
        assert!(bytes.iter().all(|&byte| byte == 0), "not zero");
        let new = Patterned { block, size, seed };
        new.write(0);
        Some(new)
    }

    fn at(&self, offset: usize) -> u8 {
        (offset / STRIDE) as u8 ^ self.seed
    }

    fn write(&self, from: usize) {
        for offset in (from.next_multiple_of(STRIDE)..self.size).step_by(STRIDE) {
            // SAFETY: inside of the block, ours.
            unsafe { self.block.add(offset).write(self.at(offset)) };
        }
    }

    fn check(&self) {
        for offset in (0..self.size).step_by(STRIDE) {
            // SAFETY: inside of the block, ours and written.
            let byte = unsafe { self.block.add(offset).read() };
            assert_eq!(byte, self.at(offset), "at {offset} of {}", self.size);
        }
    }

    /// True if it was resized; unchanged otherwise.
    fn resize(&mut self, mutator: &mut Mutator<'_, SimOs>, size: usize) -> bool {
        // SAFETY: ours, allocated with that alignment.
        let Some(block) = (unsafe { mutator.realloc(self.block, size, 8) }) else {
            self.check();
            return false;
        };
        self.block = block;
        let before = std::mem::replace(&mut self.size, size);
        if size < before {
            self.check();
        } else {
            self.size = before;
            self.check();
            self.size = size;
            self.write(before);
        }
        true
    }

    fn free(self, mutator: &mut Mutator<'_, SimOs>) {
        self.check();
        // SAFETY: ours; freed once.
        unsafe { mutator.free(self.block) };
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    New(usize),
    Zeroed(usize),
    Resize(usize, usize),
    Free(usize),
    Release,
    RefuseMoves(u32, bool),
    RefuseRenewals(u32),
    RefuseMemory(u32),
}

fn size() -> impl Strategy<Value = usize> {
    let (middle, most) = if cfg!(miri) {
        (60 * KIB, 100 * KIB)
    } else {
        (3 * MIB, 24 * MIB)
    };
    prop_oneof![2 => 1..32 * KIB, 4 => 32 * KIB..middle, 1 => middle..most]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => size().prop_map(Op::New),
        2 => size().prop_map(Op::Zeroed),
        8 => (any::<usize>(), size()).prop_map(|(which, size)| Op::Resize(which, size)),
        2 => any::<usize>().prop_map(Op::Free),
        1 => Just(Op::Release),
        1 => (1u32..3, any::<bool>()).prop_map(|(n, lose)| Op::RefuseMoves(n, lose)),
        1 => (1u32..3).prop_map(Op::RefuseRenewals),
        1 => (1u32..3).prop_map(Op::RefuseMemory),
    ]
}

fn run(ops: &[Op]) {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let mut blocks: Vec<Patterned> = Vec::new();
    for (i, &op) in ops.iter().enumerate() {
        let os = heap.os();
        match op {
            Op::New(size) => blocks.extend(Patterned::new(&mut mutator, size, i as u8)),
            Op::Zeroed(size) => blocks.extend(Patterned::zeroed(&mut mutator, size, i as u8)),
            Op::Resize(which, size) if !blocks.is_empty() => {
                let which = which % blocks.len();
                blocks[which].resize(&mut mutator, size);
            }
            Op::Free(which) if !blocks.is_empty() => {
                blocks.swap_remove(which % blocks.len()).free(&mut mutator);
            }
            Op::Resize(..) | Op::Free(_) => {}
            Op::Release => {
                heap.release_all();
            }
            Op::RefuseMoves(n, lose) => {
                os.lose.store(lose, Relaxed);
                os.moves.set(0, n);
            }
            Op::RefuseRenewals(n) => os.renew.set(0, n),
            Op::RefuseMemory(n) => os.commit.set(0, n),
        }
    }
    for block in blocks {
        block.free(&mut mutator);
    }
    drop(mutator);
    // What lies between caches goes back to its spans.
    heap.release_all();
    let stats = heap.stats();
    assert_eq!(stats.heap_inuse, 0);
    assert_eq!(stats.mallocs, stats.frees);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 60 }))]

    #[test]
    fn contents_survive_whatever_happens(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 8 } else { 60 })) {
        run(&ops);
    }
}

#[test]
#[cfg_attr(miri, ignore = "megabytes take minutes")]
fn a_block_grows_in_place_into_free_pages() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let mut block = Patterned::new(&mut mutator, 40 * KIB, 1).unwrap();
    let start = block.block;
    for size in [50 * KIB, 100 * KIB, 400 * KIB] {
        assert!(block.resize(&mut mutator, size));
        assert_eq!(block.block, start, "{size}");
    }
    let neighbour = Patterned::new(&mut mutator, 40 * KIB, 2).unwrap();
    assert!(neighbour.block > start);
    assert!(block.resize(&mut mutator, 800 * KIB));
    assert_ne!(block.block, start, "its neighbour is in the way");
    let moved = block.block;
    assert!(block.resize(&mut mutator, 6 * MIB));
    assert_eq!(block.block, moved, "it was put where it can grow");
    neighbour.free(&mut mutator);
    block.free(&mut mutator);
}

#[test]
#[cfg_attr(miri, ignore = "megabytes take minutes")]
fn a_block_that_shrinks_gives_its_tail_back() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let mut block = Patterned::new(&mut mutator, 4 * MIB, 1).unwrap();
    let start = block.block;
    assert!(block.resize(&mut mutator, MIB));
    assert_eq!(block.block, start);
    assert_eq!(heap.stats().malloc_inuse, MIB);
    let next = Patterned::new(&mut mutator, 3 * MIB, 2).unwrap();
    assert_eq!(next.block.addr().get(), start.addr().get() + MIB);
    assert!(block.resize(&mut mutator, MIB - 1));
    assert_eq!(heap.stats().malloc_inuse, 4 * MIB, "not for so little");
    block.free(&mut mutator);
    next.free(&mut mutator);
}

#[test]
fn a_small_block_stays_while_it_is_half_full() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let mut block = Patterned::new(&mut mutator, 2000, 1).unwrap();
    let start = block.block;
    for size in [1500, 1024, 2040] {
        assert!(block.resize(&mut mutator, size));
        assert_eq!(block.block, start);
    }
    assert!(block.resize(&mut mutator, 100));
    assert_ne!(block.block, start);
    block.free(&mut mutator);
}

/// Blocks as large as it takes, one of which is in the way of the other. Miri would copy them byte by byte.
#[cfg(not(miri))]
mod moved {
    use super::*;

    fn in_the_way(heap: &Heap<SimOs>) -> (Mutator<'_, SimOs>, Patterned, Patterned) {
        let mut mutator = heap.mutator().unwrap();
        let block = Patterned::new(&mut mutator, 8 * MIB, 1).unwrap();
        let neighbour = Patterned::new(&mut mutator, 40 * KIB, 2).unwrap();
        (mutator, block, neighbour)
    }

    #[test]
    fn memory_is_moved_once_and_renewed_when_freed() {
        let heap = Heap::new(SimOs::default());
        let (mut mutator, mut block, neighbour) = in_the_way(&heap);
        assert!(block.resize(&mut mutator, 16 * MIB));
        assert_eq!(heap.os().moves.calls(), 1);
        let released = heap.stats().heap_released;
        // What it left behind is clean, and what it shrinks from is renewed.
        assert!(block.resize(&mut mutator, 4 * MIB));
        assert_eq!(heap.os().renew.calls(), 1);
        assert_eq!(heap.stats().heap_released, released + 12 * MIB);
        block.free(&mut mutator);
        assert_eq!(heap.os().renew.calls(), 2);
        neighbour.free(&mut mutator);
        let zeros = Patterned::zeroed(&mut mutator, 40 * MIB, 3).unwrap();
        zeros.free(&mut mutator);
    }

    #[test]
    fn what_cannot_be_moved_is_copied() {
        for lose in [false, true] {
            let heap = Heap::new(SimOs::default());
            let (mut mutator, mut block, neighbour) = in_the_way(&heap);
            heap.os().lose.store(lose, Relaxed);
            heap.os().moves.set(0, 1);
            assert!(block.resize(&mut mutator, 16 * MIB));
            assert_eq!((heap.os().moves.calls(), heap.os().renew.calls()), (1, 0));
            block.free(&mut mutator);
            neighbour.free(&mut mutator);
            assert_eq!(heap.stats().heap_inuse, 0);
        }
    }

    #[test]
    fn pages_that_cannot_be_renewed_are_never_used_again() {
        let heap = Heap::new(SimOs::default());
        let (mut mutator, mut block, neighbour) = in_the_way(&heap);
        assert!(block.resize(&mut mutator, 16 * MIB));
        heap.os().renew.set(0, 1);
        let lost = block.block.addr().get()..block.block.addr().get() + 16 * MIB;
        block.free(&mut mutator);
        neighbour.free(&mut mutator);
        for _ in 0..30 {
            let block = mutator.malloc(4 * MIB, 8).unwrap().addr().get();
            assert!(!lost.contains(&block) && !lost.contains(&(block + 4 * MIB - 1)));
        }
    }
}

#[test]
fn growth_is_refused_as_a_whole() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let mut block = Patterned::new(&mut mutator, 60 * KIB, 1).unwrap();
    heap.os().commit.set(0, 1000);
    heap.os().reserve.set(0, 1000);
    let in_use = heap.stats().heap_inuse;
    assert!(!block.resize(&mut mutator, 65 * MIB));
    assert!(!block.resize(&mut mutator, usize::MAX / 4));
    assert_eq!(heap.stats().heap_inuse, in_use);
    // With what there is it can still grow.
    assert!(block.resize(&mut mutator, MIB));
    heap.os().commit.clear();
    heap.os().reserve.clear();
    if !cfg!(miri) {
        assert!(block.resize(&mut mutator, 65 * MIB));
    }
    block.free(&mut mutator);
    assert_eq!(heap.stats().heap_inuse, 0);
}

#[test]
fn only_what_is_dirty_is_zeroed() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let size = if cfg!(miri) { 64 * KIB } else { 2 * MIB };
    // Dirty, clean, dirty, and a guess for what is more scattered.
    let blocks: Vec<_> = (0..40)
        .map(|i| Patterned::new(&mut mutator, size / 40, i).unwrap())
        .collect();
    let keep = mutator.malloc(size, 8).unwrap();
    for (i, block) in blocks.into_iter().enumerate() {
        block.free(&mut mutator);
        if i == 20 {
            heap.release_all();
        }
    }
    for size in [size / 3, size / 2, size * 2] {
        let zeroed = Patterned::zeroed(&mut mutator, size, 9).unwrap();
        zeroed.free(&mut mutator);
    }
    // SAFETY: ours.
    unsafe { mutator.free(keep) };
}

/// Where the system makes huge pages of any memory, only whole ones are given back, unless all is to be.
#[test]
#[cfg_attr(miri, ignore = "large")]
fn huge_pages_are_given_back_whole() {
    let heap = Heap::new(SimOs::default());
    heap.os().huge.store(true, Relaxed);
    let mut mutator = heap.mutator().unwrap();
    let blocks: Vec<_> = (0..16)
        .map(|i| Patterned::new(&mut mutator, MIB, i).unwrap())
        .collect();
    let mut kept = Vec::new();
    for (i, block) in blocks.into_iter().enumerate() {
        if i == 5 {
            kept.push(block);
        } else {
            block.free(&mut mutator);
        }
    }
    assert_eq!(heap.scavenge(usize::MAX), 14 * MIB);
    assert_eq!(heap.release_all(), MIB);
    kept.into_iter().for_each(|block| block.free(&mut mutator));
}
