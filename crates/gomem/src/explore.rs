//! The allocator's concurrent protocols under the schedule explorer: the lock, freeing from another thread while threads come and go, taking the caches of idle
//! threads, sweeping beside allocation, marking by span, and lookups beside new spans.
//!
//! Each model runs production code on a heap of its own, and has bugs planted that it must catch.

use crate::cache::CachePtr;
use crate::env::Os;
use crate::heap::Heap;
use crate::local::{Attachment, Local};
use crate::lock::Lock;
use crate::mutator::Mutator;
use crate::page::PAGE_SIZE;
use crate::size_class::SizeClass;
use crate::sort::{CollectedKind, Sort};
use crate::span::waiting::WaitingSpan;
use crate::testing::SimOs;
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant, Site, thread};
use std::ptr::NonNull;
use std::sync::Arc;

/// A size of which few blocks make a span.
const SIZE: usize = 2048;
/// Blocks in a malloc span of that size.
const BLOCKS: usize = 2 * PAGE_SIZE / SIZE;
/// Objects in a span.
const OBJECTS: usize = PAGE_SIZE / SIZE;

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
        self.got(mutator.malloc(SIZE, 8))
    }

    fn got(&self, block: Option<NonNull<u8>>) -> Block {
        let block = block.expect("memory for the model");
        let place = block.as_ptr().addr() / SIZE % self.in_use.len();
        // SAFETY: the block was handed out, so its place is ours: that is what is explored.
        let before = unsafe { self.in_use[place].with_mut(|used| std::mem::replace(used, true)) };
        assert!(!before, "a block was handed out twice");
        Block(block, place)
    }

    fn free<O: Os>(&self, mutator: &mut Mutator<'_, O>, block: Block) {
        self.gives(block);
        // SAFETY: the block is ours until it is freed.
        unsafe { mutator.free(block.0) };
    }

    fn gives(&self, block: Block) {
        // SAFETY: as in `got`.
        assert!(unsafe { self.in_use[block.1].with_mut(|used| std::mem::replace(used, false)) });
    }

    /// Nothing is in use any more, and no memory was lost.
    fn assert_empty(&self) {
        self.heap.drain_transfers(true);
        assert_eq!(self.heap.stats().malloc_inuse, 0, "a span was lost");
    }
}

/// One thread frees blocks that another has allocated, which goes on allocating, and then ends.
fn freed_by_another() {
    let shared = Shared::new();
    let mut mine = shared.heap.mutator().unwrap();
    let [kept, rest @ ..] = [(); 4].map(|()| shared.alloc(&mut mine));
    let theirs = shared.clone();
    let other = thread::spawn(move || {
        let mut mutator = theirs.heap.mutator().unwrap();
        for block in rest {
            theirs.free(&mut mutator, block);
        }
    });
    // More than were left, so these are fresh ones or those that came back.
    let more = [(); BLOCKS - 2].map(|()| shared.alloc(&mut mine));
    shared.free(&mut mine, kept);
    for block in more {
        shared.free(&mut mine, block);
    }
    drop(mine);
    other.join().unwrap();
    shared.assert_empty();
}

/// A thread ends while another frees blocks that it allocated, and a third allocates what both leave behind.
fn a_thread_ends() {
    let shared = Shared::new();
    let mut mine = shared.heap.mutator().unwrap();
    let [first, second, rest @ ..] = [(); BLOCKS].map(|()| shared.alloc(&mut mine));
    let theirs = shared.clone();
    let freeing = thread::spawn(move || {
        let mut mutator = theirs.heap.mutator().unwrap();
        theirs.free(&mut mutator, first);
        theirs.free(&mut mutator, second);
    });
    for block in rest {
        shared.free(&mut mine, block);
    }
    drop(mine);
    let mut next = shared.heap.mutator().unwrap();
    let blocks = [(); 3].map(|()| shared.alloc(&mut next));
    for block in blocks {
        shared.free(&mut next, block);
    }
    drop(next);
    freeing.join().unwrap();
    shared.assert_empty();
}

/// Blocks are put back into the spans while a thread allocates.
fn drained() {
    let shared = Shared::new();
    let mut mine = shared.heap.mutator().unwrap();
    let blocks = [(); 2].map(|()| shared.alloc(&mut mine));
    for block in blocks {
        shared.free(&mut mine, block);
    }
    drop(mine);
    let theirs = shared.clone();
    let other = thread::spawn(move || theirs.heap.drain_transfers(true));
    let mut mine = shared.heap.mutator().unwrap();
    let blocks = [(); 2].map(|()| shared.alloc(&mut mine));
    for block in blocks {
        shared.free(&mut mine, block);
    }
    drop(mine);
    other.join().unwrap();
    shared.assert_empty();
}

#[test]
fn explore_freeing_from_another_thread() {
    let exploration = Exploration::exhaustive().preemptions(1);
    let random = Exploration::random(1).executions(1500);
    for exploration in [&exploration, &random] {
        exploration.check("gomem: freed by another", freed_by_another);
        exploration.check("gomem: a thread ends", a_thread_ends);
        exploration.check("gomem: drained", drained);
    }
    let plants = || vec![Plant::named("a block is copied out of transfer and stays")];
    random.catches("gomem: freed by another", plants(), freed_by_another);
    random.catches("gomem: a thread ends", plants(), a_thread_ends);
}

/// A thread uses its cache while another takes it for idle and empties it. Invariant: no block is handed out twice, and none is lost.
fn an_idle_cache() {
    let shared = Shared::new();
    let cache = shared.heap.attach_cache().unwrap();
    let theirs = shared.clone();
    let other = thread::spawn(move || {
        let (heap, local) = (&theirs.heap, Local::new());
        local.attach(Attachment::Cache(cache));
        heap.set_local(cache, Some(&local));
        let class = SizeClass::of(SIZE);
        // What the process's heap does, with words that are not the thread's own.
        let at_length = |f: &dyn Fn(CachePtr) -> Option<NonNull<u8>>| {
            local.enter();
            let Attachment::Cache(cache) = heap.settled(&local) else {
                panic!("the cache is gone");
            };
            let block = f(cache);
            local.exit();
            block
        };
        let alloc = || {
            let block = local.with_cache(|cache| cache.pop(class));
            theirs.got(block.or_else(|| at_length(&|cache| heap.malloc_small(cache, class))))
        };
        let free = |block: Block| {
            theirs.gives(block);
            if !local.with_cache(|cache| cache.push(class.index(), block.0.as_ptr())) {
                at_length(&|cache| {
                    // SAFETY: the block is ours until it is freed.
                    unsafe { heap.free_slow(Some(cache), block.0) };
                    None
                });
            }
        };
        let (first, second) = (alloc(), alloc());
        free(first);
        let third = alloc();
        free(second);
        free(third);
        heap.set_local(cache, None);
        heap.detach_cache(cache);
    });
    let mut mine = shared.heap.mutator().unwrap();
    let lock = shared.heap.reclaiming.lock();
    shared.heap.empty_idle(cache);
    drop(lock);
    let block = shared.alloc(&mut mine);
    shared.free(&mut mine, block);
    drop(mine);
    other.join().unwrap();
    shared.assert_empty();
}

#[test]
fn explore_idle_caches() {
    let exploration = Exploration::exhaustive().preemptions(1);
    let random = Exploration::random(3).executions(1000);
    exploration.check("gomem: an idle cache", an_idle_cache);
    random.check("gomem: an idle cache", an_idle_cache);
    let plants = vec![Plant::named("a cache is emptied while it is in use")];
    random.catches("gomem: an idle cache", plants, an_idle_cache);
}

/// A thread takes a block from its cache, which another has just emptied. Invariant: it sees that the cache is empty.
fn an_emptied_cache() {
    let shared = Shared::new();
    let cache = shared.heap.attach_cache().unwrap();
    let class = SizeClass::of(SIZE);
    shared.got(shared.heap.malloc_small(cache, class));
    let local = Arc::new(Local::new());
    local.attach(Attachment::Cache(cache));
    shared.heap.set_local(cache, Some(&local));
    let theirs = shared.clone();
    let other = thread::spawn(move || {
        let mut mutator = theirs.heap.mutator().unwrap();
        let lock = theirs.heap.reclaiming.lock();
        theirs.heap.empty_idle(cache);
        drop(lock);
        theirs.alloc(&mut mutator);
    });
    if let Some(block) = local.with_cache(|cache| cache.pop(class)) {
        shared.got(Some(block));
    }
    other.join().unwrap();
}

#[test]
fn explore_emptied_caches() {
    let exploration = Exploration::exhaustive().preemptions(1).stale_reads(1);
    exploration.check("gomem: an emptied cache", an_emptied_cache);
    let file = "src/local.rs";
    let plants = vec![
        Plant::named("a cache is taken without a fence"),
        weaken(file, "self.cache.store(attachment.word(), Release)"),
        weaken(file, "f(unsafe { &*self.cache.load(Acquire) })"),
    ];
    exploration.catches("gomem: an emptied cache", plants, an_emptied_cache);
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
    let old = [(); OBJECTS].map(|()| new(&mut mine));
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

/// Two markers mark objects of one span, and scan it when it is up to them. Invariant: what is marked is claimed for scanning, once.
fn marking_by_span() {
    struct Marked {
        shared: Arc<Shared>,
        queue: Lock<Vec<WaitingSpan>>,
        claimed: Lock<Vec<usize>>,
    }
    fn claim_one(marked: &Marked) -> bool {
        let span = marked.queue.lock().pop();
        span.inspect(|span| {
            span.claim(|claimed| marked.claimed.lock().extend(claimed.addresses()));
        })
        .is_some()
    }
    fn mark(marked: &Marked, objects: &[usize]) {
        for &address in objects {
            let object = marked.shared.heap.find(address).unwrap();
            if object.try_mark()
                && let Some(span) = object.wait()
            {
                marked.queue.lock().push(span);
            }
            claim_one(marked);
        }
    }
    let shared = Shared::new();
    let mut mine = shared.heap.mutator().unwrap();
    let sort = Sort::new(SIZE, 1);
    let objects = [(); 3].map(|()| mine.alloc_sorted(sort).unwrap().as_ptr().addr());
    drop(mine);
    let marked = Arc::new(Marked {
        shared,
        queue: Lock::new(Vec::new()),
        claimed: Lock::new(Vec::new()),
    });
    let theirs = marked.clone();
    let other = thread::spawn(move || mark(&theirs, &[objects[0], objects[1]]));
    mark(&marked, &[objects[1], objects[2]]);
    other.join().unwrap();
    while claim_one(&marked) {}
    let mut claimed = marked.claimed.lock();
    claimed.sort_unstable();
    assert_eq!(
        *claimed, objects,
        "an object was forgotten, or scanned twice"
    );
}

#[test]
fn explore_marking_by_span() {
    let exploration = Exploration::exhaustive().preemptions(2).executions(4000);
    exploration.check("gomem: marking by span", marking_by_span);
    let random = Exploration::random(4).executions(500);
    random.check("gomem: marking by span", marking_by_span);
    let plants = vec![Plant::named(
        "a span is claimed before it is taken from the queue",
    )];
    exploration.catches("gomem: marking by span", plants, marking_by_span);
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
    let plants = vec![weaken("src/span_map.rs", "store(value, Release)")];
    exploration.catches(
        "gomem: lookup beside a new span",
        plants,
        lookup_beside_a_new_span,
    );
}
