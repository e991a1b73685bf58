//! Many threads on one heap: blocks freed by others, threads that come and go, collections in between. Every block carries a pattern.

use gomem::testing::SimOs;
use gomem::{CollectedKind, Heap, Mutator};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Mutex, RwLock};

/// xorshift64*: small, seeded, good enough to vary a test.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn size(&mut self) -> usize {
        match self.below(100) {
            0 => 40_000 + self.below(200_000),
            1..10 => 1000 + self.below(31_000),
            10..40 => 100 + self.below(900),
            _ => 8 + self.below(92),
        }
    }
}

/// Whether all bytes are `byte`. One comparison of memory, which an interpreter makes at once.
fn is_filled(bytes: &[u8], byte: u8) -> bool {
    bytes[0] == byte && bytes[1..] == bytes[..bytes.len() - 1]
}

/// A block with a pattern that follows from its address and size.
struct Patterned(NonNull<u8>, usize);

// SAFETY: a block may be used by whoever has it.
unsafe impl Send for Patterned {}

impl Patterned {
    fn byte(&self) -> u8 {
        (self.0.addr().get() >> 3) as u8 ^ self.1 as u8
    }

    fn new(mutator: &mut Mutator<'_, SimOs>, size: usize) -> Patterned {
        let block = Patterned(mutator.malloc(size, 8).unwrap(), size);
        // SAFETY: ours.
        unsafe { block.0.write_bytes(block.byte(), size) };
        block
    }

    fn free(self, mutator: &mut Mutator<'_, SimOs>) {
        // SAFETY: ours; freed once.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.0.as_ptr(), self.1);
            assert!(is_filled(bytes, self.byte()), "overwritten");
            mutator.free(self.0);
        }
    }
}

/// Runs its action when dropped, so that a failed assertion ends the test and does not leave other threads waiting.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Threads exchange blocks through shared slots; a thread's mutator ends now and then and another begins.
#[test]
fn blocks_are_freed_by_other_threads() {
    let (slots, lives, blocks) = if cfg!(miri) {
        (30, 3, 60)
    } else {
        (2000, 20, 5000)
    };
    let heap = Heap::new(SimOs::default());
    let slots: Vec<Mutex<Option<Patterned>>> = (0..slots).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (heap, slots) = (&heap, &slots);
            scope.spawn(move || {
                let mut random = Random(0x9e37_79b9 + thread);
                for _life in 0..lives {
                    let mut mutator = heap.mutator().unwrap();
                    for _ in 0..blocks {
                        let size = random.size();
                        let block = Patterned::new(&mut mutator, size);
                        let slot = &slots[random.below(slots.len())];
                        let old = slot.lock().unwrap().replace(block);
                        if let Some(old) = old {
                            old.free(&mut mutator);
                        }
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..30 {
                heap.scavenge(4 << 20);
                heap.stats();
                std::thread::yield_now();
            }
        });
    });
    let live = slots.iter().filter(|s| s.lock().unwrap().is_some()).count();
    let stats = heap.stats();
    assert_eq!(stats.mallocs, 4 * lives * blocks);
    assert_eq!(stats.mallocs - stats.frees, live as u64);
    let mut mutator = heap.mutator().unwrap();
    for slot in slots {
        if let Some(block) = slot.into_inner().unwrap() {
            block.free(&mut mutator);
        }
    }
    drop(mutator);
    heap.release_all();
    let stats = heap.stats();
    assert_eq!((stats.heap_inuse, stats.mallocs - stats.frees), (0, 0));
    assert_eq!(stats.heap_released, stats.heap_sys);
}

/// One thread allocates, another frees, both in step: memory must not grow with the number of blocks.
#[test]
fn a_producer_gets_its_blocks_back_from_a_consumer() {
    let blocks = if cfg!(miri) { 400 } else { 100_000 };
    let heap = Heap::new(SimOs::default());
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Patterned>(64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut mutator = heap.mutator().unwrap();
            for i in 0..blocks {
                let block = Patterned::new(&mut mutator, 64 + i % 3 * 64);
                sender.send(block).unwrap();
            }
            drop(sender);
        });
        scope.spawn(|| {
            let mut mutator = heap.mutator().unwrap();
            for block in receiver {
                block.free(&mut mutator);
            }
        });
    });
    // 3 classes, a queue of 64, spans of one page.
    let used = heap.stats().heap_sys - heap.stats().heap_released;
    assert!(used < 1 << 20, "{used} bytes touched");
}

/// Threads allocate objects and keep some; a collector stops them (they hold a read lock while they work), marks what is kept, and lets them sweep.
#[test]
fn objects_that_are_kept_survive_collections() {
    const KEPT: usize = if cfg!(miri) { 20 } else { 400 };
    const OBJECTS: usize = if cfg!(miri) { 150 } else { 60_000 };
    let heap = Heap::new(SimOs::default());
    // For each thread the objects that it keeps, with their sizes.
    let kept: Vec<Mutex<Vec<(usize, usize)>>> = (0..3).map(|_| Mutex::default()).collect();
    let world = RwLock::new(());
    let running = AtomicUsize::new(kept.len());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (thread, kept) in kept.iter().enumerate() {
            let (heap, world, running) = (&heap, &world, &running);
            scope.spawn(move || {
                let _end = AtEnd(|| {
                    running.fetch_sub(1, SeqCst);
                });
                // The beginning and the end of a mutator are parts of the world that a collection stops, too.
                let mut mutator = {
                    let _run = world.read().unwrap();
                    heap.mutator().unwrap()
                };
                let mut random = Random(77 + thread as u64);
                for i in 0..OBJECTS {
                    let _run = world.read().unwrap();
                    let size = random.size();
                    let kind = [CollectedKind::Scan, CollectedKind::NoScan][random.below(2)];
                    let object = mutator.alloc_collected(size, 8, kind).unwrap();
                    // SAFETY: a new object of that size, then one that is kept.
                    unsafe {
                        let bytes = std::slice::from_raw_parts_mut(object.as_ptr(), size);
                        assert!(
                            kind == CollectedKind::NoScan || is_filled(bytes, 0),
                            "not zeroed"
                        );
                        let addr = object.addr().get();
                        bytes.fill((addr >> 4) as u8 | 1);
                        let mut kept = kept.lock().unwrap();
                        if kept.len() < KEPT {
                            kept.push((addr, size));
                        } else if i % 5 == 0 {
                            let victim = random.below(KEPT);
                            let (addr, size) = std::mem::replace(&mut kept[victim], (addr, size));
                            let bytes = std::slice::from_raw_parts(addr as *const u8, size);
                            assert!(is_filled(bytes, (addr >> 4) as u8 | 1));
                        }
                    }
                }
                let _run = world.read().unwrap();
                drop(mutator);
            });
        }
        scope.spawn(|| {
            while !over.load(SeqCst) {
                heap.sweep_some(1 << 20);
                std::thread::yield_now();
            }
        });
        let end = AtEnd(|| over.store(true, SeqCst));
        let mut cycles = 0;
        while running.load(SeqCst) != 0 {
            while !heap.sweep_some(8 << 20).done {
                std::thread::yield_now();
            }
            let stopped = world.write().unwrap();
            let mut marked = 0;
            for (addr, size) in kept.iter().flat_map(|k| k.lock().unwrap().clone()) {
                let object = heap.find(addr + size - 1).unwrap();
                assert_eq!(object.base().addr().get(), addr);
                assert!(object.try_mark());
                marked += object.size();
            }
            // SAFETY: what is kept is marked. Other threads wait for the lock; one that sweeps finds nothing to do, as sweeping is done.
            assert_eq!(unsafe { heap.start_sweep() }, marked);
            drop(stopped);
            cycles += 1;
        }
        drop(end);
        assert!(cfg!(miri) || cycles >= 3, "{cycles} cycles");
    });
    // SAFETY: nothing is kept any more, and no thread is left.
    unsafe { heap.start_sweep() };
    heap.sweep_all();
    assert_eq!(heap.stats().heap_inuse, 0);
}
