//! Goroutines and their calls: that each is found once, wherever it stands, and what `SIGQUIT` prints.

use goruntime::goroutines::{self, GoroutineStack};
use goruntime::{Builder, chan, go};
use goruntime_tests::{child, is_child};
use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// Waits until all goroutines are in the states that `ready` asks for.
fn eventually(ready: impl Fn(&[GoroutineStack]) -> bool) -> Vec<GoroutineStack> {
    let begin = Instant::now();
    loop {
        let found = goroutines::all().unwrap();
        if ready(&found) {
            return found;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{}",
            found.iter().map(|g| format!("{g}\n")).collect::<String>()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn named<'a>(found: &'a [GoroutineStack], name: &str) -> Option<&'a GoroutineStack> {
    found.iter().find(|g| g.name() == Some(name))
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) {
    Builder::new().name(name).spawn(f).unwrap();
}

#[inline(never)]
fn computes(stop: &AtomicBool) {
    let mut x = 1u64;
    while !stop.load(Ordering::Relaxed) {
        x = black_box(x.wrapping_mul(3));
    }
}

#[inline(never)]
fn receives(receiver: &chan::Receiver<u32>) {
    black_box(receiver.recv().ok());
}

#[inline(never)]
fn blocks_its_thread(receiver: &std::sync::mpsc::Receiver<u32>) {
    black_box(receiver.recv().ok());
}

#[inline(never)]
fn descends(depth: u32, receiver: &chan::Receiver<u32>) {
    match depth {
        0 => receives(receiver),
        _ => descends(depth - 1, receiver),
    }
    black_box(depth);
}

#[test]
fn each_is_found_where_it_stands() {
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = chan::unbuffered();
    let (their_sender, their_receiver) = std::sync::mpsc::channel();
    let (deep, stopped) = (receiver.clone(), Arc::clone(&stop));
    spawn("receives", move || receives(&receiver));
    spawn("deep", move || descends(40, &deep));
    spawn("computes", move || computes(&stopped));
    spawn("blocks", move || blocks_its_thread(&their_receiver));
    let found = eventually(|found| {
        let calls =
            |name, function| named(found, name).is_some_and(|g| g.to_string().contains(function));
        cfg!(feature = "thread-engine")
            || calls("receives", "recv")
                && calls("receives", "receives(")
                && calls("deep", "receives(")
                && calls("computes", "computes(")
                && calls("blocks", "blocks_its_thread(")
    });
    if !cfg!(feature = "thread-engine") {
        let receives = named(&found, "receives").unwrap();
        assert_eq!(receives.state(), "chan receive");
        let text = receives.to_string();
        assert!(text.starts_with("goroutine "), "{text}");
        assert!(text.contains("tests/goroutines.rs:"), "{text}");
        assert!(
            !text.contains("gosched/src/sched/"),
            "what the runtime does is left out: {text}"
        );
        assert!(
            receives
                .created_at()
                .unwrap()
                .file()
                .ends_with("goroutines.rs")
        );
        let deep = named(&found, "deep").unwrap().to_string();
        assert_eq!(deep.matches("descends(").count(), 41, "{deep}");
    }
    stop.store(true, Ordering::Relaxed);
    drop((sender, their_sender));
}

#[test]
fn many_are_found_once_while_others_come_and_go() {
    let many = if cfg!(feature = "thread-engine") {
        50
    } else {
        2500
    };
    let (sender, receiver) = chan::unbuffered::<u32>();
    let waiting: Vec<_> = (0..many)
        .map(|_| {
            let receiver = receiver.clone();
            Builder::new()
                .name("one of many")
                .spawn(move || receives(&receiver))
                .unwrap()
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            go(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Threads are inside the allocator most of the time.
                    let vectors: Vec<_> = (0..50).map(|i| vec![i; 20]).collect();
                    go(move || drop(black_box(vectors))).join().unwrap();
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let found = goroutines::all().unwrap();
        let ids: HashSet<u64> = found.iter().map(GoroutineStack::id).collect();
        assert_eq!(ids.len(), found.len(), "none is found twice");
        let ours = found.iter().filter(|g| g.name() == Some("one of many"));
        assert_eq!(ours.count(), many);
    }
    stop.store(true, Ordering::Relaxed);
    drop(sender);
    for one in busy.into_iter().chain(waiting) {
        one.join().unwrap();
    }
}

#[test]
fn sigquit_prints_all_of_them() {
    if is_child() {
        let (sender, receiver) = chan::unbuffered::<u32>();
        spawn("the-waiter", move || receives(&receiver));
        let waits = |g: &GoroutineStack| g.state() == "chan receive";
        eventually(|found| found.iter().any(waits));
        let hog = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&hog);
        spawn("the-hog", move || computes(&theirs));
        std::thread::sleep(Duration::from_millis(20));
        // SAFETY: a signal to this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGQUIT) };
        std::thread::sleep(Duration::from_secs(30));
        drop(sender);
        return;
    }
    let out = child("sigquit_prints_all_of_them", &[]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{err}");
    assert!(err.starts_with("SIGQUIT: quit\n\n"), "{err}");
    assert!(err.contains("[chan receive] {name: the-waiter}:"), "{err}");
    if !cfg!(feature = "thread-engine") {
        assert!(err.contains("receives(...)\n"), "{err}");
        assert!(err.contains("computes(...)\n"), "{err}");
    }
}
