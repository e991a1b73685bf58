//! The allocator's concurrent protocols under the schedule explorer: the lock, freeing from another thread while owners come and go, sweeping beside
//! allocation, and lookups beside new spans.
//!
//! Each model runs production code on a heap of its own, and has bugs planted that it must catch.

use crate::env::Os;
use crate::heap::Heap;
use crate::lock::Lock;
use crate::mutator::Mutator;
use crate::object::CollectedKind;
use crate::page::PAGE_SIZE;
use crate::testing::SimOs;
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant, Site, thread};
use std::ptr::NonNull;
use std::sync::Arc;

/// A size of which few blocks make a span.
const SIZE: usize = 2048;
const BLOCKS: usize = PAGE_SIZE / SIZE;

fn site(file: &str, snippet: &str) -> Site {
    Site::find(env!("CARGO_MANIFEST_DIR"), file, snippet)
}

fn weaken(file: &str, snippet: &str) -> Plant {
    Plant::weaken(site(file, snippet))
}

/// Threads take the lock in turn. Invariant: one at a time, and each sees what the last one did.
fn lock() {
    let shared = Arc::new((Lock::new(()), Guarded::new(0)));
    let add = |shared: &(Lock<()>, Guarded<u32>)| {
        let _held = shared.0.lock();
        // SAFETY: the lock is held; whether that suffices is what is explored.
        unsafe { shared.1.with_mut(|n| *n += 1) };
    };
    let others = [(); 2].map(|()| {
        let shared = shared.clone();
        thread::spawn(move || add(&shared))
    });
    add(&shared);
    add(&shared);
    for other in others {
        other.join().unwrap();
    }
    // SAFETY: everybody else has ended.
    assert_eq!(unsafe { shared.1.with(|n| *n) }, 4);
}

#[test]
fn explore_the_lock() {
    let exploration = Exploration::exhaustive();
    exploration.check("gomem: the lock", lock);
    let file = "src/lock.rs";
    let plants = vec![
        weaken(file, "self.state.swap(CONTENDED, Acquire)"),
        weaken(file, "self.lock.state.swap(FREE, Release)"),
        Plant::remove(site(file, "futex_wake_one(&self.lock.state)")),
    ];
    exploration.catches("gomem: the lock", plants, lock);
}

/// A block with the number of the place that records whose it is.
#[derive(Clone, Copy)]
struct Block(NonNull<u8>, usize);

// SAFETY: a block belongs to whoever has the value.
unsafe impl Send for Block {}

/// A heap, and for each block of its first spans whether it is in use.
struct Shared {
    heap: Heap<SimOs>,
    in_use: [Guarded<bool>; 2 * BLOCKS],
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            heap: Heap::new(SimOs::default()),
            in_use: [const { Guarded::new(false) }; 2 * BLOCKS],
        })
    }

    fn alloc<O: Os>(&self, mutator: &mut Mutator<'_, O>) -> Block {
        let block = mutator.malloc(SIZE, 8).expect("memory for the model");
        let place = block.as_ptr().addr() / SIZE % self.in_use.len();
        // SAFETY: the block was handed out, so its place is ours: that is what is explored.
        let before = unsafe { self.in_use[place].with_mut(|used| std::mem::replace(used, true)) };
        assert!(!before, "a block was handed out twice");
        Block(block, place)
    }

    fn free<O: Os>(&self, mutator: &mut Mutator<'_, O>, block: Block) {
        // SAFETY: the block is ours until it is freed.
        unsafe {
            assert!(self.in_use[block.1].with_mut(|used| std::mem::replace(used, false)));
            mutator.free(block.0);
        }
    }

    /// Nothing is in use any more, and no memory was lost.
    fn assert_empty(&self) {
        self.heap.collect_ownerless();
        assert_eq!(self.heap.stats().malloc_inuse, 0, "a span was lost");
    }
}

/// One thread frees blocks of another one's span, which goes on allocating from it, and then ends.
fn freed_by_another() {
    let shared = Shared::new();
    let mut mine = shared.heap.mutator().unwrap();
    let all = [(); BLOCKS].map(|()| shared.alloc(&mut mine));
    let [kept, rest @ ..] = all;
    let theirs = shared.clone();
    let other = thread::spawn(move || {
        let mut mutator = theirs.heap.mutator().unwrap();
        for block in rest {
            theirs.free(&mut mutator, block);
        }
    });
    // The span is full or has got blocks back; either way these are two blocks that nobody has.
    let more = [(); 2].map(|()| shared.alloc(&mut mine));
    shared.free(&mut mine, kept);
    for block in more {
        shared.free(&mut mine, block);
    }
    drop(mine);
    other.join().unwrap();
    shared.assert_empty();
}

/// A thread ends while another frees blocks of two of its spans, and a third takes the spans over.
fn owner_ends() {
    let shared = Shared::new();
    let mut mine = shared.heap.mutator().unwrap();
    let [first, rest @ .., last] = [(); BLOCKS + 1].map(|()| shared.alloc(&mut mine));
    let theirs = shared.clone();
    let freeing = thread::spawn(move || {
        let mut mutator = theirs.heap.mutator().unwrap();
        theirs.free(&mut mutator, first);
        theirs.free(&mut mutator, last);
    });
    for block in rest {
        shared.free(&mut mine, block);
    }
    drop(mine);
    let mut next = shared.heap.mutator().unwrap();
    let block = shared.alloc(&mut next);
    shared.free(&mut next, block);
    drop(next);
    freeing.join().unwrap();
    shared.assert_empty();
}

#[test]
fn explore_freeing_from_another_thread() {
    let exploration = Exploration::exhaustive().preemptions(1);
    exploration.check("gomem: freed by another", freed_by_another);
    exploration.check("gomem: the owner ends", owner_ends);
    let random = Exploration::random(1).executions(1500);
    random.check("gomem: freed by another", freed_by_another);
    random.check("gomem: the owner ends", owner_ends);
    let (span, inbox) = ("src/span/mod.rs", "src/span/inbox.rs");
    let plants = vec![
        weaken(
            span,
            "self\n                .remote\n                .compare_exchange_weak(head, block, Release",
        ),
        weaken(span, "self.remote.swap(null_mut(), Acquire)"),
        Plant::named("a pusher that finds the list empty tells nobody"),
    ];
    random.catches("gomem: freed by another", plants, freed_by_another);
    let plants = vec![
        Plant::named("an owner that ends leaves its inbox open"),
        weaken(inbox, "self.head.swap(CLOSED, AcqRel)"),
    ];
    random.catches("gomem: the owner ends", plants, owner_ends);
}

/// Two threads take and free large blocks of one size, while a third gives up those that are kept. Invariant: a block is handed out once.
fn kept_for_the_next() {
    const LARGE: usize = 5 * PAGE_SIZE;
    let shared = Shared::new();
    let use_one = |shared: &Shared, mutator: &mut Mutator<'_, SimOs>| {
        let block = mutator.malloc(LARGE, 8).expect("memory for the model");
        let place = &shared.in_use[block.as_ptr().addr() / PAGE_SIZE % (2 * BLOCKS)];
        // SAFETY: the block was handed out, so its place is ours until it is freed: that is what is explored.
        unsafe {
            assert!(!place.with_mut(|used| std::mem::replace(used, true)));
            assert!(place.with_mut(|used| std::mem::replace(used, false)));
            mutator.free(block);
        }
    };
    let mut mine = shared.heap.mutator().unwrap();
    use_one(&shared, &mut mine);
    let theirs = shared.clone();
    let other = thread::spawn(move || {
        let mut mutator = theirs.heap.mutator().unwrap();
        use_one(&theirs, &mut mutator);
    });
    let third = shared.clone();
    let reclaiming = thread::spawn(move || third.heap.free_spare());
    use_one(&shared, &mut mine);
    drop(mine);
    other.join().unwrap();
    reclaiming.join().unwrap();
    shared.assert_empty();
    shared.heap.free_spare();
    assert_eq!(shared.heap.spare.bytes(), 0);
}

#[test]
fn explore_large_blocks_that_are_kept() {
    let exploration = Exploration::exhaustive().preemptions(1);
    exploration.check("gomem: kept for the next", kept_for_the_next);
    let random = Exploration::random(3).executions(1500);
    random.check("gomem: kept for the next", kept_for_the_next);
    let file = "src/spare.rs";
    let plants = vec![
        weaken(file, "slot.swap(null_mut(), AcqRel)"),
        weaken(
            file,
            ".compare_exchange(null_mut(), span.as_ptr(), Release, Relaxed)",
        ),
    ];
    random.catches("gomem: kept for the next", plants, kept_for_the_next);
}

/// A thread sweeps while another allocates from spans that are still to be swept. Invariant: no object that was marked is handed out, none twice,
/// and in the end everything is swept.
fn sweep_beside_allocation() {
    let shared = Shared::new();
    let mut mine = shared.heap.mutator().unwrap();
    let new = |mutator: &mut Mutator<'_, SimOs>| {
        let object = mutator.alloc_collected(SIZE, 8, CollectedKind::NoScan);
        object.expect("memory for the model").as_ptr().addr()
    };
    let old = [(); BLOCKS].map(|()| new(&mut mine));
    assert!(shared.heap.find(old[1]).unwrap().try_mark());
    // SAFETY: nobody else runs, and nothing but the marked object is reachable.
    unsafe { shared.heap.start_sweep() };
    let theirs = shared.clone();
    let other = thread::spawn(move || theirs.heap.sweep_all());
    let fresh = [(); 2].map(|()| new(&mut mine));
    other.join().unwrap();
    assert!(
        fresh[0] != fresh[1] && !fresh.contains(&old[1]),
        "an object was handed out twice"
    );
    assert!(
        shared.heap.find(old[1]).is_some(),
        "a marked object was freed"
    );
    assert!(shared.heap.is_swept());
}

#[test]
fn explore_sweeping_beside_allocation() {
    let exploration = Exploration::exhaustive().preemptions(1);
    exploration.check("gomem: sweep beside allocation", sweep_beside_allocation);
    let random = Exploration::random(2).executions(1500);
    random.check("gomem: sweep beside allocation", sweep_beside_allocation);
    let plants = vec![Plant::named("a span is swept by whoever comes by")];
    random.catches(
        "gomem: sweep beside allocation",
        plants,
        sweep_beside_allocation,
    );
}

/// A thread looks addresses up while the span that they lie in is made. Invariant: it finds nothing, or the object as it is; and never one in a slot that
/// is free.
fn lookup_beside_a_new_span() {
    let shared = Shared::new();
    let mut mine = shared.heap.mutator().unwrap();
    let new = |mutator: &mut Mutator<'_, SimOs>, size| {
        let object = mutator.alloc_collected(size, 8, CollectedKind::Scan);
        object.expect("memory for the model").as_ptr().addr()
    };
    // The next span will lie behind this one.
    let first = new(&mut mine, PAGE_SIZE);
    let address = first + PAGE_SIZE + SIZE + 5;
    let free = first + PAGE_SIZE + 3 * SIZE;
    let theirs = shared.clone();
    let other = thread::spawn(move || {
        assert!(
            theirs.heap.find(free).is_none(),
            "a free slot was taken for an object"
        );
        theirs.heap.find(address).map(|object| {
            let base = object.base().as_ptr().addr();
            (base, object.size(), object.kind() == CollectedKind::Scan)
        })
    });
    let objects = [(); 2].map(|()| new(&mut mine, SIZE));
    let found = other.join().unwrap();
    assert!(
        objects.contains(&(address - 5)),
        "the model's guess is wrong: {address:#x} {objects:x?}"
    );
    assert!(
        found.is_none_or(|found| found == (address - 5, SIZE, true)),
        "half of a span was seen: {found:x?}"
    );
}

#[test]
fn explore_lookups_beside_a_new_span() {
    let exploration = Exploration::exhaustive().preemptions(2).stale_reads(2);
    exploration.check("gomem: lookup beside a new span", lookup_beside_a_new_span);
    let plants = vec![weaken(
        "src/span_map.rs",
        "leaf.0[(addr >> PAGE_SHIFT) % ARENA_PAGES].store(value, Release)",
    )];
    exploration.catches(
        "gomem: lookup beside a new span",
        plants,
        lookup_beside_a_new_span,
    );
}
