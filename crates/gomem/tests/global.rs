//! gomem as the global allocator of this test program: threads, channels, collections, alignments.

// Miri has no mappings without access rights.
#![cfg(not(miri))]

use gomem::{GoMalloc, heap};
use std::alloc::{GlobalAlloc, Layout};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, mpsc};

#[global_allocator]
static GLOBAL: GoMalloc = GoMalloc::new();

#[test]
fn boxes_are_ours_and_other_memory_is_not() {
    let boxed = Box::new(1u8);
    assert!(heap().owns(&raw const *boxed));
    let big = vec![0u8; 1 << 20];
    assert!(heap().owns(big.as_ptr()));
    static STATIC: u8 = 0;
    let local = 0u8;
    assert!(!heap().owns(&raw const STATIC));
    assert!(!heap().owns(&raw const local));
    assert!(!heap().owns(std::ptr::null()));
    assert!(!heap().owns(std::ptr::without_provenance(usize::MAX)));
}

#[test]
fn strings_and_maps_from_many_threads() {
    let (sender, receiver) = mpsc::channel::<(usize, HashMap<String, Vec<String>>)>();
    let threads: Vec<_> = (0..8)
        .map(|t| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for round in 0..20 {
                    let mut map = HashMap::new();
                    for i in 0..100 {
                        let values = (0..i % 7).map(|v| format!("{t}-{round}-{i}-{v}"));
                        map.insert(format!("key {i}"), values.collect());
                    }
                    sender.send((t * 1000 + round, map)).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    let mut n = 0;
    for (id, map) in receiver {
        let (t, round) = (id / 1000, id % 1000);
        for i in 0..100 {
            let values = &map[&format!("key {i}")];
            assert_eq!(values.len(), i % 7);
            for (v, value) in values.iter().enumerate() {
                assert_eq!(*value, format!("{t}-{round}-{i}-{v}"));
            }
        }
        n += 1;
    }
    assert_eq!(n, 160);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn thread_locals_with_destructors_allocate_at_thread_exit() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Noisy(Vec<String>);
    impl Drop for Noisy {
        fn drop(&mut self) {
            let copy: Vec<String> = self.0.iter().map(|s| s.repeat(3)).collect();
            assert!(copy.iter().all(|s| s.len() == 12));
            DROPPED.fetch_add(copy.len(), SeqCst);
        }
    }
    thread_local!(static NOISY: Mutex<Option<Noisy>> = const { Mutex::new(None) });
    for _ in 0..20 {
        std::thread::spawn(|| {
            let noisy = Noisy(vec!["four".to_string(); 50]);
            NOISY.with(|slot| *slot.lock().unwrap() = Some(noisy));
        })
        .join()
        .unwrap();
    }
    assert_eq!(DROPPED.load(SeqCst), 1000);
}

#[test]
fn a_detached_thread_still_allocates() {
    std::thread::spawn(|| {
        let before = vec![1u8; 100];
        gomem::detach_thread();
        let during = vec![2u8; 100];
        drop(before);
        let more: Vec<_> = (0..100).map(|i| format!("text {i}")).collect();
        drop(during);
        assert!(gomem::attach_thread());
        assert_eq!(more[99], "text 99");
    })
    .join()
    .unwrap();
}

#[test]
fn every_alignment_and_size_in_every_way() {
    for shift in 0..=21 {
        let align = 1usize << shift;
        for size in [1, 7, 8, 24, 100, 1000, 4097, 32768, 32769, 100_000] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the blocks are used as their layouts say.
            unsafe {
                let block = GLOBAL.alloc(layout);
                assert!(
                    !block.is_null() && block.addr().is_multiple_of(align),
                    "{layout:?}"
                );
                block.write_bytes(0xa5, size);
                let bigger = size * 3;
                let moved = GLOBAL.realloc(block, layout, bigger);
                assert!(
                    !moved.is_null() && moved.addr().is_multiple_of(align),
                    "{layout:?}"
                );
                let bytes = std::slice::from_raw_parts_mut(moved, bigger);
                assert!(bytes[..size].iter().all(|&b| b == 0xa5));
                bytes.fill(0x5a);
                let layout = Layout::from_size_align(bigger, align).unwrap();
                let shrunk = GLOBAL.realloc(moved, layout, size);
                assert!(
                    std::slice::from_raw_parts(shrunk, size)
                        .iter()
                        .all(|&b| b == 0x5a)
                );
                let layout = Layout::from_size_align(size, align).unwrap();
                GLOBAL.dealloc(shrunk, layout);
                let zeroed = GLOBAL.alloc_zeroed(layout);
                assert!(
                    std::slice::from_raw_parts(zeroed, size)
                        .iter()
                        .all(|&b| b == 0)
                );
                GLOBAL.dealloc(zeroed, layout);
            }
        }
    }
}

#[test]
fn alignments_up_to_a_gigabyte_waste_nothing() {
    let before = heap().stats().heap_inuse;
    for shift in 22..=30 {
        for size in [1, 5 << 20] {
            let layout = Layout::from_size_align(size, 1 << shift).unwrap();
            // SAFETY: used as the layout says.
            unsafe {
                let block = GLOBAL.alloc(layout);
                assert!(!block.is_null() && block.addr().is_multiple_of(1 << shift));
                block.write(1);
                block.add(size - 1).write(1);
                // Other tests allocate meanwhile, though not as much.
                let more = heap().stats().heap_inuse as isize - before as isize;
                assert!(more < 100 << 20, "{layout:?}: {more}");
                GLOBAL.dealloc(block, layout);
            }
        }
    }
}

#[test]
fn impossible_sizes_are_null() {
    for size in [1 << 45, isize::MAX as usize - 4096] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        // SAFETY: nothing is done with the result but freeing it.
        unsafe {
            assert!(GLOBAL.alloc(layout).is_null());
            assert!(GLOBAL.alloc_zeroed(layout).is_null());
            let small = GLOBAL.alloc(Layout::new::<u64>());
            small.write(9);
            assert!(GLOBAL.realloc(small, Layout::new::<u64>(), size).is_null());
            assert_eq!(small.read(), 9);
            GLOBAL.dealloc(small, Layout::new::<u64>());
        }
    }
}

#[test]
fn nothing_with_a_large_alignment_is_a_block() {
    for block in [heap().malloc(0, 16384), heap().calloc(0, 16384)] {
        let block = block.unwrap();
        assert_eq!(block.addr().get() % 16384, 0);
        assert!(heap().usable_size(block) > 0);
        // SAFETY: live.
        let block = unsafe { heap().realloc(block, 0, 16384) }.unwrap();
        // SAFETY: live.
        unsafe { heap().free(block) };
    }
}

#[test]
fn zeroed_memory_is_zero_after_reuse() {
    for size in [64, 5000, 40_000, 3 << 20] {
        for _ in 0..10 {
            let mut bytes = vec![0u8; size];
            assert!(bytes.iter().all(|&b| b == 0));
            bytes.fill(0xff);
        }
    }
}

#[test]
fn shared_structures_die_on_other_threads() {
    let tree: Arc<BTreeMap<u32, Arc<str>>> = Arc::new(
        (0..5000)
            .map(|i| (i, format!("value {i}").into()))
            .collect(),
    );
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let tree = tree.clone();
            std::thread::spawn(move || {
                let copy = (*tree).clone();
                drop(tree);
                copy.values().map(|v| v.len()).sum::<usize>()
            })
        })
        .collect();
    drop(tree);
    let sums: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(sums.iter().all(|&sum| sum == sums[0]));
}
