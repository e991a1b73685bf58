//! The number of Ps changes while goroutines run.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{TestEnv, eventually, go, times};
use gosched::chan::bounded;
use gosched::{MAX_PROCS, Scheduler, Snapshot};

on_both_engines!(
    the_number_is_what_was_asked_for,
    what_runs_and_waits_goes_on_under_every_number,
    a_queue_moves_when_its_p_goes,
    timers_move_when_their_p_goes,
    one_that_computes_loses_a_p_that_goes,
    a_goroutine_may_take_its_own_p_away,
);

fn in_use<E: TestEnv>(s: &'static Scheduler<E>) -> usize {
    let mut snapshot = Snapshot::default();
    s.observe(&mut snapshot);
    assert_eq!(snapshot.procs.len(), s.procs());
    s.procs()
}

fn the_number_is_what_was_asked_for<E: TestEnv>() {
    let s = E::scheduler(2);
    assert_eq!(s.set_procs(5), 2);
    assert_eq!(in_use(s), 5);
    assert_eq!(s.set_procs(1), 5);
    assert_eq!(in_use(s), 1);
    assert_eq!(s.set_procs(0), 1);
    assert_eq!(in_use(s), 1, "clipped");
    assert_eq!(go(s, || 7).join().unwrap(), 7);
    assert_eq!(s.set_procs(usize::MAX), 1);
    assert_eq!(in_use(s), MAX_PROCS);
    assert_eq!(go(s, || 8).join().unwrap(), 8);
    s.set_procs(3);
    assert_eq!(go(s, || 9).join().unwrap(), 9);
}

fn what_runs_and_waits_goes_on_under_every_number<E: TestEnv>() {
    let s = E::scheduler(2);
    let over = Arc::new(AtomicBool::new(false));
    let (tx, rx) = bounded::<u64>(3);
    let (n, each) = (8, times(200));
    for i in 0..n {
        let tx = tx.clone();
        go(s, move || {
            for round in 0..each {
                match (round + i) % 4 {
                    0 => gosched::yield_now(),
                    1 => gosched::sleep(Duration::from_micros(50)),
                    2 => gosched::blocking(std::thread::yield_now),
                    _ => assert_eq!(go(s, move || round).join().unwrap(), round),
                }
                tx.send(1).unwrap();
            }
        });
    }
    drop(tx);
    let changer = {
        let over = over.clone();
        std::thread::spawn(move || {
            for procs in [1, 4, 2, 7, 3, 1, 8].into_iter().cycle() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                s.set_procs(procs);
                assert_eq!(in_use(s), procs);
                std::thread::sleep(Duration::from_micros(300));
            }
        })
    };
    assert_eq!(rx.iter().sum::<u64>(), n * each);
    over.store(true, Ordering::Release);
    changer.join().unwrap();
    eventually("all end", || s.goroutines() == 0);
}

/// A hog that has filled its queue is the only one to run; then its P goes.
fn a_queue_moves_when_its_p_goes<E: TestEnv>() {
    let s = E::scheduler(2);
    let (ready, over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let done = Arc::new(AtomicU64::new(0));
    let hogs: Vec<_> = (0..2)
        .map(|_| {
            let (ready, over, done) = (ready.clone(), over.clone(), done.clone());
            go(s, move || {
                ready.fetch_add(1, Ordering::AcqRel);
                while ready.load(Ordering::Acquire) < 2 {
                    std::hint::spin_loop();
                }
                for _ in 0..50 {
                    let done = done.clone();
                    go(s, move || done.fetch_add(1, Ordering::AcqRel));
                }
                ready.fetch_add(1, Ordering::AcqRel);
                while !over.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    eventually("both queues are full", || {
        ready.load(Ordering::Acquire) == 4
    });
    s.set_procs(1);
    // Of the one P that is left the hog has to be relieved, as a monitor would.
    eventually("all run", || {
        s.retake(0);
        done.load(Ordering::Acquire) == 100
    });
    over.store(true, Ordering::Release);
    hogs.into_iter().for_each(|h| h.join().unwrap());
}

fn timers_move_when_their_p_goes<E: TestEnv>() {
    let s = E::scheduler(4);
    let begin = Instant::now();
    let sleepers: Vec<_> = (0..40)
        .map(|i| {
            go(s, move || {
                gosched::sleep(Duration::from_millis(10 + i % 5));
                begin.elapsed()
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(2));
    s.set_procs(1);
    s.set_procs(3);
    s.set_procs(1);
    for sleeper in sleepers {
        let took = sleeper.join().unwrap();
        assert!(
            took >= Duration::from_millis(10) && took < Duration::from_secs(5),
            "{took:?}"
        );
    }
}

fn one_that_computes_loses_a_p_that_goes<E: TestEnv>() {
    let s = E::scheduler(2);
    let (running, over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let hogs: Vec<_> = (0..2)
        .map(|_| {
            let (running, over) = (running.clone(), over.clone());
            go(s, move || {
                running.fetch_add(1, Ordering::AcqRel);
                while !over.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                gosched::yield_now();
            })
        })
        .collect();
    eventually("both run", || running.load(Ordering::Acquire) == 2);
    assert_eq!(s.set_procs(1), 2);
    let mut with_p = 0;
    s.for_each_machine(|m| with_p += usize::from(m.p.is_some()));
    assert!(with_p <= 1, "one has lost its P");
    over.store(true, Ordering::Release);
    hogs.into_iter().for_each(|h| h.join().unwrap());
}

fn a_goroutine_may_take_its_own_p_away<E: TestEnv>() {
    let s = E::scheduler(3);
    let all: Vec<_> = (0..3)
        .map(|_| {
            go(s, move || {
                for n in [1, 3, 2, 1, 3] {
                    s.set_procs(n);
                    gosched::yield_now();
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(go(s, || 1).join().unwrap(), 1);
}
