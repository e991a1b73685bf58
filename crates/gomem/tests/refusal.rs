//! A system that refuses memory: every call in turn, and for good.

use gomem::testing::{Refusal, SimOs};
use gomem::{ARENA_SIZE, CollectedKind, Heap, Mutator};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;

/// Allocates in every way. Counts the refusals; what was had is intact and freed.
fn exercise(heap: &Heap<SimOs>) -> usize {
    let Ok(mut mutator) = heap.mutator() else {
        return 1;
    };
    let mut refusals = 0;
    let mut blocks: Vec<(NonNull<u8>, usize)> = Vec::new();
    // The interpreter has no more than one arena at a time, and goes through the pages of a span one by one.
    let large = if cfg!(miri) {
        [200_000, 1 << 20, 300_000]
    } else {
        [30 << 20, 70 << 20, 200 << 20]
    };
    // First, as memory that was never used is what is moved to.
    refusals += resize(&mut mutator, large[0] / 7, large[0]);
    for size in [
        8, 100, 5000, 32768, 100_000, large[0], large[1], 64, large[2],
    ] {
        match mutator.malloc(size, 8) {
            Some(block) => {
                // SAFETY: a block of that size.
                unsafe {
                    block.write_bytes(0x77, 8);
                    block.add(size - 8).write_bytes(0x77, 8);
                }
                blocks.push((block, size));
            }
            None => refusals += 1,
        }
        if mutator
            .alloc_collected(size.min(1 << 20), 8, CollectedKind::Scan)
            .is_none()
        {
            refusals += 1;
        }
        match heap.alloc_manual(size / 2) {
            // SAFETY: just allocated.
            Some(memory) => unsafe { heap.free_manual(memory) },
            None => refusals += 1,
        }
    }
    for (block, size) in blocks {
        // SAFETY: a live block of that size.
        unsafe {
            assert_eq!(block.cast::<u64>().read_unaligned(), 0x7777_7777_7777_7777);
            let end = block.add(size - 8).cast::<u64>().read_unaligned();
            assert_eq!(end, 0x7777_7777_7777_7777);
            mutator.free(block);
        }
    }
    drop(mutator);
    // SAFETY: no object is in use; the only thread is here.
    unsafe { heap.start_sweep() };
    heap.sweep_all();
    refusals
}

/// Zeroed blocks, and one that grows and shrinks. Counts the refusals; contents are looked at.
fn resize(mutator: &mut Mutator<'_, SimOs>, small: usize, large: usize) -> usize {
    let mut refusals = 0;
    let Some(mut block) = mutator.malloc(small, 8) else {
        return 1;
    };
    // What may be behind it, so that it has to move.
    let wall = mutator.malloc(small, 8);
    // SAFETY: a block of at least `small` bytes, ours; freed once.
    unsafe {
        block.write_bytes(0x66, small);
        for size in [2 * small, large, small, 100] {
            match mutator.realloc(block, size, 8) {
                Some(moved) => block = moved,
                None => refusals += 1,
            }
            let bytes = std::slice::from_raw_parts(block.as_ptr(), small.min(size));
            assert!(bytes[0] == 0x66 && bytes[1..] == bytes[..bytes.len() - 1]);
        }
        mutator.free(block);
        match wall {
            Some(wall) => mutator.free(wall),
            None => refusals += 1,
        }
    }
    for _ in 0..2 {
        match mutator.calloc(small, 64) {
            // SAFETY: a block of that size, ours; freed once.
            Some(block) => unsafe {
                let bytes = std::slice::from_raw_parts(block.as_ptr(), small);
                assert!(bytes[0] == 0 && bytes[1..] == bytes[..small - 1]);
                block.write_bytes(0x55, small);
                mutator.free(block);
            },
            None => refusals += 1,
        }
    }
    refusals
}

type Calls = fn(&SimOs) -> &Refusal;

/// The calls of the system that can be refused.
const CALLS: [(&str, Calls); 7] = [
    ("reserve", |os| &os.reserve),
    ("commit", |os| &os.commit),
    ("release", |os| &os.release),
    ("move_memory", |os| &os.moves),
    ("renew", |os| &os.renew),
    ("guard", |os| &os.guard),
    ("unguard", |os| &os.unguard),
];

/// Refuses the first call, the second and so on, until everything succeeds; that call only, or all that come after it. Then the system is good again, and so is the heap.
fn refuse_in_turn(hardened: bool) {
    let lengths: &[u32] = if cfg!(miri) { &[1] } else { &[1, u32::MAX] };
    let heap = || {
        let heap = Heap::new(SimOs::default());
        if hardened {
            heap.harden();
        }
        heap
    };
    for (name, calls) in CALLS {
        let mut refused = 0;
        for &length in lengths {
            for after in 0.. {
                let heap = heap();
                calls(heap.os()).set(after, length);
                refused += exercise(&heap);
                heap.release_all();
                let is_over = calls(heap.os()).calls() <= after;
                calls(heap.os()).clear();
                assert_eq!(exercise(&heap), 0, "{name}, call {after}");
                heap.release_all();
                let stats = heap.stats();
                assert_eq!(
                    (stats.heap_inuse, stats.mallocs - stats.frees),
                    (0, 0),
                    "{name}, call {after}"
                );
                if is_over {
                    // So it was refused at least once, where the heap makes such calls.
                    let made = match name {
                        "guard" | "unguard" => hardened,
                        "move_memory" | "renew" => !hardened,
                        _ => true,
                    };
                    assert_eq!(after > 0, made, "{name}");
                    break;
                }
            }
        }
        // Of the others nothing is to be seen but that they cost more.
        assert_eq!(refused > 0, ["reserve", "commit"].contains(&name), "{name}");
    }
}

#[test]
fn every_single_refusal_is_survived() {
    refuse_in_turn(false);
}

#[test]
#[cfg_attr(miri, ignore = "the interpreter has no guards")]
fn every_single_refusal_is_survived_hardened() {
    refuse_in_turn(true);
}

/// The limit on what may be committed is the system's to change.
#[test]
fn a_limit_that_changes_is_kept() {
    let heap = Heap::new(SimOs::default());
    heap.os().limit.store(ARENA_SIZE, Relaxed);
    let mut mutator = heap.mutator().unwrap();
    let size = ARENA_SIZE / 2 + 1;
    let first = mutator.malloc(size, 8).unwrap();
    assert!(mutator.malloc(size, 8).is_none());
    heap.os().limit.store(0, Relaxed);
    let second = mutator.malloc(size, 8).unwrap();
    heap.os().limit.store(1, Relaxed);
    // SAFETY: ours; freed once.
    unsafe {
        mutator.free(first);
        mutator.free(second);
    }
    let again = mutator.malloc(size, 8).unwrap();
    // SAFETY: as above.
    unsafe { mutator.free(again) };
}

#[test]
#[cfg_attr(
    miri,
    ignore = "more than one arena in one piece is too much to be interpreted"
)]
fn without_large_reservations_arenas_come_one_by_one() {
    let heap = Heap::new(SimOs::with_limit(2 * ARENA_SIZE));
    let mut mutator = heap.mutator().unwrap();
    // More than the limit in one piece.
    assert!(mutator.malloc(3 * ARENA_SIZE, 8).is_none());
    let blocks: Vec<_> = (0..5)
        .map(|_| mutator.malloc(40 << 20, 8).unwrap())
        .collect();
    let two_arenas = mutator.malloc(100 << 20, 8).unwrap();
    assert_eq!(heap.stats().heap_sys, 7 * ARENA_SIZE);
    for block in blocks.into_iter().chain([two_arenas]) {
        assert!(heap.bounds().contains(&block.addr().get()));
        // SAFETY: live.
        unsafe { mutator.free(block) };
    }
}

#[test]
fn a_refused_release_is_tried_again() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let block = mutator.malloc(10 << 20, 8).unwrap();
    // SAFETY: ours; freed once.
    unsafe {
        block.write_bytes(1, 10 << 20);
        mutator.free(block);
    }
    let before = heap.stats().heap_released;
    heap.os().release.set(1, 1);
    let first = heap.scavenge(usize::MAX);
    assert!(first > 0 && first < 10 << 20, "{first}");
    let second = heap.scavenge(usize::MAX);
    assert!(first + second >= 10 << 20);
    assert_eq!(heap.stats().heap_released, before + first + second);
    let again = mutator.malloc(10 << 20, 8).unwrap();
    // SAFETY: ours.
    let bytes = unsafe { std::slice::from_raw_parts(again.as_ptr(), 10 << 20) };
    assert!(bytes[0] == 0 && bytes[1..] == bytes[..bytes.len() - 1]);
}

#[test]
fn scavenging_gives_back_what_was_asked_for() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let block = mutator.malloc(40 << 20, 8).unwrap();
    // SAFETY: ours; freed once.
    unsafe { mutator.free(block) };
    let released = heap.scavenge(5 << 20);
    assert!((5 << 20..6 << 20).contains(&released), "{released}");
    assert!(heap.release_all() >= 34 << 20);
    assert_eq!(heap.release_all(), 0);
}

/// The system itself refuses: address space is limited (`ulimit -v`). In a process of its own, which runs this program again.
#[test]
#[cfg_attr(miri, ignore = "Miri has no limits")]
fn a_limit_on_address_space_is_met_with_none() {
    const MIB: usize = 1 << 20;
    if std::env::var_os("LIMITED").is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["a_limit_on_address_space_is_met_with_none", "--exact"])
            .env("LIMITED", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        return;
    }
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').next().unwrap().parse().unwrap();
    let limit = libc::rlimit {
        rlim_cur: pages * 4096 + 400 * MIB as u64,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a limit for this process.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let heap = Heap::new(gomem::LinuxOs);
    let mut mutator = heap.mutator().unwrap();
    for _ in 0..2 {
        let mut growing = mutator.malloc(MIB, 8).unwrap();
        // SAFETY: ours.
        unsafe { growing.write_bytes(7, MIB) };
        let mut size = MIB;
        // SAFETY: as above; a block that did not grow is as it was.
        while let Some(larger) = unsafe { mutator.realloc(growing, size + 16 * MIB, 8) } {
            (growing, size) = (larger, size + 16 * MIB);
        }
        let mut blocks = Vec::new();
        while let Some(block) = mutator.calloc(MIB, 8) {
            // SAFETY: ours.
            unsafe { block.write(1) };
            blocks.push(block);
        }
        assert!(size + blocks.len() * MIB > 128 * MIB && blocks.len() < 400);
        assert!(heap.alloc_manual(2 * MIB).is_none());
        // SAFETY: ours; freed once.
        unsafe {
            let bytes = std::slice::from_raw_parts(growing.as_ptr(), MIB);
            assert!(bytes.iter().all(|&byte| byte == 7));
            mutator.free(growing);
            blocks.into_iter().for_each(|block| mutator.free(block));
        }
        assert_eq!(heap.stats().heap_inuse, 0);
    }
}
