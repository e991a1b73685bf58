//! Threads really stand still, go on afterwards, and show their registers.

use super::*;
use crate::atomic::AtomicU32;
use crate::world::futex;
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

/// A thread that rests until it is told to go on, and what there is to be known of it.
struct Sleeper {
    word: Arc<AtomicU32>,
    done: Arc<AtomicBool>,
    tid: Tid,
    thread: std::thread::JoinHandle<()>,
}

const KEPT: usize = 0x5afe_c0de_5afe_c0e1;

impl Sleeper {
    fn start() -> Sleeper {
        let (word, done) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (send, receive) = std::sync::mpsc::channel();
        let theirs = (word.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            let (word, done) = theirs;
            let kept = std::hint::black_box([KEPT; 4]);
            send.send(Tid::current()).unwrap();
            while word.load(SeqCst) == 0 {
                at_rest(|| futex::wait(&word, 0, None));
            }
            std::hint::black_box(&kept);
            done.store(true, SeqCst);
        });
        let tid = receive.recv().unwrap();
        Sleeper {
            word,
            done,
            tid,
            thread,
        }
    }

    fn wake(&self) {
        self.word.store(1, SeqCst);
        let word: &AtomicU32 = &self.word;
        futex::wake(word, 1);
    }
}

fn status_of(tid: Tid) -> String {
    std::fs::read_to_string(format!("/proc/self/task/{}/status", tid.0)).unwrap()
}

#[test]
fn a_thread_at_rest_is_stopped_without_being_woken_and_its_stack_is_found() {
    install_plain();
    let sleeper = Sleeper::start();
    let switches = || {
        let status = status_of(sleeper.tid);
        let line = status.lines().find(|line| line.starts_with("voluntary"));
        line.expect("a count of switches").to_owned()
    };
    // Until it is at rest, stops of other tests may have it wait elsewhere.
    let mut before = String::new();
    while before != switches() {
        before = switches();
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut found = 0;
    for _ in 0..20 {
        with_world_stopped(&[], |world| {
            world.for_each_thread(|t| {
                if t.tid == sleeper.tid {
                    // SAFETY: std's thread entry lies above, so this much of the stack is mapped; the thread rests.
                    let has =
                        |at: usize| unsafe { ((at & !7) as *const usize).read_volatile() } == KEPT;
                    found += usize::from((t.sp..t.sp + 1024).step_by(8).any(has));
                }
            });
        })
        .unwrap();
    }
    assert_eq!((found, switches()), (20, before));
    sleeper.wake();
    sleeper.thread.join().unwrap();
}

#[test]
fn a_thread_that_wakes_in_a_stop_stands_still_until_it_is_over() {
    install_plain();
    for _ in 0..10 {
        let sleeper = Sleeper::start();
        let went_on = with_world_stopped(&[], |_| {
            sleeper.wake();
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(3) {
                std::hint::spin_loop();
            }
            sleeper.done.load(SeqCst)
        })
        .unwrap();
        assert!(!went_on);
        sleeper.thread.join().unwrap();
        assert!(sleeper.done.load(SeqCst));
    }
}
