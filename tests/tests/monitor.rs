//! The monitor of a real process, by the true clock: what it costs, and the collection that it forces after two minutes in which nothing happens.

#![cfg(not(feature = "system-allocator"))]

use goruntime::gc::{Gc, add_cleanup};
use goruntime::{chan, go, metrics};
use goruntime_tests::{apart, child_within, is_child};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// Go's `forcegcperiod`.
const PERIOD: Duration = Duration::from_secs(120);

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Processor time that the monitor's thread has used.
fn monitors_time() -> Duration {
    let named = |task: &fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| name.trim_end() == "sysmon")
    };
    let mut tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let monitor = tasks.find(named).expect("there is a monitor");
    let statistics = fs::read_to_string(monitor.path().join("schedstat")).unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

/// Its share of a processor while `program` runs, in thousandths.
fn monitors_share(program: impl FnOnce()) -> f64 {
    let (begin, before) = (Instant::now(), monitors_time());
    program();
    (monitors_time() - before).as_secs_f64() / begin.elapsed().as_secs_f64() * 1e3
}

/// Under a thousandth of a processor in a process that idles, and a hundredth in one that computes.
#[test]
fn it_costs_little() {
    if !apart("it_costs_little", &[]) {
        return;
    }
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (sender, receiver) = chan::unbuffered::<()>();
            (sender, go(move || receiver.recv().is_err()))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let idle = monitors_share(|| std::thread::sleep(Duration::from_secs(2)));
    assert!(idle < 1.0, "{idle:.2} thousandths while all is idle");
    static OVER: AtomicBool = AtomicBool::new(false);
    let hogs: Vec<_> = (0..2 * goruntime::max_procs())
        .map(|_| {
            go(|| {
                while !OVER.load(Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let busy = monitors_share(|| std::thread::sleep(Duration::from_secs(2)));
    OVER.store(true, Relaxed);
    hogs.into_iter().for_each(|hog| hog.join().unwrap());
    assert!(busy < 10.0, "{busy:.2} thousandths while all compute");
    drop(waiting);
    println!("idle {idle:.3} thousandths, busy {busy:.3}");
}

/// Garbage of 256 MiB, and one object with a cleanup.
#[inline(never)]
fn becomes_garbage(cleaned: &'static AtomicBool) {
    go(move || {
        let all: Vec<_> = (0..256u64 << 10).map(|n| Gc::new([n; 128])).collect();
        add_cleanup(
            all[0],
            |cleaned: &'static AtomicBool| cleaned.store(true, Release),
            cleaned,
        );
        assert_eq!(all[77][127], 77);
    })
    .join()
    .unwrap();
}

#[test]
#[ignore = "two minutes and a half"]
fn two_quiet_minutes_end_with_a_collection() {
    static CLEANED: AtomicBool = AtomicBool::new(false);
    if !is_child() {
        let name = "two_quiet_minutes_end_with_a_collection";
        let out = child_within(Duration::from_secs(240), name, &[]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
        return print!("{said}");
    }
    becomes_garbage(&CLEANED);
    let (begin, peak) = (Instant::now(), resident());
    // A collection that began while the heap grew comes to its end.
    std::thread::sleep(Duration::from_secs(2));
    let before = metrics::snapshot().gc_cycles;
    // This thread is no goroutine: all Ps are idle, and the monitor sleeps deeply.
    let seen = loop {
        std::thread::sleep(Duration::from_millis(100));
        if metrics::snapshot().gc_cycles > before {
            break begin.elapsed();
        }
        assert!(
            begin.elapsed() < PERIOD + Duration::from_secs(15),
            "no collection"
        );
    };
    // Two minutes count from the end of the last one, some time before the peak.
    assert!(seen > PERIOD - Duration::from_secs(10), "{seen:?}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !(CLEANED.load(Acquire) && resident() < peak / 4) {
        assert!(
            Instant::now() < deadline,
            "{} MB of {} MB are still there",
            resident() >> 20,
            peak >> 20
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!(
        "forced after {seen:.1?}; of {} MB {} MB were left {:.1?} later",
        peak >> 20,
        resident() >> 20,
        begin.elapsed() - seen
    );
}
