//! What is reported of goroutines and stops that do not get on, and of whom it is not.

use goruntime::{Builder, blocking, chan, goroutines, metrics, sync};
use goruntime_tests::{child, is_child};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

const SOON: (&str, &str) = ("GODEBUG", "stalltrace=200");

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) {
    Builder::new().name(name).spawn(f).unwrap();
}

/// Runs the test in a child whose goroutines stall, and returns what it printed.
fn printed(test: &str) -> String {
    let out = child(test, &[SOON]);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{err}");
    err
}

fn wait_a_second() {
    std::thread::sleep(Duration::from_secs(1));
}

/// Waits until so many have been reported; and a little, for those that should not be.
fn wait_for_reports(count: u64) {
    let begin = Instant::now();
    while metrics::snapshot().stalls < count && begin.elapsed() < Duration::from_secs(40) {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(500));
}

#[inline(never)]
fn never_ends() {
    let mut x = 1u64;
    loop {
        x = black_box(x.wrapping_mul(3));
    }
}

#[test]
fn an_endless_loop() {
    if is_child() {
        spawn("the-hog", never_ends);
        return wait_for_reports(1);
    }
    let err = printed("an_endless_loop");
    assert_eq!(err.matches("has held its thread").count(), 1, "once: {err}");
    assert!(err.contains("[running] {name: the-hog}:\n"), "{err}");
    if !cfg!(feature = "thread-engine") {
        assert!(err.contains("never_ends(...)\n"), "{err}");
    }
}

#[inline(never)]
fn locks_the_second(second: &Mutex<u32>) {
    black_box(*second.lock().unwrap());
}

#[test]
fn two_that_wait_for_each_others_foreign_lock() {
    if is_child() {
        let locks = Arc::new((Mutex::new(1), Mutex::new(2), Barrier::new(2)));
        let other = Arc::clone(&locks);
        spawn("left", move || {
            let _first = locks.0.lock().unwrap();
            locks.2.wait();
            locks_the_second(&locks.1);
        });
        spawn("right", move || {
            let _first = other.1.lock().unwrap();
            other.2.wait();
            locks_the_second(&other.0);
        });
        return wait_for_reports(2);
    }
    let err = printed("two_that_wait_for_each_others_foreign_lock");
    for name in ["left", "right"] {
        assert!(err.contains(&format!("{{name: {name}}}:\n")), "{err}");
    }
    if !cfg!(feature = "thread-engine") {
        assert_eq!(err.matches("locks_the_second(...)\n").count(), 2, "{err}");
        assert!(err.contains("lock"), "{err}");
    }
}

#[test]
fn a_call_into_c_that_sleeps() {
    if is_child() {
        spawn("sleeps-in-c", || {
            // SAFETY: it has no obligations.
            black_box(unsafe { libc::sleep(5) });
        });
        return wait_for_reports(1);
    }
    let err = printed("a_call_into_c_that_sleeps");
    assert!(err.contains("{name: sleeps-in-c}:\n"), "{err}");
    if !cfg!(feature = "thread-engine") {
        assert!(err.contains("nanosleep(...)\n"), "{err}");
    }
}

/// Waiting is what goroutines are for, and who says that a call may be long is believed.
#[test]
fn not_who_waits_or_said_so_or_gets_on() {
    if is_child() {
        let (sender, receiver) = chan::unbuffered::<u32>();
        spawn("parked", move || {
            let _ = receiver.recv();
        });
        spawn("declared", || blocking(wait_a_second));
        spawn("gets on", || {
            loop {
                goruntime::yield_now();
            }
        });
        wait_a_second();
        drop(sender);
        return;
    }
    let err = printed("not_who_waits_or_said_so_or_gets_on");
    assert!(!err.contains("has held its thread"), "{err}");
}

#[test]
fn a_hook_is_told_instead() {
    if is_child() {
        let (sender, receiver) = mpsc::channel();
        goroutines::on_stall(move |stall| {
            let name = stall.goroutine.name().map(str::to_owned);
            let _ = sender.send((name, stall.lasted));
        });
        spawn("the-hog", never_ends);
        let (name, lasted) = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(name.as_deref(), Some("the-hog"));
        assert!(lasted >= Duration::from_millis(200));
        return wait_for_reports(1);
    }
    let err = printed("a_hook_is_told_instead");
    assert!(!err.contains("has held its thread"), "{err}");
}

#[inline(never)]
fn waits_with_the_lock(lock: &sync::Mutex<u32>, news: &chan::Receiver<u32>) {
    let mut guard = lock.lock();
    *guard = news.recv().unwrap_or(0);
}

/// When the lock is not free any more, three more want it; and that is reported.
fn three_want_it(is_free: impl Fn() -> bool, want: impl Fn(u32) + Clone + Send + 'static) {
    while is_free() {
        std::thread::sleep(Duration::from_millis(1));
    }
    for n in 0..3 {
        let want = want.clone();
        spawn("wants-it", move || want(n));
    }
    // The monitor looks while something runs.
    spawn("busy", || {
        loop {
            goruntime::yield_now();
        }
    });
    wait_for_reports(1);
}

/// Looks whether the test's process has told once of all three, and of the holder by its name and by the function that it waits in. Returns what was told before it.
fn told_of_the_holder(test: &str, name: &str, function: &str) -> String {
    let err = printed(test);
    assert_eq!(
        err.matches("has waited for a lock").count(),
        1,
        "once for all who wait for one holder: {err}"
    );
    assert!(err.contains(", and 2 more for the same holder"), "{err}");
    let (waiter, holder) = err.split_once("the lock is held by").unwrap();
    assert!(
        holder.contains(&format!("[chan receive] {{name: {name}}}")),
        "{err}"
    );
    if !cfg!(feature = "thread-engine") {
        assert!(holder.contains(&format!("{function}(...)\n")), "{err}");
    }
    waiter.to_owned()
}

/// One waits with a lock in its hands, and all that want the lock wait behind it.
#[test]
fn a_lock_held_over_a_wait() {
    if is_child() {
        let lock = Arc::new(sync::Mutex::new(0));
        let (sender, receiver) = chan::unbuffered();
        let held = Arc::clone(&lock);
        spawn("the-holder", move || waits_with_the_lock(&held, &receiver));
        let wanted = Arc::clone(&lock);
        three_want_it(|| lock.try_lock().is_some(), move |_| *wanted.lock() += 1);
        drop(sender);
        return;
    }
    let waiter = told_of_the_holder(
        "a_lock_held_over_a_wait",
        "the-holder",
        "waits_with_the_lock",
    );
    assert!(
        waiter.contains("[sync.Mutex.Lock, held by goroutine "),
        "{waiter}"
    );
    assert!(waiter.contains("{name: wants-it}"), "{waiter}");
}

#[inline(never)]
fn waits_while_it_writes(lock: &sync::RwLock<u32>, news: &chan::Receiver<u32>) {
    let mut guard = lock.write();
    *guard = news.recv().unwrap_or(0);
}

/// The same with a lock of many readers: those who want to read and those who want to write are told who writes.
#[test]
fn a_writer_that_waits() {
    if is_child() {
        let lock = Arc::new(sync::RwLock::new(0));
        let (sender, receiver) = chan::unbuffered();
        let held = Arc::clone(&lock);
        spawn("the-writer", move || {
            waits_while_it_writes(&held, &receiver)
        });
        let wanted = Arc::clone(&lock);
        three_want_it(
            || lock.try_read().is_some(),
            move |n| match n {
                0 => *wanted.write() += 1,
                _ => drop(wanted.read()),
            },
        );
        drop(sender);
        return;
    }
    let waiter = told_of_the_holder("a_writer_that_waits", "the-writer", "waits_while_it_writes");
    assert!(waiter.contains(", held by goroutine "), "{waiter}");
}

/// A thread that blocks the signal and computes keeps everybody waiting; that is said while it lasts.
#[test]
fn a_stop_that_is_late() {
    if is_child() {
        let computes = Arc::new(AtomicBool::new(true));
        let until = Arc::clone(&computes);
        let thread = std::thread::Builder::new().name("deaf".into());
        let (sender, receiver) = mpsc::channel();
        thread
            .spawn(move || {
                // SAFETY: a set of our own; this thread's mask.
                unsafe {
                    let mut all = std::mem::zeroed();
                    libc::sigfillset(&mut all);
                    libc::pthread_sigmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
                }
                sender.send(()).unwrap();
                let begin = Instant::now();
                while until.load(Ordering::Relaxed) && begin.elapsed() < Duration::from_secs(2) {
                    std::hint::spin_loop();
                }
                // Now it sleeps, and is seen to block the signal.
                std::thread::sleep(Duration::from_secs(60));
            })
            .unwrap();
        receiver.recv().unwrap();
        goroutines::all().unwrap();
        computes.store(false, Ordering::Relaxed);
        return;
    }
    let err = printed("a_stop_that_is_late");
    assert_eq!(
        err.matches("stopping the world has taken a second").count(),
        1,
        "{err}"
    );
    assert!(err.contains("(deaf) has not stopped"), "{err}");
}
