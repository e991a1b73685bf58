//! What is reported of goroutines that hold a thread and do not get on, and of whom it is not.

use goruntime::{Builder, blocking, chan, goroutines, metrics};
use goruntime_tests::{child, is_child};
use std::hint::black_box;
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
