//! Sequences of calls on a heap with several mutators, against a plain list of what should be live.
//!
//! Tests and the fuzzer share it. What the heap and the list disagree about is a panic; so is a byte of a live block that
//! is not as it was written.

use gomem::testing::SimOs;
use gomem::{CollectedKind, Heap, Mutator, SMALL_MAX, Sort};
use std::collections::BTreeMap;
use std::ptr::NonNull;

/// A step of a run.
#[derive(Clone, Debug)]
pub enum Op {
    /// A block of `size` bytes, aligned to two to the power of `shift`.
    Malloc { by: usize, size: usize, shift: u32 },
    /// Free one of the live blocks: the number is reduced to how many there are.
    Free { by: usize, which: usize },
    /// Drop a mutator and make a new one.
    Restart { by: usize },
    /// A collected object.
    Object { by: usize, size: usize, kind: usize },
    /// Collect, keeping those objects whose number has this bit set.
    Collect { keep: u32 },
    /// Sweep a little.
    SweepSome,
    /// Give memory back.
    Scavenge,
    /// Refuse the system's next calls.
    Refuse { after: u32, n: u32 },
}

/// How many mutators there are.
pub const MUTATORS: usize = 3;
/// What an object may be.
pub const KINDS: [CollectedKind; 4] = [
    CollectedKind::Scan,
    CollectedKind::NoScan,
    CollectedKind::Finalizable,
    CollectedKind::Tagged,
];
/// How many tags objects of a sort have.
const TAGS: u8 = 5;

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
    let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), size) };
    // The rest is as its neighbours are: one comparison of memory, which an interpreter makes at once.
    bytes[0] == pattern && bytes[1..] == bytes[..size - 1]
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

    fn run(&mut self, op: Op) {
        self.serial = self.serial.wrapping_add(1);
        let pattern = self.serial | 1;
        let heap = self.heap;
        match op {
            Op::Malloc { by, size, shift } => {
                if let Some(block) = self.mutators[by].malloc(size, 1 << shift) {
                    assert_eq!(block.addr().get() % (1 << shift), 0);
                    assert!(heap.owns(block.as_ptr()));
                    assert!(heap.find(block.addr().get()).is_none());
                    fill(block, size, pattern);
                    let before = self.blocks.insert(block, Live { size, pattern });
                    assert!(before.is_none(), "handed out twice");
                }
            }
            Op::Free { by, which } if !self.blocks.is_empty() => {
                let block = *self.blocks.keys().nth(which % self.blocks.len()).unwrap();
                let live = self.blocks.remove(&block).unwrap();
                assert!(is_filled(block, live.size, live.pattern));
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
                let tag = u64::from(1 + pattern % TAGS);
                let mutator = &mut self.mutators[by];
                let object = if kind == CollectedKind::Tagged && size <= SMALL_MAX {
                    mutator.alloc_sorted(Sort::new(size, tag))
                } else {
                    mutator.alloc_collected(size, 8, kind)
                };
                if let Some(object) = object {
                    if matches!(kind, CollectedKind::Scan | CollectedKind::Finalizable) {
                        assert!(is_filled(object, size, 0), "not zeroed");
                    }
                    let of_sort = kind == CollectedKind::Tagged && size <= SMALL_MAX;
                    let found = heap.find(object.addr().get()).unwrap();
                    // Under an interpreter there are fewer sorts than sizes and tags; those that come late have the tag 0.
                    let is_late = found.tag() == 0 && cfg!(miri);
                    assert!(is_late || found.tag() == if of_sort { tag } else { 0 });
                    assert!(size % 16 != 0 || object.addr().get() % 16 == 0);
                    for offset in [0, size / 2, size - 1] {
                        let found = heap.find(object.addr().get() + offset).unwrap();
                        assert_eq!(found.base(), object);
                        assert_eq!(found.kind(), kind);
                        assert!(found.size() >= size && !found.is_marked());
                    }
                    fill(object, size, pattern);
                    let before = self.objects.insert(object, (Live { size, pattern }, kind));
                    assert!(before.is_none(), "handed out twice");
                }
            }
            Op::Collect { keep } => self.collect(keep),
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
    }

    fn collect(&mut self, keep: u32) {
        let heap = self.heap;
        heap.sweep_all();
        let mut marked = 0;
        let mut kept = BTreeMap::new();
        let mut finalizable = Vec::new();
        for (i, (object, live)) in std::mem::take(&mut self.objects).into_iter().enumerate() {
            let found = heap.find(object.addr().get() + live.0.size - 1).unwrap();
            if i as u32 >> keep & 1 == 1 {
                assert!(found.try_mark() && !found.try_mark() && found.is_marked());
                marked += found.size();
                kept.insert(object, live);
            } else if live.1 == CollectedKind::Finalizable {
                finalizable.push(object);
            }
        }
        let mut unmarked = Vec::new();
        heap.for_each_unmarked_finalizable(|object| unmarked.push(object.base()));
        unmarked.sort();
        // Others may be slots that a thread has taken in advance, which read as zero.
        unmarked.retain(|object| {
            let known = finalizable.contains(object);
            assert!(known || is_filled(*object, 16, 0));
            known
        });
        assert_eq!(unmarked, finalizable);
        let mut seen = Vec::new();
        heap.for_each_marked(|object| seen.push(object.base()));
        seen.sort();
        assert_eq!(seen, kept.keys().copied().collect::<Vec<_>>());
        // SAFETY: what is kept is marked; the only thread is here.
        assert_eq!(unsafe { heap.start_sweep() }, marked);
        assert_eq!(heap.collected_bytes(), marked);
        self.objects = kept;
    }

    fn check(&self) {
        for (&block, live) in &self.blocks {
            assert!(is_filled(block, live.size, live.pattern));
        }
        for (&object, (live, _)) in &self.objects {
            assert!(is_filled(object, live.size, live.pattern));
        }
        let mut ranges = Vec::new();
        self.heap.for_each_malloc_block(|range| ranges.push(range));
        ranges.sort_by_key(|range| range.start);
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
        // Every live block lies in a range, and the ranges hold no more than the blocks take when rounded up.
        for (block, live) in &self.blocks {
            let addr = block.addr().get();
            let i = ranges.partition_point(|range| range.start <= addr);
            assert!(i > 0 && addr + live.size <= ranges[i - 1].end);
            // It is found alone by the addresses in it.
            for inside in [addr, addr + live.size.clamp(1, 8192) - 1] {
                let found = self.heap.find_malloc_block(inside).unwrap();
                assert!(found.start <= addr && addr + live.size <= found.end);
                assert!(ranges[i - 1].start <= found.start && found.end <= ranges[i - 1].end);
            }
        }
        // Where there is no block, no address finds one.
        for pair in ranges.windows(2).filter(|pair| pair[0].end < pair[1].start) {
            assert_eq!(self.heap.find_malloc_block(pair[0].end), None);
        }
        let stats = self.heap.stats();
        assert_eq!(stats.mallocs - stats.frees, self.blocks.len() as u64);
        let scanned: usize = ranges.iter().map(|range| range.len()).sum();
        let collected = self.heap.collected_bytes();
        assert!(scanned <= stats.heap_alloc - collected);
        assert!(stats.heap_inuse <= stats.heap_sys);
        assert!(stats.heap_released <= stats.heap_idle);
    }
}

/// Does `ops` on a heap over a system that reserves little at a time if it is `frugal`. In the end everything is freed, and
/// nothing may be left behind.
pub fn run(ops: impl IntoIterator<Item = Op>, frugal: bool) {
    let os = if frugal {
        SimOs::with_limit(128 << 20)
    } else {
        SimOs::default()
    };
    let heap = Heap::new(os);
    let mut model = Model::new(&heap);
    for op in ops {
        model.run(op);
    }
    model.check();
    heap.os().commit.clear();
    heap.os().reserve.clear();
    heap.os().release.clear();
    model.collect(31);
    for block in std::mem::take(&mut model.blocks).into_keys() {
        // SAFETY: live until now.
        unsafe { model.mutators[0].free(block) };
    }
    model.check();
    drop(model);
    heap.sweep_all();
    heap.release_all();
    let stats = heap.stats();
    assert_eq!(stats.heap_inuse, 0);
    assert_eq!(stats.heap_released, stats.heap_sys);
    assert_eq!(stats.mallocs, stats.frees);
}
