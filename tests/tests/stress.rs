//! Random mixtures of everything that starts, stops, moves and disturbs goroutines, while the number of processors changes and the world is stopped.
//!
//! Each round has a seed, a fixed amount of work and sums that must come out; a round that hangs says its seed and what every goroutine does.

use goruntime::context::Context;
use goruntime::sync::{Cond, Mutex, RwLock, Semaphore, WaitGroup};
use goruntime::{Builder, chan, go, lock_os_thread, metrics, select, time, yield_now};
use goruntime_tests::eventually;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// A round that takes longer hangs. Usual are some tenths of a second.
const PATIENCE: Duration = Duration::from_secs(120);

const WORKERS: u64 = 16;
const STEPS: u64 = if cfg!(feature = "thread-engine") {
    40
} else {
    150
};

#[test]
fn for_some_seconds() {
    run(Duration::from_secs(4));
}

#[test]
#[ignore = "an hour; `cargo xtask test stress` runs it, and `--long`"]
fn for_an_hour() {
    run(Duration::from_secs(3600));
}

fn run(length: Duration) {
    let begin = Instant::now();
    let round = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let watchdog = {
        let (round, over) = (round.clone(), over.clone());
        std::thread::spawn(move || watch(&round, &over))
    };
    let procs = goruntime::max_procs();
    while begin.elapsed() < length {
        one_round(round.fetch_add(1, AcqRel) + 1);
    }
    over.store(true, Release);
    watchdog.thread().unpark();
    watchdog.join().unwrap();
    goruntime::set_max_procs(procs);
    println!("{} rounds", round.load(Acquire));
}

/// Ends the process when a round does not end.
fn watch(round: &AtomicU64, over: &AtomicBool) {
    let mut seen = (0, Instant::now());
    while !over.load(Acquire) {
        std::thread::park_timeout(Duration::from_secs(1));
        let now = round.load(Acquire);
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        if seen.1.elapsed() > PATIENCE {
            eprintln!("round {now} hangs; goroutines:");
            metrics::goroutines().iter().for_each(|g| eprintln!("{g}"));
            std::process::abort();
        }
    }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn micros(state: &mut u64, most: u64) -> Duration {
    Duration::from_micros(random(state) % most)
}

/// What the workers of a round share.
struct Shared {
    count: Mutex<u64>,
    table: RwLock<Vec<u64>>,
    few: Semaphore,
    bell: (Mutex<u64>, Cond),
}

fn one_round(seed: u64) {
    let before = metrics::snapshot().goroutines;
    let shared = Arc::new(Shared {
        count: Mutex::new(0),
        table: RwLock::new(vec![0; 8]),
        few: Semaphore::new(3),
        bell: (Mutex::new(0), Cond::new()),
    });
    let over = Arc::new(AtomicBool::new(false));
    let disturber = {
        let over = over.clone();
        go(move || disturb(seed, &over))
    };
    let (tokens, results) = chan::bounded::<u64>(5);
    for worker in 0..WORKERS {
        let (tokens, shared) = (tokens.clone(), shared.clone());
        let work = move || {
            let mut state = (seed << 8) + worker + 1;
            for _ in 0..STEPS {
                step(&mut state, &shared);
                tokens.send(1).unwrap();
            }
        };
        if worker % 8 == 7 {
            // A plain thread takes part in all that threads may.
            std::thread::spawn(work);
        } else {
            go(work);
        }
    }
    drop(tokens);
    assert_eq!(results.iter().sum::<u64>(), WORKERS * STEPS, "round {seed}");
    over.store(true, Release);
    disturber.join().unwrap();
    let counted = *shared.count.lock();
    assert_eq!(
        shared.table.read().iter().sum::<u64>(),
        counted,
        "round {seed}"
    );
    assert_eq!(shared.few.permits(), 3, "round {seed}");
    eventually("every goroutine to end", PATIENCE, || {
        metrics::snapshot().goroutines <= before
    });
}

/// Changes the number of processors and stops the world.
fn disturb(seed: u64, over: &AtomicBool) {
    let mut state = seed + 0x9e37_79b9;
    while !over.load(Acquire) {
        match random(&mut state) % 4 {
            0 => _ = goruntime::set_max_procs(1 + random(&mut state) as usize % 6),
            #[cfg(not(feature = "system-allocator"))]
            1 => goruntime::gc::collect(),
            2 => (0..random(&mut state) % 100_000).for_each(|_| std::hint::spin_loop()),
            _ => time::sleep(micros(&mut state, 2000)),
        }
    }
}

fn step(state: &mut u64, shared: &Arc<Shared>) {
    match random(state) % 19 {
        0 => yield_now(),
        1 => time::sleep(micros(state, 400)),
        2 => goruntime::blocking(|| std::thread::sleep(micros(state, 200))),
        3 => {
            // Both kinds of lock, one inside the other, over a switch.
            let which = random(state) as usize % 8;
            let mut count = shared.count.lock();
            yield_now();
            shared.table.write()[which] += 1;
            *count += 1;
        }
        4 => {
            let table = shared.table.read();
            yield_now();
            assert_eq!(table.len(), 8);
        }
        5 => {
            shared.few.acquire(1);
            time::sleep(micros(state, 50));
            shared.few.release(1);
        }
        6 => {
            let (tx, rx) = chan::unbuffered();
            let value = *state;
            go(move || tx.send(value).unwrap());
            assert_eq!(rx.recv(), Ok(value));
        }
        7 => {
            let value = *state;
            let bad = go(move || std::panic::resume_unwind(Box::new(value)));
            assert_eq!(
                bad.join()
                    .map(|(): ()| 0)
                    .unwrap_err()
                    .into_payload()
                    .downcast_ref(),
                Some(&value)
            );
        }
        // Computes, sometimes beyond its slice.
        8 => (0..random(state) % 200_000).for_each(|_| std::hint::spin_loop()),
        9 => burst(300),
        10 => {
            let _locked = lock_os_thread();
            // SAFETY: it only asks.
            let here = || unsafe { libc::gettid() };
            let thread = here();
            yield_now();
            time::sleep(micros(state, 50));
            assert_eq!(here(), thread);
        }
        11 => {
            let own = Builder::new()
                .locked()
                .spawn(|| time::sleep(Duration::from_micros(10)));
            own.unwrap().join().unwrap();
        }
        12 => selects(state),
        13 => {
            let (rings, bell) = &shared.bell;
            *rings.lock() += 1;
            bell.notify_one();
            let soon = Instant::now() + micros(state, 100);
            drop(bell.wait_until(rings.lock(), soon));
        }
        14 => {
            let handle = go(yield_now);
            while !handle.is_finished() {
                yield_now();
            }
        }
        15 => contexts(state),
        16 => timers(state),
        17 => {
            let delay = micros(state, 100);
            let mut numbers = [0u64; 4];
            goruntime::scope(|s| {
                for number in &mut numbers {
                    s.go(move || {
                        time::sleep(delay);
                        *number += 1;
                    });
                }
            });
            assert_eq!(numbers, [1; 4]);
        }
        _ => std::thread::yield_now(),
    }
}

/// A tree whose root ends by its deadline or is cancelled, and who waits under it.
fn contexts(state: &mut u64) {
    let (root, cancel) = Context::background().with_timeout(micros(state, 300));
    let calls = Arc::new(WaitGroup::new());
    let leaves: Vec<_> = (0..4)
        .map(|_| {
            let (leaf, _) = root.with_timeout(micros(state, 600));
            calls.add(1);
            let called = calls.clone();
            leaf.after_func(move || called.done());
            go(move || leaf.sleep(Duration::from_secs(3600)))
        })
        .collect();
    if random(state).is_multiple_of(2) {
        time::sleep(micros(state, 300));
        cancel.cancel();
    }
    for leaf in leaves {
        assert!(leaf.join().unwrap().is_err());
    }
    calls.wait();
}

/// Functions that are called, put off, or not called; a timer that is set by another goroutine than waits for it.
fn timers(state: &mut u64) {
    let (tx, rx) = chan::bounded(8);
    let mut expected = 0;
    for _ in 0..4 {
        let tx = tx.clone();
        let timer = time::after_func(micros(state, 100), move || tx.send(1).unwrap());
        expected += 1;
        expected += u64::from(random(state).is_multiple_of(3) && !timer.reset(micros(state, 100)));
        expected -= u64::from(random(state).is_multiple_of(3) && timer.stop());
    }
    drop(tx);
    let timer = Arc::new(time::Timer::new(Duration::from_secs(3600)));
    let (its, delay) = (timer.clone(), micros(state, 100));
    go(move || {
        time::sleep(delay);
        its.reset(delay);
    });
    timer.recv();
    assert_eq!(rx.iter().sum::<u64>(), expected);
}

/// More than a queue holds, when several do it.
fn burst(n: u64) {
    let n = if cfg!(feature = "thread-engine") {
        n / 30
    } else {
        n
    };
    let (group, sum) = (Arc::new(WaitGroup::new()), Arc::new(AtomicU64::new(0)));
    for i in 0..n {
        group.add(1);
        let (group, sum) = (group.clone(), sum.clone());
        go(move || {
            sum.fetch_add(i, Relaxed);
            group.done();
        });
    }
    group.wait();
    assert_eq!(sum.load(Relaxed), n * (n - 1) / 2);
}

fn selects(state: &mut u64) {
    let (tx, rx) = chan::bounded::<u64>(random(state) as usize % 2);
    let (close, closed) = chan::unbuffered::<()>();
    let delay = micros(state, 100);
    go(move || {
        time::sleep(delay);
        drop(close);
    });
    let other = rx.clone();
    let receiver = go(move || other.iter().sum::<u64>());
    let mut sent = 0;
    loop {
        select! {
            send(tx, 1) -> _ => sent += 1,
            recv(closed) -> _ => break,
            default(Duration::from_micros(60)) => {}
        }
    }
    drop(tx);
    assert_eq!(receiver.join().unwrap() + rx.iter().sum::<u64>(), sent);
}
