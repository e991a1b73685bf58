//! Sequences of calls on a heap with several mutators, against a plain list of what should be live.

use gomem::testing::SimOs;
use gomem::{CollectedKind, Heap, Mutator};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ptr::NonNull;

#[derive(Clone, Debug)]
enum Op {
    Malloc {
        by: usize,
        size: usize,
        shift: u32,
    },
    Free {
        by: usize,
        which: usize,
    },
    /// Drop a mutator and make a new one.
    Restart {
        by: usize,
    },
    Object {
        by: usize,
        size: usize,
        kind: usize,
    },
    /// Collect, keeping those objects whose number has this bit set.
    Collect {
        keep: u32,
    },
    SweepSome,
    Scavenge,
    /// Refuse the system's next calls.
    Refuse {
        after: u32,
        n: u32,
    },
}

const MUTATORS: usize = 3;
const KINDS: [CollectedKind; 3] = [
    CollectedKind::Scan,
    CollectedKind::NoScan,
    CollectedKind::Finalizable,
];

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
        10 => (by, size(), 0usize..3).prop_map(|(by, size, kind)| Op::Object { by, size, kind }),
        1 => (0u32..4).prop_map(|keep| Op::Collect { keep }),
        1 => Just(Op::SweepSome),
        1 => Just(Op::Scavenge),
        1 => (0u32..3, 1u32..3).prop_map(|(after, n)| Op::Refuse { after, n }),
    ]
}

struct Live {
    size: usize,
    pattern: u8,
}

fn fill(block: NonNull<u8>, size: usize, pattern: u8) {
    // SAFETY: the block is ours and at least that long.
    unsafe { block.write_bytes(pattern, size) }
}

fn is_filled(block: NonNull<u8>, size: usize, pattern: u8) -> bool {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(block.as_ptr(), size) }
        .iter()
        .all(|&byte| byte == pattern)
}

/// A heap in use, and what should be in it.
struct Model<'h> {
    heap: &'h Heap<SimOs>,
    mutators: Vec<Mutator<'h, SimOs>>,
    blocks: BTreeMap<NonNull<u8>, Live>,
    objects: BTreeMap<NonNull<u8>, (Live, CollectedKind)>,
    serial: u8,
}

impl<'h> Model<'h> {
    fn new(heap: &'h Heap<SimOs>) -> Self {
        Model {
            heap,
            mutators: (0..MUTATORS).map(|_| heap.mutator().unwrap()).collect(),
            blocks: BTreeMap::new(),
            objects: BTreeMap::new(),
            serial: 0,
        }
    }

    fn run(&mut self, op: Op) -> Result<(), TestCaseError> {
        self.serial = self.serial.wrapping_add(1);
        let pattern = self.serial | 1;
        let heap = self.heap;
        match op {
            Op::Malloc { by, size, shift } => {
                if let Some(block) = self.mutators[by].malloc(size, 1 << shift) {
                    prop_assert_eq!(block.addr().get() % (1 << shift), 0);
                    prop_assert!(heap.owns(block.as_ptr()));
                    prop_assert!(heap.find(block.addr().get()).is_none());
                    fill(block, size, pattern);
                    let before = self.blocks.insert(block, Live { size, pattern });
                    prop_assert!(before.is_none(), "handed out twice");
                }
            }
            Op::Free { by, which } if !self.blocks.is_empty() => {
                let block = *self.blocks.keys().nth(which % self.blocks.len()).unwrap();
                let live = self.blocks.remove(&block).unwrap();
                prop_assert!(is_filled(block, live.size, live.pattern));
                // SAFETY: live until now.
                unsafe { self.mutators[by].free(block) };
            }
            Op::Free { .. } => {}
            Op::Restart { by } => {
                drop(self.mutators.swap_remove(by));
                self.mutators.push(heap.mutator().unwrap());
            }
            Op::Object { by, size, kind } => {
                let kind = KINDS[kind];
                if let Some(object) = self.mutators[by].alloc_collected(size, 8, kind) {
                    prop_assert!(is_filled(object, size, 0), "not zeroed");
                    prop_assert!(size % 16 != 0 || object.addr().get() % 16 == 0);
                    for offset in [0, size / 2, size - 1] {
                        let found = heap.find(object.addr().get() + offset).unwrap();
                        prop_assert_eq!(found.base(), object);
                        prop_assert_eq!(found.kind(), kind);
                        prop_assert!(found.size() >= size && !found.is_marked());
                    }
                    fill(object, size, pattern);
                    let before = self.objects.insert(object, (Live { size, pattern }, kind));
                    prop_assert!(before.is_none(), "handed out twice");
                }
            }
            Op::Collect { keep } => self.collect(keep)?,
            Op::SweepSome => {
                heap.sweep_some(100_000);
            }
            Op::Scavenge => {
                heap.scavenge(10 << 20);
            }
            Op::Refuse { after, n } => {
                heap.os().commit.set(after, n);
                heap.os().reserve.set(after, n);
                heap.os().release.set(after, n);
            }
        }
        Ok(())
    }

    fn collect(&mut self, keep: u32) -> Result<(), TestCaseError> {
        let heap = self.heap;
        heap.sweep_all();
        let mut marked = 0;
        let mut kept = BTreeMap::new();
        let mut finalizable = Vec::new();
        for (i, (object, live)) in std::mem::take(&mut self.objects).into_iter().enumerate() {
            let found = heap.find(object.addr().get() + live.0.size - 1).unwrap();
            if i as u32 >> keep & 1 == 1 {
                prop_assert!(found.try_mark() && !found.try_mark() && found.is_marked());
                marked += found.size();
                kept.insert(object, live);
            } else if live.1 == CollectedKind::Finalizable {
                finalizable.push(object);
            }
        }
        let mut unmarked = Vec::new();
        heap.for_each_unmarked_finalizable(|object| unmarked.push(object.base()));
        unmarked.sort();
        prop_assert_eq!(unmarked, finalizable);
        let mut seen = Vec::new();
        heap.for_each_marked(|object| seen.push(object.base()));
        seen.sort();
        prop_assert_eq!(seen, kept.keys().copied().collect::<Vec<_>>());
        // SAFETY: what is kept is marked; the only thread is here.
        prop_assert_eq!(unsafe { heap.start_sweep() }, marked);
        prop_assert_eq!(heap.collected_bytes(), marked);
        self.objects = kept;
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (&block, live) in &self.blocks {
            prop_assert!(is_filled(block, live.size, live.pattern));
        }
        for (&object, (live, _)) in &self.objects {
            prop_assert!(is_filled(object, live.size, live.pattern));
        }
        let mut ranges = Vec::new();
        // SAFETY: the only thread is here.
        unsafe { self.heap.for_each_malloc_block(|range| ranges.push(range)) };
        ranges.sort_by_key(|range| range.start);
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
        // Every live block lies in a range, and the ranges hold no more than the blocks take when rounded up.
        for (block, live) in &self.blocks {
            let addr = block.addr().get();
            let i = ranges.partition_point(|range| range.start <= addr);
            prop_assert!(i > 0 && addr + live.size <= ranges[i - 1].end);
        }
        let stats = self.heap.stats();
        prop_assert_eq!(stats.mallocs - stats.frees, self.blocks.len() as u64);
        let scanned: usize = ranges.iter().map(|range| range.len()).sum();
        let collected = self.heap.collected_bytes();
        prop_assert!(scanned <= stats.heap_alloc - collected);
        prop_assert!(stats.heap_inuse <= stats.heap_sys);
        prop_assert!(stats.heap_released <= stats.heap_idle);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn live_memory_is_disjoint_intact_and_found(ops in prop::collection::vec(op(), 1..400), frugal: bool) {
        let heap = Heap::new(if frugal { SimOs::with_limit(128 << 20) } else { SimOs::default() });
        let mut model = Model::new(&heap);
        for op in ops {
            model.run(op)?;
        }
        model.check()?;
        heap.os().commit.clear();
        heap.os().reserve.clear();
        heap.os().release.clear();
        // Everything goes; nothing may be left behind.
        model.collect(31)?;
        for block in std::mem::take(&mut model.blocks).into_keys() {
            // SAFETY: live until now.
            unsafe { model.mutators[0].free(block) };
        }
        model.check()?;
        drop(model);
        heap.sweep_all();
        heap.release_all();
        let stats = heap.stats();
        prop_assert_eq!(stats.heap_inuse, 0);
        prop_assert_eq!(stats.heap_released, stats.heap_sys);
        prop_assert_eq!(stats.mallocs, stats.frees);
    }
}

#[test]
fn empty_spans_go_back_while_the_thread_lives() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let blocks: Vec<_> = (0..10_000)
        .map(|_| mutator.malloc(512, 8).unwrap())
        .collect();
    assert!(heap.stats().malloc_inuse >= 10_000 * 512);
    for block in blocks {
        // SAFETY: live, freed once.
        unsafe { mutator.free(block) };
    }
    // The current one, and one that is kept.
    assert!(heap.stats().malloc_inuse <= 2 * gomem::PAGE_SIZE);
}
