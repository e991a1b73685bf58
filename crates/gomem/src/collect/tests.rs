//! Objects and their sweep on a simulated system.

use super::*;
use crate::testing::SimOs;

/// What is allocated while marking goes on is kept by the sweep that follows, and so is nothing else: neither what was allocated before, nor slots that a thread had taken
/// in advance.
#[test]
fn what_is_born_black_is_kept() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let sort = Sort::new(48, 5);
    let mut new = |large: bool| {
        let object = if large {
            mutator.alloc_collected(100_000, 8, CollectedKind::Scan)
        } else {
            mutator.alloc_sorted(sort)
        };
        object.unwrap().addr().get()
    };
    let white = [new(false), new(true)];
    // SAFETY: no other thread uses the heap, and all of it is swept.
    unsafe { heap.start_mark() };
    let black: Vec<usize> = (0..300).map(|n| new(n % 100 == 0)).collect();
    for &object in &black {
        let object = heap.find(object).unwrap();
        assert!(
            object.is_marked() && !object.claim(),
            "not born marked, or still to be scanned"
        );
    }
    // SAFETY: as above; nothing white is used any more.
    let marked = unsafe { heap.start_sweep() };
    heap.sweep_all();
    let size = |&object: &usize| heap.find(object).unwrap().size();
    assert_eq!(marked, black.iter().map(size).sum::<usize>());
    assert!(white.iter().all(|&object| heap.find(object).is_none()));
    // SAFETY: nothing is used any more.
    assert_eq!(unsafe { heap.start_sweep() }, 0, "a mark was left");
}

/// Where the memory of dead objects is overwritten, so is what pages were before they became a span.
#[test]
fn a_new_span_is_clobbered_too() {
    let heap = Heap::new(SimOs::default());
    heap.clobber_free(true);
    let mut mutator = heap.mutator().unwrap();
    let bytes = 1 << 20;
    let before = mutator.malloc(bytes, 8).unwrap();
    // SAFETY: a block of this size, given back once.
    unsafe {
        before.write_bytes(0x11, bytes);
        mutator.free(before);
    }
    for _ in 0..2 * bytes / 48 {
        let object = mutator.alloc_sorted(Sort::new(48, 5)).unwrap();
        // SAFETY: memory of a new object.
        assert_ne!(unsafe { object.read() }, 0x11);
    }
}

/// More sorts than a cache has places for, and more than there are lists for, are each still told apart from nothing but the tag 0.
#[test]
fn many_sorts_find_room() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let tags = 2 * crate::sort::TAGS as u64;
    let mut late = 0;
    for round in 0..3 {
        for tag in 1..=tags {
            let object = mutator.alloc_sorted(Sort::new(32, tag)).unwrap();
            let found = heap.find(object.addr().get()).unwrap();
            assert!(found.tag() == tag || found.tag() == 0);
            late += u64::from(found.tag() == 0);
        }
        assert_eq!(late, (round + 1) * (tags - crate::sort::TAGS as u64));
    }
}

/// Objects of 1152 bytes, of which a page has seven: as many pages of them. Returns their addresses.
fn pages_of_objects(mutator: &mut crate::Mutator<SimOs>, pages: usize) -> Vec<usize> {
    let mut new = || mutator.alloc_collected(1152, 8, CollectedKind::NoScan);
    (0..7 * pages)
        .map(|_| new().unwrap().addr().get())
        .collect()
}

/// Marks the objects that are to live, and has the others freed sooner or later.
fn collect(heap: &Heap<SimOs>, objects: &[usize], lives: impl Fn(usize) -> bool) {
    for &object in objects.iter().filter(|&&object| lives(object)) {
        heap.find(object).unwrap().try_mark();
    }
    // SAFETY: no other thread uses the heap, and nothing that is not marked is used any more.
    unsafe { heap.start_sweep() };
}

/// Where spans are made several at a time, pages that are free one by one are used before those that have never been.
#[test]
fn scattered_pages_are_used_again() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let objects = pages_of_objects(&mut mutator, 512);
    collect(&heap, &objects, |object| {
        (object / PAGE_SIZE).is_multiple_of(2)
    });
    heap.sweep_all();
    let before = heap.usage();
    assert!(before.idle > 250 * PAGE_SIZE);
    pages_of_objects(&mut mutator, 250);
    assert_eq!(heap.usage().mapped, before.mapped);
}

/// However late the sweep finds what is dead: the heap does not grow before it has.
#[test]
fn what_is_dead_is_found_before_the_heap_grows() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let objects = pages_of_objects(&mut mutator, 1024);
    let first_alive = objects[objects.len() / 2];
    collect(&heap, &objects, |object| object >= first_alive);
    let before = heap.usage();
    pages_of_objects(&mut mutator, 500);
    assert_eq!(heap.usage().mapped, before.mapped);
}
