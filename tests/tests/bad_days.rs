//! What the world may do to a process that its monitor must not mistake for the program's doing: stops, a want of threads, and floods of signals.

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

/// The system gives no more threads (`RLIMIT_NPROC`): goroutines that block take turns on those there are, hogs still let others run, nothing spins for a thread that does not come;
/// and when there are threads again, all is as before.
#[test]
#[cfg_attr(feature = "thread-engine", ignore = "goroutines are threads there")]
fn no_more_threads() {
    if is_child() {
        // SAFETY: gives up rights of this process's own, with which the limit would not hold.
        if unsafe { libc::geteuid() } == 0 {
            const NOBODY: u32 = 65_534;
            // SAFETY: as above.
            assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
        }
        go(|| ()).join().unwrap();
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a live structure of that type.
        let failed = unsafe { libc::getrlimit(libc::RLIMIT_NPROC, &mut limit) };
        assert_eq!(failed, 0);
        let set = |soft| {
            let limit = libc::rlimit {
                rlim_cur: soft,
                ..limit
            };
            // SAFETY: a live structure of that type.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &limit) }, 0);
        };
        set(1);
        assert!(
            std::thread::Builder::new().spawn(|| ()).is_err(),
            "the limit does not hold"
        );
        let (begin, used) = (Instant::now(), cpu_time());
        let blocked = (0..40)
            .map(|_| go(|| goruntime::blocking(|| std::thread::sleep(Duration::from_millis(20)))));
        let blocked: Vec<_> = blocked.collect();
        blocked.into_iter().for_each(|g| g.join().unwrap());
        let (passed, used) = (begin.elapsed(), cpu_time() - used);
        assert!(
            used * 2 < passed,
            "{used:?} of processor time in {passed:?} in which all slept"
        );
        let hogs: Vec<_> = (0..4).map(|_| go(a_burst)).collect();
        let quick = go(|| 7);
        hogs.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(quick.join().unwrap(), 7);
        set(limit.rlim_cur);
        let begin = Instant::now();
        let long = Duration::from_millis(200);
        let blocked: Vec<_> = (0..20)
            .map(|_| go(move || goruntime::blocking(|| std::thread::sleep(long))))
            .collect();
        blocked.into_iter().for_each(|g| g.join().unwrap());
        let passed = begin.elapsed();
        assert!(
            passed < long * 10,
            "{passed:?}: they still take turns on the threads that there were"
        );
        assert_eq!(goruntime::metrics::snapshot().stalls, 0);
        return;
    }
    let out = child("no_more_threads", &[]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{err}");
}

/// What the process has used.
fn cpu_time() -> Duration {
    // SAFETY: an all-zero timespec is valid, and live.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        assert_eq!(
            libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time),
            0
        );
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
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
