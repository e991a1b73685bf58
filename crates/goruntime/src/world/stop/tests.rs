//! Threads really stand still, go on afterwards, and show their registers.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

fn install_plain() {
    install(Gates {
        defer: || false,
        mid_switch: |_, _| false,
    })
    .unwrap();
}

#[test]
fn a_stopped_thread_makes_no_progress_and_goes_on_afterwards() {
    install_plain();
    let quit = Arc::new(AtomicBool::new(false));
    let counters: Vec<_> = (0..3).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let threads: Vec<_> = counters
        .iter()
        .cloned()
        .map(|c| {
            let quit = quit.clone();
            std::thread::spawn(move || {
                while !quit.load(Relaxed) {
                    c.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..50 {
        let (before, after, seen) = with_world_stopped(&[], |world| {
            let read = || counters.iter().map(|c| c.load(SeqCst)).collect::<Vec<_>>();
            let before = read();
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
            let mut seen = 0;
            world.for_each_thread(|t| {
                assert_ne!(t.sp, 0);
                seen += 1;
            });
            (before, read(), seen)
        })
        .unwrap();
        assert_eq!(before, after);
        assert!(seen >= 3);
    }
    let before: Vec<_> = counters.iter().map(|c| c.load(SeqCst)).collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    while counters
        .iter()
        .zip(&before)
        .any(|(c, b)| c.load(SeqCst) == *b)
    {
        assert!(Instant::now() < deadline, "a thread did not go on");
        std::thread::yield_now();
    }
    quit.store(true, Relaxed);
    threads.into_iter().for_each(|t| t.join().unwrap());
}

#[test]
fn threads_that_come_and_go_do_not_hold_up_a_stop() {
    install_plain();
    let quit = Arc::new(AtomicBool::new(false));
    let spawner = {
        let quit = quit.clone();
        std::thread::spawn(move || {
            while !quit.load(Relaxed) {
                std::thread::spawn(|| ()).join().unwrap();
            }
        })
    };
    for _ in 0..100 {
        with_world_stopped(&[], |_| ()).unwrap();
    }
    quit.store(true, Relaxed);
    spawner.join().unwrap();
}

#[test]
fn registers_and_stack_of_a_stopped_thread_are_where_they_are_said_to_be() {
    install_plain();
    const NEEDLE: usize = 0x5afe_c0de_5afe_c0d1;
    let ready = Arc::new(AtomicBool::new(false));
    let quit = Arc::new(AtomicBool::new(false));
    let thread = {
        let (ready, quit) = (ready.clone(), quit.clone());
        std::thread::spawn(move || {
            let needle = std::hint::black_box([NEEDLE; 4]);
            ready.store(true, Release);
            while !quit.load(Relaxed) {
                std::hint::black_box(&needle);
            }
        })
    };
    while !ready.load(Acquire) {
        std::thread::yield_now();
    }
    let found = with_world_stopped(&[], |world| {
        let mut found = false;
        world.for_each_thread(|t| {
            // A few frames up from the stack pointer, within the thread's own stack.
            let top = t.sp + 1024;
            // SAFETY: std's thread entry lies above, so this much of the stack is mapped; the thread stands still.
            found |= (t.sp - 128..top)
                .step_by(8)
                .any(|at| unsafe { ((at & !7) as *const usize).read_volatile() == NEEDLE });
            assert!(t.registers[0].len() == GENERAL * 8);
        });
        found
    })
    .unwrap();
    assert!(found);
    quit.store(true, Relaxed);
    thread.join().unwrap();
}
