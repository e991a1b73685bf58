//! A child of a process whose other threads were in the middle of allocating goes on allocating.

// Miri has no fork.
#![cfg(not(miri))]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: gomem::GoMalloc = gomem::GoMalloc::new();

/// Takes all levels of the heap: small blocks, enough of them for new spans, large blocks, and frees them again.
fn work(rounds: usize) -> usize {
    let mut bytes = 0;
    for round in 0..rounds {
        let small: Vec<Vec<u8>> = (0..200)
            .map(|i| vec![i as u8; 16 + (i + round) % 900])
            .collect();
        let large = vec![round as u8; 100_000];
        bytes += small.iter().map(Vec::len).sum::<usize>() + large.len();
    }
    bytes
}

/// Waits for the child, and kills it if it hangs. True if it ended with code 0.
fn ended_well(child: libc::pid_t) -> bool {
    let begun = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: a child of this process; the status is ours.
        let gone = unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) };
        if gone == child {
            return status == 0;
        }
        if begun.elapsed() > Duration::from_secs(20) {
            // SAFETY: as above.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &mut status, 0);
            }
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Where the threads that allocate have the allocator's words: on top of their stacks.
static STACKS: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// Has whoever touches those stacks end the process.
fn unmap_stacks() {
    for stack in &STACKS {
        let page = stack.load(Relaxed) & !4095;
        // SAFETY: the threads of these stacks are not in this process, and nobody reads what they left.
        unsafe { libc::mprotect(page as *mut _, 4096, libc::PROT_NONE) };
    }
}

#[test]
fn parent_and_child_go_on_allocating() {
    let quit = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for stack in &STACKS {
            scope.spawn(|| {
                stack.store(gomem::cache_slot().addr(), Relaxed);
                while !quit.load(Relaxed) {
                    std::hint::black_box(work(1));
                }
            });
        }
        for round in 0..200 {
            // SAFETY: the child allocates, which is what is tried here, and leaves without running anything else.
            let child = unsafe { libc::fork() };
            assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
            if child == 0 {
                // The stacks of the other threads are memory like any other here, and what looks for idle caches must keep away from them.
                unmap_stacks();
                (0..3).for_each(|_| gomem::heap().reclaim_idle());
                let done = work(5) > 0;
                // SAFETY: ends the child.
                unsafe { libc::_exit(if done { 0 } else { 1 }) };
            }
            let well = ended_well(child);
            if !well {
                quit.store(true, Relaxed);
            }
            assert!(well, "the child of round {round} hung or failed");
            assert!(work(2) > 0);
        }
        quit.store(true, Relaxed);
    });
}
