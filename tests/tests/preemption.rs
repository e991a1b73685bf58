//! Ruling 3.2: a hog, a blocking call or a foreign lock stops nobody else.

use goruntime::{go, time};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

#[test]
fn twice_as_many_hogs_as_ps_and_a_goroutine_that_is_still_served() {
    let stop = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicUsize::new(0));
    let hogs: Vec<_> = (0..2 * goruntime::max_procs())
        .map(|_| {
            let (stop, turns) = (stop.clone(), turns.clone());
            go(move || {
                turns.fetch_add(1, Relaxed);
                while !stop.load(Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let served = go(|| {
        for _ in 0..20 {
            time::sleep(Duration::from_millis(1));
        }
    });
    let begin = Instant::now();
    served.join().unwrap();
    let took = begin.elapsed();
    // Every hog got its turn too, though none of them ever gave one up.
    goruntime_tests::eventually("every hog to run", Duration::from_secs(20), || {
        turns.load(Relaxed) == hogs.len()
    });
    stop.store(true, Relaxed);
    for h in hogs {
        h.join().unwrap();
    }
    assert!(took < Duration::from_secs(20), "served only after {took:?}");
}

#[test]
fn blocking_calls_that_the_runtime_is_not_told_of_do_not_stop_the_others() {
    let blocked: Vec<_> = (0..2 * goruntime::max_procs())
        .map(|_| go(|| std::thread::sleep(Duration::from_millis(300))))
        .collect();
    let begin = Instant::now();
    go(|| ()).join().unwrap();
    let took = begin.elapsed();
    for b in blocked {
        b.join().unwrap();
    }
    assert!(
        took < Duration::from_millis(250),
        "waited {took:?} for the sleepers"
    );
}

#[test]
fn more_blocking_sections_than_ps_run_at_once() {
    let inside = Arc::new(AtomicUsize::new(0));
    let n = 4 * goruntime::max_procs();
    let handles: Vec<_> = (0..n)
        .map(|_| {
            let inside = inside.clone();
            go(move || {
                goruntime::blocking(|| {
                    inside.fetch_add(1, SeqCst);
                    goruntime_tests::eventually(
                        "all to be inside",
                        Duration::from_secs(20),
                        || inside.load(SeqCst) >= n,
                    );
                })
            })
        })
        .collect();
    for h in handles {
        h.join().unwrap();
    }
}

#[test]
fn a_hog_that_allocates_is_taken_from_as_well() {
    let stop = Arc::new(AtomicBool::new(false));
    let hogs: Vec<_> = (0..2 * goruntime::max_procs())
        .map(|_| {
            let stop = stop.clone();
            go(move || {
                let mut n = 0usize;
                while !stop.load(Relaxed) {
                    n += std::hint::black_box(vec![1u8; 100]).len();
                }
                n
            })
        })
        .collect();
    for _ in 0..5 {
        go(|| ()).join().unwrap();
    }
    stop.store(true, Relaxed);
    for h in hogs {
        assert!(h.join().unwrap() > 0);
    }
}
