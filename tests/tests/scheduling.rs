//! What Go's own tests ask of its scheduler (runtime/proc_test.go), by behaviour, with the monitor that makes most of it true.

use goruntime::{chan, go, select, time, yield_now};
use goruntime_tests::eventually;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// Nothing here takes a tenth of it.
const LIMIT: Duration = Duration::from_secs(30);

/// Go's TestYieldProgress.
#[test]
fn one_that_only_yields_lets_the_others_in() {
    let stop = Arc::new(AtomicBool::new(false));
    let yielders: Vec<_> = (0..2 * goruntime::max_procs())
        .map(|_| {
            let stop = stop.clone();
            go(move || {
                let mut turns = 0u64;
                while !stop.load(Relaxed) {
                    yield_now();
                    turns += 1;
                }
                turns
            })
        })
        .collect();
    let stopper = go(move || {
        time::sleep(Duration::from_millis(10));
        stop.store(true, Relaxed);
    });
    stopper.join().unwrap();
    for yielder in yielders {
        assert!(yielder.join().unwrap() > 0);
    }
}

/// Go's TestStopTheWorldDeadlock: the world is stopped over and over while somebody spins and others come and go.
#[test]
#[cfg(not(feature = "system-allocator"))]
fn the_world_stops_and_starts_under_goroutines_that_spin() {
    let stop = Arc::new(AtomicBool::new(false));
    let spinners: Vec<_> = (0..goruntime::max_procs())
        .map(|_| {
            let stop = stop.clone();
            go(move || {
                while !stop.load(Relaxed) {
                    spin_loop();
                }
            })
        })
        .collect();
    let churn = {
        let stop = stop.clone();
        go(move || {
            let mut rounds = 0u64;
            while !stop.load(Relaxed) {
                assert_eq!(go(|| 1).join().unwrap(), 1);
                rounds += 1;
            }
            rounds
        })
    };
    let collector = go(|| (0..30).for_each(|_| goruntime::gc::collect()));
    collector.join().unwrap();
    stop.store(true, Relaxed);
    spinners.into_iter().for_each(|s| s.join().unwrap());
    assert!(churn.join().unwrap() > 0);
}

/// Go's TestGoroutineParallelism: as many as there are Ps wait for each other without giving way.
#[test]
fn goroutines_run_at_the_same_time() {
    let n = goruntime::max_procs() as u32;
    for _ in 0..10 {
        let turn = Arc::new(AtomicU32::new(0));
        let all: Vec<_> = (0..n)
            .map(|me| {
                let turn = turn.clone();
                go(move || {
                    for round in 0..3 {
                        while turn.load(Acquire) != round * n + me {
                            spin_loop();
                        }
                        turn.store(round * n + me + 1, Release);
                    }
                })
            })
            .collect();
        all.into_iter().for_each(|g| g.join().unwrap());
    }
}

/// Go's TestPreemption and TestPreemptionAfterSyscall: two that wait for each other without giving way, on however few Ps.
#[test]
fn two_that_spin_for_each_other_both_go_on() {
    for with_call in [false, true] {
        let turn = Arc::new(AtomicU32::new(0));
        let begin = Instant::now();
        let both: Vec<_> = (0..2)
            .map(|me| {
                let turn = turn.clone();
                go(move || {
                    for _ in 0..3 {
                        while turn.load(Acquire) != me {
                            if with_call {
                                goruntime::blocking(|| {
                                    std::thread::sleep(Duration::from_micros(50))
                                });
                            } else {
                                spin_loop();
                            }
                        }
                        turn.store(1 - me, Release);
                    }
                })
            })
            .collect();
        both.into_iter().for_each(|g| g.join().unwrap());
        assert!(begin.elapsed() < LIMIT);
    }
}

/// Go's TestTimerFairness and TestTimerFairness2: a deadline comes though the channel is always ready.
#[test]
fn a_timer_fires_though_channels_are_never_quiet() {
    let (tx, rx) = chan::unbuffered::<u32>();
    let (over, is_over) = chan::unbuffered::<()>();
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let (tx, is_over) = (tx.clone(), is_over.clone());
            go(move || {
                loop {
                    select! {
                        send(tx, 1) -> sent => if sent.is_err() { return },
                        recv(is_over) -> _ => return,
                    }
                }
            })
        })
        .collect();
    let reader = go(move || {
        let (fire, timer) = chan::bounded::<()>(1);
        go(move || {
            time::sleep(Duration::from_millis(20));
            fire.send(()).unwrap();
        });
        let begin = Instant::now();
        let mut seen = 0u64;
        loop {
            select! {
                recv(rx) -> _ => seen += 1,
                recv(timer) -> _ => break,
            }
        }
        (begin.elapsed(), seen)
    });
    let (took, seen) = reader.join().unwrap();
    drop(over);
    busy.into_iter().for_each(|g| g.join().unwrap());
    assert!(seen > 0 && took < LIMIT, "{seen} in {took:?}");
}

/// Go's TestPingPongHog: two pairs hand the turn to each other; one of them works a thousand times longer each time. Each pair is to have
/// about the same share of the processor, since those who wake each other share a slice.
#[test]
#[cfg(not(feature = "thread-engine"))]
fn a_pair_that_works_long_and_one_that_works_briefly_share_fairly() {
    if goruntime_tests::is_child() {
        return pairs();
    }
    let output = goruntime_tests::child(
        "a_pair_that_works_long_and_one_that_works_briefly_share_fairly",
        &[("GOMAXPROCS", "1")],
    );
    assert!(output.status.success(), "{output:?}");
}

#[cfg(not(feature = "thread-engine"))]
fn pairs() {
    const LONG: u64 = if cfg!(debug_assertions) {
        50_000
    } else {
        1_000_000
    };
    goruntime::run_main(|| {
        let (stop, stopped) = chan::unbuffered::<()>();
        let pair = |work: u64| {
            let (wake, woken) = chan::unbuffered::<()>();
            let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
            for _ in 0..2 {
                let (stopped, wake, woken, count) =
                    (stopped.clone(), wake.clone(), woken.clone(), count.clone());
                go(move || {
                    loop {
                        select! {
                            recv(stopped) -> _ => return,
                            recv(woken) -> _ => {
                                for i in 0..work {
                                    std::hint::black_box(i);
                                }
                                count.fetch_add(work, Relaxed);
                            }
                        }
                        select! {
                            recv(stopped) -> _ => return,
                            send(wake, ()) -> _ => {}
                        }
                    }
                });
            }
            (wake, count)
        };
        let (long_wake, long) = pair(LONG);
        let (brief_wake, brief) = pair(LONG / 1000);
        long_wake.send(()).unwrap();
        brief_wake.send(()).unwrap();
        time::sleep(Duration::from_millis(300));
        drop(stop);
        let (long, brief) = (long.load(Relaxed), brief.load(Relaxed));
        // The brief pair pays for its switches, which are not counted.
        assert!(
            long / 60 <= brief && brief / 60 <= long,
            "{long} to {brief}"
        );
    });
}

/// Go's TestNumGoroutine and TestGoroutineParallelism2, from outside: what is started is there, and when it has ended it is gone.
#[test]
fn work_started_from_plain_threads_wakes_idle_processors() {
    for _ in 0..50 {
        let (tx, rx) = chan::unbuffered();
        let handle = go(move || rx.recv());
        std::thread::sleep(Duration::from_micros(300));
        tx.send(4).unwrap();
        assert_eq!(handle.join().unwrap(), Ok(4));
    }
}

/// Go's TestNetpollBreak: an earlier timer set while a processor already sleeps for a later one.
#[test]
fn a_shorter_sleep_begun_later_ends_earlier() {
    let long = go(|| time::sleep(Duration::from_millis(400)));
    let short_ended = Arc::new(AtomicBool::new(false));
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(3));
        let begin = Instant::now();
        go(|| time::sleep(Duration::from_millis(2))).join().unwrap();
        let took = begin.elapsed();
        assert!(
            took >= Duration::from_millis(2) && took < Duration::from_millis(350),
            "{took:?}"
        );
        short_ended.store(true, Relaxed);
    }
    eventually("the long one to end", LIMIT, || long.is_finished());
}
