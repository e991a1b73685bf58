//! What ends the process says why: stack overflow (ruling 3.4) and deadlock.

use goruntime::{Builder, chan, go};
use goruntime_tests::{child, is_child};
use std::os::unix::process::ExitStatusExt;

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 16]);
    if depth == u64::MAX {
        return 0;
    }
    recurse(depth + 1) + frame[3]
}

#[test]
fn deep_recursion_is_named_and_not_a_bare_sigsegv() {
    if is_child() {
        Builder::new()
            .name("the-deep-one")
            .spawn(|| recurse(std::hint::black_box(0)))
            .unwrap()
            .join()
            .ok();
        return;
    }
    let out = child("deep_recursion_is_named_and_not_a_bare_sigsegv", &[]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.signal(), Some(libc::SIGABRT), "{err}");
    assert!(err.contains("stack overflow"), "{err}");
    if !cfg!(feature = "thread-engine") {
        assert!(err.contains("goroutine"), "{err}");
        assert!(err.contains("the-deep-one"), "{err}");
        assert!(err.contains("fatal.rs"), "where it was started: {err}");
    }
}

#[inline(never)]
fn one_big_frame() -> u8 {
    let frame = std::hint::black_box([1u8; 1 << 20]);
    frame[std::hint::black_box(5)]
}

#[test]
fn a_frame_larger_than_the_stack_is_an_overflow_too() {
    if is_child() {
        Builder::new()
            .stack_size(128 << 10)
            .spawn(|| std::hint::black_box(one_big_frame()))
            .unwrap()
            .join()
            .ok();
        return;
    }
    let out = child("a_frame_larger_than_the_stack_is_an_overflow_too", &[]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.signal(), Some(libc::SIGABRT), "{err}");
    assert!(err.contains("stack overflow"), "{err}");
}

#[test]
fn a_plain_thread_overflows_as_std_has_it() {
    if is_child() {
        go(|| ()).join().unwrap();
        let _ = std::thread::Builder::new()
            .name("plain".into())
            .spawn(|| recurse(std::hint::black_box(0)))
            .unwrap()
            .join();
        return;
    }
    let out = child("a_plain_thread_overflows_as_std_has_it", &[]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.signal(), Some(libc::SIGABRT), "{err}");
    assert!(
        err.contains("'plain'") && err.contains("overflowed its stack"),
        "{err}"
    );
}

#[test]
fn a_real_segmentation_fault_stays_one() {
    if is_child() {
        go(|| {
            // SAFETY: none: the fault is the point of the test.
            unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() }
        })
        .join()
        .ok();
        return;
    }
    let out = child("a_real_segmentation_fault_stays_one", &[]);
    assert_eq!(out.status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn everybody_asleep_is_a_deadlock() {
    if is_child() {
        // The test harness keeps a plain thread that could wake someone; the check is for programs without.
        return;
    }
    for exe in [
        env!("CARGO_BIN_EXE_deadlock"),
        env!("CARGO_BIN_EXE_deadlock_gc"),
    ] {
        let out = std::process::Command::new(exe).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{err}");
        assert!(
            err.contains("all goroutines are asleep - deadlock!"),
            "{err}"
        );
        assert!(err.contains("goroutine 1 ["), "{err}");
        if !cfg!(feature = "thread-engine") {
            assert!(err.contains("main"), "with its calls: {err}");
            assert!(err.contains("(...)\n\t"), "with its calls: {err}");
        }
    }
}

#[test]
fn a_panic_names_the_goroutine_its_calls_and_where_it_was_started() {
    for wanted in ["0", "1", "full"] {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_panics"));
        let out = program.env("RUST_BACKTRACE", wanted).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{err}");
        for part in [
            " 'doomed' panicked at tests/src/bin/panics.rs:8:14:\nall is lost after 0\n\n",
            " [running] {name: doomed}:\n",
            "\ncreated by gosched\n\ttests/src/bin/panics.rs:",
            "panicked at tests/src/bin/panics.rs:19:27:\na plain thread",
        ] {
            assert!(err.contains(part), "no {part:?} in {err}");
        }
        let goroutine = err.split("created by").next().unwrap();
        let calls = goroutine.matches("loses_it(...)\n").count();
        assert_eq!(calls, if wanted == "0" { 0 } else { 4 }, "{err}");
        // All of them, with what called the goroutine's closure. On threads the engine's frames are in between, and not told from the program's.
        if !cfg!(feature = "thread-engine") {
            assert_eq!(goroutine.contains("gosched"), wanted == "full", "{err}");
        }
        assert_eq!(err.contains("note: run with"), wanted == "0", "{err}");
    }
}

#[test]
fn a_program_with_a_hook_for_panics_keeps_it() {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_panics"));
    let out = program.arg("hook").output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(
        err.matches("the program's hook: panicked at").count(),
        2,
        "{err}"
    );
    assert!(!err.contains("goroutine"), "{err}");
}

#[test]
#[cfg_attr(
    feature = "thread-engine",
    ignore = "the stack of a thread that ended serves the next one, whose frames may show what it held"
)]
fn waiting_for_what_the_collector_finds_dead_is_no_deadlock() {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_deadlock_gc"));
    program.arg("dropped");
    /// What the program says when the object was kept for once.
    const KEPT: i32 = 4;
    let mut dropped = 0;
    for _ in 0..20 {
        let out = program.output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        match out.status.code() {
            Some(KEPT) => {}
            code => assert_eq!(code, Some(0), "{err}"),
        }
        dropped += usize::from(out.status.success());
    }
    assert!(
        dropped >= 10,
        "kept most of the time: {dropped} of 20 were dropped"
    );
}

#[test]
fn a_malformed_limit_keeps_the_program_from_starting() {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_deadlock"));
    let out = program.env("GOMEMLIMIT", "5GB").output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{err}");
    assert!(err.contains("cannot start") && err.contains("5GB"), "{err}");
}

#[test]
fn waiting_on_a_plain_thread_is_no_deadlock() {
    let (tx, rx) = chan::unbuffered();
    let g = go(move || rx.recv().unwrap());
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        tx.send(9).unwrap();
    });
    assert_eq!(g.join().unwrap(), 9);
}

#[cfg(not(feature = "thread-engine"))]
#[test]
fn all_again_with_frames_in_the_reserve_for_late_libraries() {
    goruntime_tests::all_but(
        "all_again_with_frames_in_the_reserve_for_late_libraries",
        &[("GODEBUG", "latestatictls=0")],
    );
}
