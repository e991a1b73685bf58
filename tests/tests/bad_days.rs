//! What the world may do to a process that its monitor must not mistake for the program's doing: stops, and floods of signals.

use goruntime::{Builder, chan, go};
use goruntime_tests::{child, is_child};
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// Computes for a time that no monitor finds long, as the process's own clock counts it.
fn a_burst() {
    let begin = Instant::now();
    let mut x = 1u64;
    while begin.elapsed() < Duration::from_millis(300) {
        for _ in 0..1000 {
            x = black_box(x.wrapping_mul(3));
        }
    }
}

/// Goroutines that compute and get on, while the process is stopped and goes on again: nobody stalls, and all is as before.
#[test]
fn being_stopped_is_no_stall() {
    if is_child() {
        let done = Arc::new(AtomicU64::new(0));
        for _ in 0..4 {
            let done = Arc::clone(&done);
            Builder::new()
                .spawn(move || {
                    loop {
                        a_burst();
                        done.fetch_add(1, Ordering::Relaxed);
                        goruntime::yield_now();
                    }
                })
                .unwrap();
        }
        let pid = std::process::id();
        // Another process stops this one and has it go on, since nobody can wake himself.
        let script = format!(
            "for i in 1 2 3; do sleep 0.3; kill -STOP {pid}; sleep 1; kill -CONT {pid}; done"
        );
        let mut stopper = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        assert!(stopper.wait().unwrap().success());
        let before = done.load(Ordering::Relaxed);
        let begin = Instant::now();
        while done.load(Ordering::Relaxed) < before + 8 {
            assert!(begin.elapsed() < Duration::from_secs(20), "nobody gets on");
            goruntime::time::sleep(Duration::from_millis(5));
        }
        assert_eq!(goruntime::metrics::snapshot().stalls, 0);
        return;
    }
    let out = child(
        "being_stopped_is_no_stall",
        &[("GODEBUG", "stalltrace=700")],
    );
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{err}");
    assert!(!err.contains("has held its thread"), "{err}");
}

/// Signals without end, the runtime's own among them, on whatever thread they hit: messages still arrive, once and in order.
#[test]
fn a_flood_of_signals() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing; an all-zero action is valid.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let flood = std::thread::spawn(move || {
        let mut sent = 0u64;
        while !stop.load(Ordering::Relaxed) {
            for signal in [libc::SIGUSR1, libc::SIGURG] {
                // SAFETY: a signal to this process, which has a handler for it, or ignores it.
                unsafe { libc::kill(libc::getpid(), signal) };
            }
            sent += 2;
        }
        sent
    });
    const MESSAGES: u64 = 20_000;
    let pairs: Vec<_> = (0..4)
        .map(|_| {
            let (sender, receiver) = chan::bounded(3);
            go(move || {
                for n in 0..MESSAGES {
                    sender.send(n).unwrap();
                }
            });
            go(move || {
                for n in 0..MESSAGES {
                    assert_eq!(receiver.recv(), Ok(n));
                    if n % 5000 == 0 {
                        goruntime::time::sleep(Duration::from_millis(1));
                    }
                }
            })
        })
        .collect();
    for pair in pairs {
        pair.join().unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let sent = flood.join().unwrap();
    assert!(sent > 1000, "{sent} signals are no flood");
}
