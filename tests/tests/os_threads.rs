//! Threads and processors: goroutines locked to a thread, the number of Ps, and the limit on threads.

use goruntime::{Builder, chan, go, lock_os_thread, time, yield_now};
use goruntime_tests::{child, eventually, is_child};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::Duration;

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// Nothing here takes a tenth of it.
const LIMIT: Duration = Duration::from_secs(30);

fn tid() -> i32 {
    // SAFETY: it only asks.
    unsafe { libc::gettid() }
}

#[cfg(not(feature = "thread-engine"))]
fn thread_exists(tid: i32) -> bool {
    std::path::Path::new(&format!("/proc/self/task/{tid}")).exists()
}

/// Everything that moves a goroutine, while others run everywhere they may.
#[test]
fn a_locked_goroutine_stays_on_its_thread_and_has_it_alone() {
    let over = Arc::new(AtomicBool::new(false));
    let locked_on = Arc::new(AtomicUsize::new(0));
    let others: Vec<_> = (0..8)
        .map(|_| {
            let (over, locked_on) = (over.clone(), locked_on.clone());
            go(move || {
                while !over.load(Acquire) {
                    assert_ne!(tid() as usize, locked_on.load(Acquire), "on its thread");
                    yield_now();
                    time::sleep(Duration::from_micros(20));
                }
            })
        })
        .collect();
    let locked = go({
        let locked_on = locked_on.clone();
        move || {
            let outer = lock_os_thread();
            let here = tid();
            let stays = || assert_eq!(tid(), here);
            locked_on.store(here as usize, Release);
            let (tx, rx) = chan::unbuffered();
            let (back_tx, back) = chan::unbuffered();
            go(move || rx.iter().for_each(|n: u32| back_tx.send(n + 1).unwrap()));
            for n in 0..100 {
                yield_now();
                stays();
                tx.send(n).unwrap();
                stays();
                assert_eq!(back.recv(), Ok(n + 1));
                stays();
                goruntime::blocking(|| std::thread::sleep(Duration::from_micros(10)));
                stays();
                time::sleep(Duration::from_micros(30));
                stays();
                assert_eq!(go(move || n).join().unwrap(), n);
                stays();
                drop(lock_os_thread());
            }
            locked_on.store(0, Release);
            drop(outer);
        }
    });
    locked.join().unwrap();
    over.store(true, Release);
    others.into_iter().for_each(|o| o.join().unwrap());
}

/// Go's TestYieldLockedProgress and TestYieldLocked.
#[test]
fn a_locked_goroutine_that_yields_lets_others_in_and_comes_back() {
    let stop = Arc::new(AtomicBool::new(false));
    let locked: Vec<_> = (0..2 * goruntime::max_procs())
        .map(|_| {
            let stop = stop.clone();
            go(move || {
                let _locked = lock_os_thread();
                while !stop.load(Acquire) {
                    yield_now();
                }
            })
        })
        .collect();
    go(move || stop.store(true, Release)).join().unwrap();
    locked.into_iter().for_each(|l| l.join().unwrap());
}

/// Go's TestLockOSThreadExit and TestLockOSThreadAvoidsStatePropagation.
#[test]
#[cfg(not(feature = "thread-engine"))]
fn a_thread_ends_with_the_goroutine_that_is_locked_to_it() {
    for round in 0..20 {
        let locked = match round % 2 {
            0 => Builder::new().locked().spawn(tid).unwrap(),
            _ => go(|| {
                std::mem::forget(lock_os_thread());
                time::sleep(Duration::from_micros(50));
                tid()
            }),
        };
        let thread = locked.join().unwrap();
        eventually("its thread to end", LIMIT, || !thread_exists(thread));
    }
    let unlocked = go(|| {
        drop(lock_os_thread());
        tid()
    });
    let thread = unlocked.join().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(thread_exists(thread), "one that is unlocked in time stays");
}

#[test]
fn many_locked_goroutines_pass_a_token_on() {
    let n = 40;
    let (first, mut last) = chan::unbuffered::<u32>();
    for _ in 0..n {
        let (tx, next) = chan::unbuffered();
        let rx = std::mem::replace(&mut last, next);
        let pass = move || rx.iter().for_each(|n| tx.send(n + 1).unwrap());
        Builder::new().name("link").locked().spawn(pass).unwrap();
    }
    for round in 0..20 {
        first.send(round).unwrap();
        assert_eq!(last.recv(), Ok(round + n));
    }
}

#[test]
fn a_deadlock_of_locked_goroutines_is_seen() {
    // A program of its own: the harness's threads could wake somebody.
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_deadlock"));
    let output = program.arg("locked").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("all goroutines are asleep - deadlock!"),
        "{text}"
    );
}

#[test]
fn the_number_of_processors_changes_while_goroutines_run() {
    if is_child() {
        let before = goruntime::max_procs();
        assert_eq!(before, 2);
        let over = Arc::new(AtomicBool::new(false));
        let busy: Vec<_> = (0..6)
            .map(|i| {
                let over = over.clone();
                go(move || {
                    let mut sum = 0u64;
                    while !over.load(Acquire) {
                        match i % 3 {
                            0 => sum += 1,
                            1 => yield_now(),
                            _ => time::sleep(Duration::from_micros(100)),
                        }
                    }
                    sum
                })
            })
            .collect();
        let mut now = before;
        for n in [1, 3, 1, 8, 2, 5, 1, 4] {
            assert_eq!(goruntime::set_max_procs(n), now);
            now = n;
            assert_eq!(goruntime::max_procs(), n);
            time::sleep(Duration::from_millis(5));
            assert_eq!(go(move || n).join().unwrap(), n);
        }
        over.store(true, Release);
        busy.into_iter().for_each(|b| _ = b.join().unwrap());
        return;
    }
    let name = "the_number_of_processors_changes_while_goroutines_run";
    let output = child(name, &[("GOMAXPROCS", "2")]);
    assert!(output.status.success(), "{output:?}");
}

/// The affinity mask of the process is narrowed while it runs, and widened again.
#[test]
fn the_number_of_processors_follows_the_affinity() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    if cpus < 2 {
        return;
    }
    if is_child() {
        assert_eq!(goruntime::max_procs(), cpus);
        // What the monitor's thread may run on is what it reads.
        let all: Vec<i32> = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        // SAFETY: sets of processors are plain data.
        let (mut whole, mut one): (libc::cpu_set_t, libc::cpu_set_t) =
            unsafe { std::mem::zeroed() };
        // SAFETY: the sets are writable; one processor of those that it may use.
        unsafe {
            libc::sched_getaffinity(0, size_of_val(&whole), &mut whole);
            let first = (0..1024).find(|&c| libc::CPU_ISSET(c, &whole)).unwrap();
            libc::CPU_SET(first, &mut one);
        }
        let set = |mask: &libc::cpu_set_t| {
            for &task in &all {
                // SAFETY: the set is readable; the threads are this process's own.
                unsafe { libc::sched_setaffinity(task, size_of_val(mask), mask) };
            }
        };
        let busy = Arc::new(AtomicBool::new(true));
        let seen = busy.clone();
        // The monitor sleeps while all is idle.
        go(move || {
            while seen.load(Acquire) {
                time::sleep(Duration::from_millis(1))
            }
        });
        set(&one);
        eventually("one processor", LIMIT, || goruntime::max_procs() == 1);
        assert_eq!(go(|| 3).join().unwrap(), 3);
        set(&whole);
        eventually("all of them", LIMIT, || goruntime::max_procs() == cpus);
        set(&one);
        goruntime::set_max_procs(3);
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(goruntime::max_procs(), 3, "it has been told");
        goruntime::reset_max_procs();
        busy.store(false, Release);
        return;
    }
    let output = child("the_number_of_processors_follows_the_affinity", &[]);
    assert!(output.status.success(), "{output:?}");
}

/// Far more goroutines block their threads than there may be threads: they take turns, and it is said once.
#[test]
#[cfg(not(feature = "thread-engine"))]
fn beyond_the_limit_of_threads_goroutines_wait_their_turn() {
    const LIMIT_OF_THREADS: u32 = 30;
    if is_child() {
        assert_eq!(goruntime::set_max_threads(LIMIT_OF_THREADS), 10_000);
        let most = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..1000)
            .map(|i| {
                let most = most.clone();
                go(move || {
                    goruntime::blocking(|| std::thread::sleep(Duration::from_millis(5)));
                    if i % 50 == 0 {
                        most.fetch_max(goruntime::metrics::snapshot().threads as usize, AcqRel);
                    }
                })
            })
            .collect();
        all.into_iter().for_each(|g| g.join().unwrap());
        let most = most.load(Acquire);
        assert!(most <= LIMIT_OF_THREADS as usize, "{most}");
        return;
    }
    let output = child(
        "beyond_the_limit_of_threads_goroutines_wait_their_turn",
        &[],
    );
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        text.matches("the limit of 30 is reached").count(),
        1,
        "{text}"
    );
}

/// The whole of it: 10,000 goroutines, each in a system call, on as many threads as that takes or the system gives.
#[test]
#[cfg(not(feature = "thread-engine"))]
fn ten_thousand_system_calls_at_once() {
    if !goruntime_tests::apart("ten_thousand_system_calls_at_once", &[]) {
        return;
    }
    let inside = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..10_000)
        .map(|_| {
            let (inside, most) = (inside.clone(), most.clone());
            go(move || {
                goruntime::blocking(|| {
                    most.fetch_max(inside.fetch_add(1, AcqRel) + 1, AcqRel);
                    std::thread::sleep(Duration::from_millis(500));
                    inside.fetch_sub(1, AcqRel);
                });
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(go(|| 1).join().unwrap(), 1);
    assert!(most.load(Acquire) > 100, "{}", most.load(Acquire));
}

/// Whoever starts a program decides what its signal mask is in the beginning. A thread that slept with the collector's signal blocked would be passed by, and what it holds freed.
#[test]
#[cfg(not(feature = "system-allocator"))]
fn a_mask_from_the_parent_hides_no_thread_from_the_collector() {
    use goruntime::gc::{self, Gc};
    if !is_child() {
        let output = std::thread::spawn(|| {
            block_the_stop_signal();
            child(
                "a_mask_from_the_parent_hides_no_thread_from_the_collector",
                &[],
            )
        });
        let output = output.join().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let sleeps = go(|| {
        let held: [Gc<usize>; 8] = std::array::from_fn(|i| Gc::new(0x1234_5670 + i));
        std::thread::sleep(Duration::from_millis(500));
        assert!((0..8).all(|i| *held[i] == 0x1234_5670 + i));
    });
    let collects = go(move || {
        while !sleeps.is_finished() {
            gc::collect();
            (0..10_000usize).for_each(|i| _ = Gc::new(i));
        }
        sleeps.join().unwrap();
    });
    collects.join().unwrap();
}

/// In the calling thread.
#[cfg(not(feature = "system-allocator"))]
fn block_the_stop_signal() {
    // SAFETY: a set of this function's own, which zero is valid for.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, libc::SIGURG);
        assert_eq!(
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()),
            0
        );
    }
}
