//! What happens to a program with which nothing happens, by the true clock: the collection that the monitor forces after two minutes.

#![cfg(not(feature = "system-allocator"))]

use goruntime::gc::{Gc, add_cleanup};
use goruntime::metrics;
use goruntime_tests::{child_within, is_child};
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

/// Garbage of 256 MiB, and one object with a cleanup.
#[inline(never)]
fn becomes_garbage(cleaned: &'static AtomicBool) {
    goruntime::go(move || {
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
