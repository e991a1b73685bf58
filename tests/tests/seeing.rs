//! Seeing inside: what each goroutine does and has used, and Go's trace lines of a running program.

use goruntime::metrics::{self, GoroutineState, WaitReason};
use goruntime::{Builder, chan, go, lock_os_thread, sync, time, yield_now};
use goruntime_tests::{child, eventually, is_child};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

const LIMIT: Duration = Duration::from_secs(30);

fn find(name: &str) -> Option<metrics::GoroutineInfo> {
    metrics::goroutines()
        .into_iter()
        .find(|g| g.name.as_deref() == Some(name))
}

#[test]
fn every_wait_is_named_with_its_reason_place_and_length() {
    let (tx, rx) = chan::unbuffered::<()>();
    let lock = Arc::new(sync::Mutex::new(()));
    let held = lock.lock();
    let (a, b) = (rx.clone(), lock.clone());
    let over = Arc::new(AtomicBool::new(false));
    let seen = over.clone();
    let site = line!() + 1;
    let spawn =
        |name: &str, f: Box<dyn FnOnce() + Send>| Builder::new().name(name).spawn(f).unwrap();
    let all = [
        spawn("receives", Box::new(move || _ = a.recv())),
        spawn("locks", Box::new(move || drop(b.lock()))),
        spawn(
            "sleeps",
            Box::new(|| time::sleep(Duration::from_millis(900))),
        ),
        spawn(
            "blocks",
            Box::new(|| goruntime::blocking(|| std::thread::sleep(Duration::from_millis(900)))),
        ),
        spawn(
            "runs",
            Box::new(move || {
                while !seen.load(Acquire) {
                    std::hint::spin_loop()
                }
            }),
        ),
    ];
    for (name, state) in [
        ("receives", GoroutineState::Waiting(WaitReason::ChanReceive)),
        ("locks", GoroutineState::Waiting(WaitReason::MutexLock)),
        ("sleeps", GoroutineState::Waiting(WaitReason::Sleep)),
        ("blocks", GoroutineState::Syscall),
        ("runs", GoroutineState::Running),
    ] {
        eventually(name, LIMIT, || find(name).is_some_and(|g| g.state == state));
        let site_of = find(name).unwrap().site.unwrap();
        assert!(
            site_of.file().ends_with("seeing.rs") && (site..site + 6).contains(&site_of.line())
        );
    }
    // The time of a wait is known to some milliseconds.
    std::thread::sleep(Duration::from_millis(60));
    let waited = find("receives").unwrap().waiting_for;
    assert!(
        waited.to_duration() >= Duration::from_millis(30),
        "{waited:?}"
    );
    over.store(true, Release);
    drop((tx, held));
    all.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn processor_time_is_charged_to_who_used_it() {
    metrics::set_cpu_accounting(true);
    let over = Arc::new(AtomicBool::new(false));
    let seen = over.clone();
    let works = Builder::new().name("works").spawn(move || {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(100) {
            for _ in 0..10_000 {
                std::hint::spin_loop();
            }
            yield_now();
        }
        while !seen.load(Acquire) {
            time::sleep(Duration::from_millis(1));
        }
    });
    let seen = over.clone();
    let rests = Builder::new().name("rests").spawn(move || {
        while !seen.load(Acquire) {
            time::sleep(Duration::from_millis(5));
        }
    });
    let cpu = |name| find(name).map_or(Duration::ZERO, |g| g.cpu.to_duration());
    eventually("a tenth of the time", LIMIT, || {
        cpu("works") >= Duration::from_millis(10)
    });
    assert!(
        cpu("rests") < cpu("works") / 2,
        "{:?} {:?}",
        cpu("rests"),
        cpu("works")
    );
    metrics::set_cpu_accounting(false);
    over.store(true, Release);
    works.unwrap().join().unwrap();
    rests.unwrap().join().unwrap();
}

/// The formats are Go's: `SCHED` with one line, or with one for each P, M and G.
#[test]
fn traces_are_those_of_go() {
    if is_child() {
        let (_tx, rx) = chan::unbuffered::<()>();
        let _locked = go(move || {
            let _lock = lock_os_thread();
            rx.recv()
        });
        go(|| (0..40).for_each(|_| time::sleep(Duration::from_millis(5))))
            .join()
            .unwrap();
        return;
    }
    let said = |debug: &str| {
        let output = child(
            "traces_are_those_of_go",
            &[("GODEBUG", debug), ("GOMAXPROCS", "2")],
        );
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let brief = said("schedtrace=20");
    let line = brief
        .lines()
        .rfind(|l| l.starts_with("SCHED "))
        .expect(&brief);
    for part in [
        "ms: gomaxprocs=2 idleprocs=",
        " threads=",
        " spinningthreads=",
        " needspinning=",
        " idlethreads=",
        " runqueue=",
        " [ ",
        "] schedticks=[ ",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let detail = said("schedtrace=20,scheddetail=1");
    for part in [
        " gcwaiting=false nmidlelocked=1 stopwait=0 sysmonwait=false",
        "  P1: status=",
        "  M0: p=",
        " lockedg=nil",
        " lockedm=nil",
        ": status=4(chan receive) m=",
        ": status=4(sleep) m=",
    ] {
        assert!(detail.contains(part), "no {part:?} in {detail}");
    }
    let of_locked = detail
        .lines()
        .rfind(|l| l.contains("(chan receive)"))
        .unwrap();
    assert!(!of_locked.ends_with("lockedm=nil"), "{of_locked}");
}
