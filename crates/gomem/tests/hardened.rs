//! Hardened mode: what programs do wrong ends the process, by a message that names the block or by a fault; what they do right goes on as ever.

// Miri starts no processes and has no guard pages.
#![cfg(not(miri))]

use gomem::testing::SimOs;
use gomem::{Heap, LinuxOs, Mutator};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::ptr::NonNull;

type M<'a, 'h> = &'a mut Mutator<'h, LinuxOs>;

/// What to do wrong, and what comes of it: a message, or a fault.
struct Case {
    name: &'static str,
    misdeed: fn(M<'_, '_>),
    end: End,
}

#[derive(PartialEq)]
enum End {
    Says(&'static [&'static str]),
    Faults,
}
use End::*;

fn block(m: M<'_, '_>, size: usize) -> NonNull<u8> {
    let block = m.malloc(size, 8).unwrap();
    // SAFETY: ours.
    unsafe { block.write_bytes(0x41, size) };
    block
}

/// Frees it, and so many others of the same size that it leaves quarantine, if `others` is enough.
fn free(m: M<'_, '_>, freed: NonNull<u8>, size: usize, others: usize) {
    let rest: Vec<_> = (0..others).map(|_| block(m, size)).collect();
    // SAFETY: a block, the caller's to free (or not, which is being tested), and others that are ours.
    unsafe {
        m.free(freed);
        rest.into_iter().for_each(|block| m.free(block));
    }
}

/// Blocks of 64 bytes that are in quarantine at most, and more.
const MANY: usize = 1100;

const CASES: &[Case] = &[
    Case {
        name: "small twice",
        misdeed: |m| {
            let first = block(m, 64);
            free(m, first, 64, 20);
            free(m, first, 64, 0);
        },
        end: Says(&[
            "gomem: free(0x",
            "was freed already (a block of 64 bytes, freed by thread ",
            " ms ago)",
        ]),
    },
    Case {
        name: "small twice, when it has left quarantine",
        misdeed: |m| {
            let first = block(m, 64);
            free(m, first, 64, MANY);
            free(m, first, 64, 0);
        },
        end: Says(&["was freed already (a block of 64 bytes)"]),
    },
    Case {
        name: "small twice, written to between",
        misdeed: |m| {
            let first = block(m, 64);
            free(m, first, 64, 0);
            // SAFETY: not ours any more: that is noticed.
            unsafe { first.write(1) };
            free(m, first, 64, 0);
        },
        end: Says(&["was freed already (a block of 64 bytes, freed by thread "]),
    },
    Case {
        name: "small twice, the oldest of a full quarantine",
        misdeed: |m| {
            let first = block(m, 64);
            free(m, first, 64, 1023);
            // SAFETY: not ours any more: that is noticed.
            unsafe { first.add(8).write(1) };
            free(m, first, 64, 0);
        },
        end: Says(&["was freed already (a block of 64 bytes, freed by thread "]),
    },
    Case {
        name: "small twice, in its second turn",
        misdeed: |m| {
            let first = block(m, 48);
            free(m, first, 48, MANY);
            // All of them come back, in any order.
            while block(m, 48) != first {}
            free(m, first, 48, 0);
            free(m, first, 48, 0);
        },
        end: Says(&["was freed already (a block of 48 bytes, freed by thread "]),
    },
    Case {
        name: "large twice",
        misdeed: |m| {
            let first = block(m, 1 << 20);
            free(m, first, 1 << 20, 3);
            free(m, first, 1 << 20, 0);
        },
        end: Says(&["was freed already (a block of 1048576 bytes, freed by thread "]),
    },
    Case {
        name: "written after",
        misdeed: |m| {
            let first = block(m, 64);
            free(m, first, 64, 0);
            // SAFETY: not ours any more: that is noticed.
            unsafe { first.add(17).write(0x41) };
            let other = block(m, 64);
            free(m, other, 64, MANY);
        },
        end: Says(&[
            "gomem: the block of 64 bytes at 0x",
            " was written to since, at byte 17",
        ]),
    },
    Case {
        name: "inside",
        misdeed: |m| {
            // SAFETY: inside the block.
            let inside = unsafe { block(m, 64).add(8) };
            free(m, inside, 64, 0);
        },
        end: Says(&["is not the start of a block (byte 8 of the one of 64 bytes at 0x"]),
    },
    Case {
        name: "inside large",
        misdeed: |m| {
            // SAFETY: inside the block.
            let inside = unsafe { block(m, 1 << 20).add(4096) };
            free(m, inside, 1 << 20, 0);
        },
        end: Says(&["is not the start of a block (byte 4096 of the one of 1048576 bytes at 0x"]),
    },
    Case {
        name: "elsewhere",
        misdeed: |m| free(m, NonNull::from(&mut 7u64).cast(), 64, 0),
        end: Says(&["is not a block of this heap"]),
    },
    Case {
        name: "never handed out",
        misdeed: |m| {
            let first = block(m, 4096);
            let neighbour = first.addr().get() ^ 4096;
            free(m, NonNull::new(neighbour as *mut u8).unwrap(), 4096, 0);
        },
        end: Says(&["was freed already (a block of 4096 bytes)"]),
    },
    Case {
        name: "past a large block",
        // SAFETY: not ours: that is noticed.
        misdeed: |m| unsafe { block(m, 1 << 20).add(1 << 20).write(1) },
        end: Faults,
    },
    Case {
        name: "before a large block",
        // SAFETY: not ours: that is noticed.
        misdeed: |m| unsafe { block(m, 1 << 20).sub(1).write(1) },
        end: Faults,
    },
    Case {
        name: "past a span",
        misdeed: |m| {
            let first = block(m, 64);
            // SAFETY: not ours: that is noticed at the end of the span.
            unsafe { first.write_bytes(1, 1 << 17) };
        },
        end: Faults,
    },
    Case {
        name: "large, read after",
        misdeed: |m| {
            let first = block(m, 1 << 20);
            free(m, first, 1 << 20, 3);
            // SAFETY: not ours any more: that is noticed.
            unsafe { first.add(5000).read_volatile() };
        },
        end: Faults,
    },
    Case {
        name: "large, read after it moved",
        misdeed: |m| {
            let first = block(m, 1 << 20);
            // SAFETY: ours; then not any more: that is noticed.
            unsafe {
                m.realloc(first, 2 << 20, 8).unwrap();
                first.read_volatile();
            }
        },
        end: Faults,
    },
    Case {
        name: "a pointer in a freed block, followed",
        misdeed: |m| {
            let first = block(m, 64);
            free(m, first, 64, 0);
            // SAFETY: not ours any more: that is noticed.
            unsafe { first.cast::<*const u8>().read_volatile().read_volatile() };
        },
        end: Faults,
    },
];

#[test]
fn misuse_ends_the_process() {
    if let Ok(which) = std::env::var("MISDEED") {
        let heap = Heap::new(LinuxOs);
        heap.harden();
        let mut mutator = heap.mutator().unwrap();
        (CASES[which.parse::<usize>().unwrap()].misdeed)(&mut mutator);
        return;
    }
    for (number, case) in CASES.iter().enumerate() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["misuse_ends_the_process", "--nocapture"])
            .env("MISDEED", number.to_string())
            .output()
            .unwrap();
        let (name, text) = (case.name, String::from_utf8_lossy(&output.stderr));
        let expected = match case.end {
            Says(_) => libc::SIGABRT,
            Faults => libc::SIGSEGV,
        };
        assert_eq!(output.status.signal(), Some(expected), "{name}: {text}");
        if let Says(parts) = case.end {
            for part in parts {
                assert!(text.contains(part), "{name}: {text}");
            }
        }
    }
}

/// The message names the thread that freed the block.
#[test]
fn the_thread_is_named() {
    if std::env::var_os("THREAD").is_some() {
        let heap = Heap::new(LinuxOs);
        heap.harden();
        let mut mutator = heap.mutator().unwrap();
        let block = mutator.malloc(64, 8).unwrap();
        let address = block.addr();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // SAFETY: a system call; then a block that is freed once.
                unsafe {
                    eprintln!("thread {} frees", libc::gettid());
                    let block = NonNull::new(address.get() as *mut u8).unwrap();
                    heap.mutator().unwrap().free(block);
                }
            });
        });
        // SAFETY: freed already: that is noticed.
        unsafe { mutator.free(block) };
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["the_thread_is_named", "--nocapture"])
        .env("THREAD", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let thread = text.split("thread ").nth(1).unwrap();
    let thread = thread.split(' ').next().unwrap();
    let told = format!("freed by thread {thread} ");
    assert!(text.contains(&told), "{text}");
}

/// Blocks of one span come in an order that differs from one heap to the next.
#[test]
fn the_order_is_random() {
    let order = || {
        let heap = Heap::new(SimOs::default());
        heap.harden();
        let mut mutator = heap.mutator().unwrap();
        let blocks: Vec<_> = (0..256).map(|_| mutator.malloc(64, 8).unwrap()).collect();
        let first = blocks.iter().map(|block| block.addr().get()).min().unwrap();
        let order: Vec<_> = blocks
            .iter()
            .map(|block| block.addr().get() - first)
            .collect();
        for block in blocks {
            // SAFETY: ours; freed once.
            unsafe { mutator.free(block) };
        }
        order
    };
    let (one, other) = (order(), order());
    assert!(!one.is_sorted() && !other.is_sorted());
    assert_ne!(one, other);
    let sorted = |mut order: Vec<usize>| {
        order.sort_unstable();
        order
    };
    // 256 blocks of 64 bytes are a span: each comes once.
    assert_eq!(sorted(one), (0..256).map(|n| n * 64).collect::<Vec<_>>());
}

/// What is freed is not used again soon, and counts as free.
#[test]
fn quarantine_is_bounded_and_counted() {
    let heap = Heap::new(SimOs::default());
    heap.harden();
    let mut mutator = heap.mutator().unwrap();
    for size in [8, 64, 1000, 30_000, 100_000, 5 << 20] {
        let mut seen = std::collections::HashMap::new();
        for turn in 0..3000usize {
            let block = mutator.malloc(size, 8).unwrap();
            if let Some(last) = seen.insert(block, turn) {
                assert!(turn - last > 3, "{size}: again after {}", turn - last);
            }
            // SAFETY: ours; freed once.
            unsafe { mutator.free(block) };
        }
        let stats = heap.stats();
        assert_eq!((stats.heap_objects, stats.malloc_alloc), (0, 0), "{size}");
        let held = stats.heap_sys - stats.heap_released;
        assert!(held < 4 << 20, "{size}: {held} bytes are held");
    }
    drop(mutator);
    heap.release_all();
    let stats = heap.stats();
    assert_eq!((stats.heap_inuse, stats.heap_released), (0, stats.heap_sys));
}

/// A heap that is hardened when it is in use already: what it has goes on being used.
#[test]
fn a_heap_is_hardened_in_use() {
    let heap = Heap::new(SimOs::default());
    let mut mutator = heap.mutator().unwrap();
    let sizes = [16, 64, 3000, 40_000, 3 << 20];
    let mut blocks: Vec<_> = (0..200)
        .map(|n| mutator.malloc(sizes[n % 5], 8).unwrap())
        .collect();
    let rest = blocks.split_off(100);
    for block in rest {
        // SAFETY: ours; freed once.
        unsafe { mutator.free(block) };
    }
    heap.harden();
    for n in 0..100 {
        blocks.push(mutator.malloc(sizes[n % 5], 8).unwrap());
    }
    for block in blocks {
        // SAFETY: ours; freed once.
        unsafe { mutator.free(block) };
    }
    drop(mutator);
    heap.release_all();
    let stats = heap.stats();
    assert_eq!((stats.heap_inuse, stats.heap_objects), (0, 0));
    assert_eq!((stats.mallocs, stats.frees), (300, 300));
}

/// Zeroed blocks are zero although their pages were next to guards, and in quarantine.
#[test]
fn zeroed_blocks_and_alignments() {
    let heap = Heap::new(SimOs::default());
    heap.harden();
    let mut mutator = heap.mutator().unwrap();
    for round in 0..40 {
        for size in [24, 5000, 50_000, 300_000] {
            for align in [8, 64, 4096, 8192, 1 << 16] {
                let block = mutator.calloc(size, align).unwrap();
                assert_eq!(block.addr().get() % align, 0);
                // SAFETY: ours; freed once.
                unsafe {
                    let bytes = std::slice::from_raw_parts_mut(block.as_ptr(), size);
                    assert!(
                        bytes.iter().all(|&byte| byte == 0),
                        "{size} {align} {round}"
                    );
                    bytes.fill(0xff);
                    mutator.free(block);
                }
            }
        }
        if round % 7 == 0 {
            heap.release_all();
        }
    }
}

/// Guards that are refused, one after the other and for good, are done without; nothing is lost.
#[test]
fn refused_guards_are_done_without() {
    for (after, n) in (0..40)
        .map(|after| (after, 1))
        .chain([(0, u32::MAX), (7, 3)])
    {
        let heap = Heap::new(SimOs::default());
        heap.harden();
        heap.os().guard.set(after, n);
        let mut mutator = heap.mutator().unwrap();
        let blocks: Vec<_> = (0..60)
            .map(|i| {
                let size = [64, 2000, 50_000, 1 << 20][i % 4];
                let block = mutator.malloc(size, 8).unwrap();
                // SAFETY: ours.
                unsafe { block.write_bytes(i as u8, size) };
                (block, size)
            })
            .collect();
        for (i, (block, size)) in blocks.into_iter().enumerate() {
            // SAFETY: ours; freed once.
            unsafe {
                let bytes = std::slice::from_raw_parts(block.as_ptr(), size);
                assert!(bytes.iter().all(|&byte| byte == i as u8));
                mutator.free(block);
            }
        }
        drop(mutator);
        heap.release_all();
        let stats = heap.stats();
        assert_eq!((stats.heap_inuse, stats.heap_objects), (0, 0));
        assert_eq!(stats.heap_released, stats.heap_sys);
    }
}

/// Pages that cannot be made usable again are lost, and not handed out.
#[test]
fn pages_that_stay_guarded_are_not_used() {
    let heap = Heap::new(SimOs::default());
    heap.harden();
    heap.os().unguard.set(0, 5);
    let mut mutator = heap.mutator().unwrap();
    for _ in 0..2 {
        for _ in 0..20 {
            let block = mutator.malloc(1 << 20, 8).unwrap();
            // SAFETY: ours; freed once.
            unsafe {
                block.write_bytes(1, 1 << 20);
                mutator.free(block);
            }
        }
        heap.release_all();
    }
    let stats = heap.stats();
    assert_eq!(stats.heap_inuse, 0);
    assert!(stats.heap_released < stats.heap_sys);
}
