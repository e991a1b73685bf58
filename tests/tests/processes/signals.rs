//! Signals from a channel. Each test is a process of its own, for signals are the process's.

use goruntime::context::Context;
use goruntime::signal::{self, Signal};
use goruntime::time::{self, Duration};
use goruntime::{chan, go, select};
use goruntime_tests::{child, eventually, is_child};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering::*};

fn send(signal: Signal) {
    // SAFETY: sends a signal to this process.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal.as_raw()) }, 0);
}

/// Runs the test in a child; true in the child.
fn apart(name: &str) -> bool {
    goruntime_tests::apart(&format!("signals::{name}"), &[])
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

const SOON: Duration = Duration::from_secs(20);

fn next(signals: &signal::Signals) -> Signal {
    signals.recv_until(time::now() + SOON).unwrap()
}

#[test]
fn everybody_who_asks_is_told() {
    if !apart("everybody_who_asks_is_told") {
        return;
    }
    let one = signal::notify([Signal::USER1]).unwrap();
    let both = signal::notify([Signal::USER1, Signal::USER2]).unwrap();
    send(Signal::USER1);
    assert_eq!((next(&one), next(&both)), (Signal::USER1, Signal::USER1));
    send(Signal::USER2);
    assert_eq!(next(&both), Signal::USER2);
    assert!(one.is_empty());
    // From a goroutine, beside other things.
    let (_sender, nothing) = chan::unbuffered::<()>();
    let waiter = go(move || {
        select! {
            recv(both) -> signal => signal.unwrap(),
            recv(nothing) -> _ => unreachable!(),
        }
    });
    std::thread::sleep(Duration::from_millis(5));
    send(Signal::USER2);
    assert_eq!(waiter.join().unwrap(), Signal::USER2);
    drop(one);

    // Anew after all had gone.
    let again = signal::notify([Signal::HANGUP]).unwrap();
    for _ in 0..100 {
        send(Signal::HANGUP);
        assert_eq!(next(&again), Signal::HANGUP);
    }
    // One that is not heard loses what it cannot hold, and nothing else.
    for _ in 0..100 {
        send(Signal::HANGUP);
        std::thread::sleep(Duration::from_micros(100));
    }
    let kept = std::iter::from_fn(|| again.try_recv().ok()).count();
    assert!((1..=17).contains(&kept), "{kept}");
    // The last may still be under way, and would find its first action, which ends the process.
    std::mem::forget(again);
}

/// A context ends by a signal, after which the next one is the system's again; or by its parent, or when it is not needed any more.
#[test]
fn contexts_end_by_signals() {
    if is_child() {
        let root = Context::background();
        let both = [Signal::USER1, Signal::TERMINATE];
        let (parent, cancel) = root.with_cancel();
        let (context, _stop) = signal::notify_context(&parent, both).unwrap();
        cancel.cancel();
        assert!(context.sleep(SOON).is_err());
        let (context, stop) = signal::notify_context(&root, both).unwrap();
        stop.cancel();
        assert!(context.sleep(SOON).is_err());

        let (context, _stop) = signal::notify_context(&root, both).unwrap();
        send(Signal::USER1);
        assert!(context.sleep(SOON).is_err());
        let cause = context.cause().unwrap().to_string();
        assert_eq!(cause, "SIGUSR1 was received");
        eprintln!("it has ended");
        eventually("the first action", SOON, || {
            // SAFETY: reads the action into a local.
            let now = unsafe {
                let mut now: libc::sigaction = std::mem::zeroed();
                libc::sigaction(libc::SIGTERM, std::ptr::null(), &mut now);
                now
            };
            now.sa_sigaction == libc::SIG_DFL
        });
        send(Signal::TERMINATE);
        std::thread::sleep(SOON);
        return;
    }
    let out = child("signals::contexts_end_by_signals", &[]);
    let said = said(&out);
    assert_eq!(out.status.signal(), Some(libc::SIGTERM), "{said}");
    assert!(said.contains("it has ended"), "{said}");
}

/// A signal that nobody asks for any more does what it did.
#[test]
fn what_is_stopped_is_as_before() {
    if is_child() {
        let signals = signal::notify([Signal::TERMINATE]).unwrap();
        send(Signal::TERMINATE);
        assert_eq!(next(&signals), Signal::TERMINATE);
        drop(signals);
        send(Signal::TERMINATE);
        std::thread::sleep(SOON);
        return;
    }
    let out = child("signals::what_is_stopped_is_as_before", &[]);
    assert_eq!(out.status.signal(), Some(libc::SIGTERM), "{}", said(&out));
}

#[test]
fn ignored_and_reset() {
    if !apart("ignored_and_reset") {
        return;
    }
    let signals = signal::notify([Signal::INTERRUPT, Signal::USER1]).unwrap();
    assert!(!signal::is_ignored(Signal::INTERRUPT));
    signal::ignore([Signal::INTERRUPT]).unwrap();
    assert!(signal::is_ignored(Signal::INTERRUPT));
    send(Signal::INTERRUPT);
    send(Signal::USER1);
    assert_eq!(next(&signals), Signal::USER1, "the other came to nothing");
    // A child ignores it too, until the program resets it.
    let inherits = || {
        let mut shell = goruntime::process::Command::new("sh");
        let status = shell.args(["-c", "kill -INT $$; exit 5"]).status().unwrap();
        status.code() == Some(5)
    };
    assert!(inherits());
    signal::reset([Signal::INTERRUPT]).unwrap();
    assert!(!signal::is_ignored(Signal::INTERRUPT) && !inherits());
    let signals = signal::notify([Signal::INTERRUPT]).unwrap();
    send(Signal::INTERRUPT);
    assert_eq!(next(&signals), Signal::INTERRUPT);
    // Rust programs ignore this one, and do so again afterwards.
    assert!(signal::is_ignored(Signal::PIPE));
    let pipes = signal::notify([Signal::PIPE]).unwrap();
    send(Signal::PIPE);
    assert_eq!(next(&pipes), Signal::PIPE);
    drop(pipes);
    assert!(signal::is_ignored(Signal::PIPE));
}

/// A handler that was there before is called as well.
#[test]
fn handlers_from_before_are_called() {
    static BY_NUMBER: AtomicU32 = AtomicU32::new(0);
    static BY_INFO: AtomicU32 = AtomicU32::new(0);
    extern "C" fn by_number(signal: i32) {
        BY_NUMBER.fetch_add(signal as u32, SeqCst);
    }
    extern "C" fn by_info(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel passes one to a handler that wants it.
        BY_INFO.fetch_add(unsafe { (*info).si_pid() } as u32, SeqCst);
    }
    if !apart("handlers_from_before_are_called") {
        return;
    }
    // SAFETY: an all-zero sigaction is valid; the handlers are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = by_number as *const () as usize;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
        action.sa_sigaction = by_info as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(
            libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()),
            0
        );
    }
    let signals = signal::notify([Signal::USER1, Signal::USER2]).unwrap();
    send(Signal::USER1);
    assert_eq!(next(&signals), Signal::USER1);
    eventually("the first handler", SOON, || {
        BY_NUMBER.load(SeqCst) == libc::SIGUSR1 as u32
    });
    send(Signal::USER2);
    assert_eq!(next(&signals), Signal::USER2);
    eventually("the second handler", SOON, || {
        BY_INFO.load(SeqCst) == std::process::id()
    });
    drop(signals);
    send(Signal::USER1);
    eventually("it alone", SOON, || {
        BY_NUMBER.load(SeqCst) == 2 * libc::SIGUSR1 as u32
    });
    // One that was put there between two times of asking.
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGUSR2, by_number as *const () as usize) };
    let signals = signal::notify([Signal::USER2]).unwrap();
    send(Signal::USER2);
    assert_eq!(next(&signals), Signal::USER2);
    let so_far = (2 * libc::SIGUSR1 + libc::SIGUSR2) as u32;
    eventually("the handler in between", SOON, || {
        BY_NUMBER.load(SeqCst) == so_far
    });
    drop(signals);
    send(Signal::USER2);
    let so_far = so_far + libc::SIGUSR2 as u32;
    eventually("it alone", SOON, || BY_NUMBER.load(SeqCst) == so_far);
    assert_eq!(BY_INFO.load(SeqCst), std::process::id());
}

/// Asked for, Ctrl-\ does not print and end; otherwise it does.
#[test]
fn the_report_on_quit_may_be_taken_over() {
    if is_child() {
        go(|| ()).join().unwrap();
        let signals = signal::notify([Signal::QUIT]).unwrap();
        send(Signal::QUIT);
        assert_eq!(next(&signals), Signal::QUIT);
        std::thread::sleep(Duration::from_millis(50));
        eprintln!("still here");
        drop(signals);
        send(Signal::QUIT);
        std::thread::sleep(SOON);
        return;
    }
    let out = child("signals::the_report_on_quit_may_be_taken_over", &[]);
    let said = said(&out);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(
        said.find("still here") < said.find("SIGQUIT: quit"),
        "{said}"
    );
}

/// Signals, collections that stop every thread by one, and children that are forked meanwhile do not disturb each other.
#[test]
#[cfg(not(feature = "system-allocator"))]
fn among_collections_and_children() {
    if !apart("among_collections_and_children") {
        return;
    }
    let signals = signal::notify([Signal::USER1]).unwrap();
    let collector = go(|| (0..50).for_each(|_| goruntime::gc::collect()));
    let children = go(|| {
        for _ in 0..20 {
            let status = goruntime::process::Command::new("true").status().unwrap();
            assert!(status.success(), "{status}");
        }
    });
    let sender = std::thread::spawn(|| {
        for _ in 0..2000 {
            send(Signal::USER1);
            std::thread::sleep(Duration::from_micros(50));
        }
    });
    let mut heard = 0;
    while !sender.is_finished() {
        heard += u32::from(
            signals
                .recv_until(time::now() + Duration::from_millis(1))
                .is_ok(),
        );
    }
    sender.join().unwrap();
    collector.join().unwrap();
    children.join().unwrap();
    assert!(heard > 100, "{heard} of 2000");
    // The last may still be under way.
    std::mem::forget(signals);
}
