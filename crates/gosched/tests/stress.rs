//! Random mixtures of everything that starts, stops and moves goroutines.

mod common;

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use common::{TestEnv, eventually, go, times};
use gosched::chan::{bounded, unbuffered};
use gosched::sync::{Mutex, Semaphore, WaitGroup};
use gosched::{Retake, Scheduler};

on_both_engines!(
    random_work_adds_up,
    a_hog_does_not_stop_the_others,
    blockers_beyond_the_ps_do_not_stop_the_others,
    system_calls_give_the_p_up_only_when_it_is_taken,
    threads_and_goroutines_mix,
    many_goroutines_wait_at_once,
    a_pair_does_not_starve_the_rest,
);

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Each worker does random things and passes a token on for each; the tokens must add up. A monitor
/// takes Ps at random meanwhile.
fn random_work_adds_up<E: TestEnv>() {
    const WORKERS: u64 = 12;
    for procs in 1..=4 {
        let s = E::scheduler(procs);
        let over = Arc::new(AtomicBool::new(false));
        let monitor = {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut taken = 0;
                let mut seed = 99;
                while !over.load(Ordering::Acquire) {
                    let p = random(&mut seed) as usize % procs;
                    taken += usize::from(s.retake(p) == Retake::Taken);
                    s.poll_network_if_due(gosched::Nanos::from_millis(1));
                    std::thread::sleep(Duration::from_micros(200));
                }
                taken
            })
        };
        let total = s
            .run_main(move || work::<E>(s, WORKERS, times(120)))
            .unwrap();
        over.store(true, Ordering::Release);
        monitor.join().unwrap();
        assert_eq!(total, WORKERS * times(120));
        eventually("all goroutines end", || s.goroutines() == 0);
    }
}

fn work<E: TestEnv>(s: &'static Scheduler<E>, workers: u64, steps: u64) -> u64 {
    let (tokens, results) = bounded::<u64>(3);
    let shared = Arc::new(Mutex::new(0u64));
    let limit = Arc::new(Semaphore::new(2));
    for worker in 0..workers {
        let (tokens, shared, limit) = (tokens.clone(), shared.clone(), limit.clone());
        go(s, move || {
            let mut seed = worker + 1;
            for _ in 0..steps {
                match random(&mut seed) % 9 {
                    0 => gosched::yield_now(),
                    1 => gosched::sleep(Duration::from_micros(random(&mut seed) % 300)),
                    2 => gosched::blocking(|| std::thread::sleep(Duration::from_micros(50))),
                    3 => gosched::syscall(std::thread::yield_now),
                    4 => {
                        let mut shared = shared.lock();
                        *shared += 1;
                        gosched::yield_now();
                    }
                    5 => {
                        limit.acquire(1);
                        gosched::yield_now();
                        limit.release(1);
                    }
                    6 => {
                        let (tx, rx) = unbuffered();
                        go(s, move || tx.send(seed).unwrap());
                        assert_eq!(rx.recv(), Ok(seed));
                    }
                    7 => {
                        let bad = go(s, move || std::panic::resume_unwind(Box::new(seed)));
                        assert!(bad.join().is_err());
                    }
                    _ => (0..times(2000)).for_each(|_| hint::spin_loop()),
                }
                tokens.send(1).unwrap();
            }
        });
    }
    drop(tokens);
    results.iter().sum()
}

/// One P, one goroutine that never gives way: only taking the P lets the other one run.
fn a_hog_does_not_stop_the_others<E: TestEnv>() {
    let s = E::scheduler(1);
    let flag = Arc::new(AtomicBool::new(false));
    let (hogging, seen) = (Arc::new(AtomicBool::new(false)), flag.clone());
    let hog = {
        let hogging = hogging.clone();
        go(s, move || {
            while !seen.load(Ordering::Relaxed) {
                hogging.store(true, Ordering::Relaxed);
                hint::spin_loop();
            }
            // It runs without a P now, and everything must still work.
            go(s, || 5).join().unwrap()
        })
    };
    eventually("the hog runs", || hogging.load(Ordering::Relaxed));
    let other = go(s, move || flag.store(true, Ordering::Relaxed));
    std::thread::sleep(Duration::from_millis(5));
    assert!(!other.is_finished(), "there is one P, and the hog has it");
    eventually("the P is taken", || s.retake(0) == Retake::Taken);
    other.join().unwrap();
    assert_eq!(hog.join().unwrap(), 5);
    eventually("the P is idle again", || s.retake(0) == Retake::Idle);
}

fn blockers_beyond_the_ps_do_not_stop_the_others<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let release = Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
        let inside = Arc::new(AtomicUsize::new(0));
        let blockers: Vec<_> = (0..10)
            .map(|i| {
                let (release, inside) = (release.clone(), inside.clone());
                go(s, move || {
                    gosched::blocking(|| {
                        inside.fetch_add(1, Ordering::Relaxed);
                        let (lock, changed) = &*release;
                        let _open = changed.wait_while(lock.lock().unwrap(), |open| !*open);
                    });
                    i
                })
            })
            .collect();
        while inside.load(Ordering::Relaxed) < 10 {
            gosched::yield_now();
        }
        assert_eq!(go(s, || 3).join().unwrap(), 3);
        *release.0.lock().unwrap() = true;
        release.1.notify_all();
        let sum: u32 = blockers.into_iter().map(|b| b.join().unwrap()).sum();
        assert_eq!(sum, 45);
    })
    .unwrap();
}

fn system_calls_give_the_p_up_only_when_it_is_taken<E: TestEnv>() {
    let s = E::scheduler(1);
    let (enter, leave) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let caller = {
        let (enter, leave) = (enter.clone(), leave.clone());
        go(s, move || {
            gosched::syscall(|| {
                enter.store(true, Ordering::Release);
                while !leave.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                7
            })
        })
    };
    eventually("the call is made", || enter.load(Ordering::Acquire));
    let mut snapshot = gosched::Snapshot::default();
    s.observe(&mut snapshot);
    assert!(snapshot.procs[0].in_syscall);
    assert!(snapshot.procs[0].m.is_some());
    eventually("the P is taken", || s.retake(0) == Retake::Taken);
    assert_eq!(go(s, || 1).join().unwrap(), 1);
    leave.store(true, Ordering::Release);
    assert_eq!(caller.join().unwrap(), 7);
    s.observe(&mut snapshot);
    assert!(!snapshot.procs[0].in_syscall);
}

fn threads_and_goroutines_mix<E: TestEnv>() {
    let s = E::scheduler(2);
    let (to, from) = unbuffered::<u64>();
    let (back, result) = bounded::<u64>(1);
    let group = Arc::new(WaitGroup::new());
    let count = Arc::new(Mutex::new(0u64));
    for i in 0..8u64 {
        group.add(1);
        let (from, back, group, count) = (from.clone(), back.clone(), group.clone(), count.clone());
        let consume = move || {
            for value in &from {
                back.send(value * 2).unwrap();
                *count.lock() += 1;
            }
            group.done();
        };
        if i % 2 == 0 {
            go(s, consume);
        } else {
            std::thread::spawn(consume);
        }
    }
    drop((from, back));
    let producer = std::thread::spawn(move || {
        for i in 0..times(400) {
            to.send(i).unwrap();
        }
    });
    assert_eq!(result.iter().sum::<u64>(), times(400) * (times(400) - 1));
    producer.join().unwrap();
    group.wait();
    assert_eq!(*count.lock(), times(400));
}

fn many_goroutines_wait_at_once<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let (tx, rx) = unbuffered::<()>();
        let done = Arc::new(AtomicU64::new(0));
        let handles: Vec<_> = (0..times(300))
            .map(|_| {
                let (rx, done) = (rx.clone(), done.clone());
                go(s, move || {
                    let _ = rx.recv();
                    done.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        gosched::yield_now();
        tx.close();
        for h in handles {
            h.join().unwrap();
        }
        assert_eq!(done.load(Ordering::Relaxed), times(300));
    })
    .unwrap();
}

/// Two goroutines that only ready each other go through `run_next` every time.
fn a_pair_does_not_starve_the_rest<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        let over = Arc::new(AtomicBool::new(false));
        let (ping, pong) = (unbuffered::<()>(), unbuffered::<()>());
        let seen = over.clone();
        let one = go(s, move || {
            while !seen.load(Ordering::Relaxed) {
                if ping.0.send(()).is_err() || pong.1.recv().is_err() {
                    break;
                }
            }
        });
        let two = go(s, move || {
            while ping.1.recv().is_ok() {
                if pong.0.send(()).is_err() {
                    break;
                }
            }
        });
        let seen = over.clone();
        let rest = go(s, move || seen.store(true, Ordering::Relaxed));
        rest.join().unwrap();
        one.join().unwrap();
        two.join().unwrap();
    })
    .unwrap();
}
