//! The explorer itself: what it must show of the memory, and what it must not.

use goexplore::atomic::{AtomicU32, AtomicUsize, Ordering, Ordering::*, fence};
use goexplore::sync::{Condvar, Guarded, Mutex};
use goexplore::{Exploration, Plant, Report, Site, futex, thread};
use std::collections::BTreeSet;
use std::sync::Arc;

fn wide() -> Exploration {
    Exploration::exhaustive().preemptions(4).stale_reads(3)
}

/// What a thread does, and what it read.
type Part = Box<dyn FnOnce() -> u32 + Send>;

/// Runs threads that return a value each, and collects every combination that was seen.
fn outcomes<const N: usize>(
    exploration: Exploration,
    program: fn() -> [Part; N],
) -> BTreeSet<[u32; N]> {
    let seen = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let into = seen.clone();
    let report = exploration.run(move || {
        let threads = program().map(thread::spawn);
        let result = threads.map(|thread| thread.join().unwrap());
        into.lock().unwrap().insert(result);
    });
    assert!(report.failure.is_none(), "{}", report.failure.unwrap());
    assert!(report.exhausted);
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

fn shared<const N: usize>() -> Arc<[AtomicU32; N]> {
    Arc::new([const { AtomicU32::new(0) }; N])
}

type Thread = Box<dyn FnOnce() -> u32 + Send>;

fn store_buffering(order: [Ordering; 2], between: fn()) -> [Thread; 2] {
    let m = shared::<2>();
    let n = m.clone();
    [
        Box::new(move || {
            m[0].store(1, order[0]);
            between();
            m[1].load(order[1])
        }),
        Box::new(move || {
            n[1].store(1, order[0]);
            between();
            n[0].load(order[1])
        }),
    ]
}

#[test]
fn store_buffering_needs_full_fences() {
    let both_old = [0, 0];
    let weak = outcomes(wide(), || store_buffering([Release, Acquire], || ()));
    assert!(weak.contains(&both_old));
    let half = outcomes(wide(), || {
        store_buffering([Release, Acquire], || fence(AcqRel))
    });
    assert!(half.contains(&both_old));
    let full = outcomes(wide(), || {
        store_buffering([Relaxed, Relaxed], || fence(SeqCst))
    });
    assert!(!full.contains(&both_old) && full.len() == 3);
    let accesses = outcomes(wide(), || store_buffering([SeqCst, SeqCst], || ()));
    assert!(!accesses.contains(&both_old) && accesses.len() == 3);
    let one_side = outcomes(wide(), || store_buffering([Relaxed, SeqCst], || ()));
    assert!(one_side.contains(&both_old));
}

#[test]
fn a_heavy_fence_on_one_side_is_enough() {
    fn program(heavy: fn()) -> [Thread; 2] {
        let m = shared::<2>();
        let n = m.clone();
        [
            Box::new(move || {
                m[0].store(1, Relaxed);
                futex::light_fence();
                m[1].load(Relaxed)
            }),
            Box::new(move || {
                n[1].store(1, Relaxed);
                heavy();
                n[0].load(Relaxed)
            }),
        ]
    }
    let with = outcomes(wide(), || program(|| assert!(futex::heavy_fence())));
    assert!(!with.contains(&[0, 0]) && with.len() == 3);
    let without = outcomes(wide(), || program(|| fence(SeqCst)));
    assert!(without.contains(&[0, 0]));
}

/// 2: the message was seen without the data.
fn message_passing(write: fn(&AtomicU32), read: fn(&AtomicU32) -> u32) -> [Thread; 2] {
    let m = shared::<2>();
    let n = m.clone();
    [
        Box::new(move || {
            m[0].store(1, Relaxed);
            write(&m[1]);
            0
        }),
        Box::new(move || match read(&n[1]) {
            0 => 0,
            _ => 2 - n[0].load(Relaxed),
        }),
    ]
}

#[test]
fn messages_need_release_and_acquire() {
    let bad = [0, 2];
    let seen = |program: fn() -> [Thread; 2]| outcomes(wide(), program).contains(&bad);
    assert!(seen(|| message_passing(
        |m| m.store(1, Relaxed),
        |m| m.load(Relaxed)
    )));
    assert!(seen(|| message_passing(
        |m| m.store(1, Release),
        |m| m.load(Relaxed)
    )));
    assert!(seen(|| message_passing(
        |m| m.store(1, Relaxed),
        |m| m.load(Acquire)
    )));
    assert!(!seen(|| message_passing(
        |m| m.store(1, Release),
        |m| m.load(Acquire)
    )));
    assert!(!seen(|| message_passing(
        |m| {
            fence(Release);
            m.store(1, Relaxed);
        },
        |m| {
            let value = m.load(Relaxed);
            fence(Acquire);
            value
        }
    )));
    // A read-modify-write in between passes on what was released.
    assert!(!seen(|| message_passing(
        |m| {
            m.store(1, Release);
            m.fetch_add(1, Relaxed);
        },
        |m| m.load(Acquire)
    )));
    // A plain store in between does not.
    assert!(seen(|| message_passing(
        |m| {
            m.store(1, Release);
            m.store(2, Relaxed);
        },
        |m| if m.load(Acquire) == 2 { 1 } else { 0 }
    )));
}

#[test]
fn one_location_never_goes_back() {
    let all = outcomes(wide(), || -> [Thread; 2] {
        let m = shared::<1>();
        let n = m.clone();
        [
            Box::new(move || {
                m[0].store(1, Relaxed);
                m[0].store(2, Relaxed);
                0
            }),
            Box::new(move || {
                let first = n[0].load(Relaxed);
                first * 10 + n[0].load(Relaxed)
            }),
        ]
    });
    assert!(all.iter().all(|[_, two]| two % 10 >= two / 10));
    assert!(all.contains(&[0, 12]) && all.contains(&[0, 1]));
}

fn independent_reads(order: [Ordering; 2]) -> [Thread; 4] {
    let m: [_; 4] = std::array::from_fn({
        let m = shared::<2>();
        move |_| m.clone()
    });
    let [a, b, c, d] = m;
    [
        Box::new(move || {
            a[0].store(1, order[0]);
            0
        }),
        Box::new(move || {
            b[1].store(1, order[0]);
            0
        }),
        Box::new(move || c[0].load(order[1]) * 10 + c[1].load(order[1])),
        Box::new(move || d[1].load(order[1]) * 10 + d[0].load(order[1])),
    ]
}

#[test]
fn independent_readers_agree_only_if_sequentially_consistent() {
    let disagree = [0, 0, 10, 10];
    // Threads that run one after the other disagree by what they read.
    let bounds = Exploration::exhaustive().preemptions(0).stale_reads(2);
    let weak = outcomes(bounds.clone(), || independent_reads([Release, Acquire]));
    assert!(weak.contains(&disagree));
    let strong = outcomes(bounds.preemptions(1), || {
        independent_reads([SeqCst, SeqCst])
    });
    assert!(!strong.contains(&disagree));
}

fn counter(increment: fn(&AtomicU32)) -> Report {
    Exploration::exhaustive().run(move || {
        let n = Arc::new(AtomicU32::new(0));
        let m = n.clone();
        let other = thread::spawn(move || increment(&m));
        increment(&n);
        other.join().unwrap();
        assert_eq!(n.load(Relaxed), 2, "an increment was lost");
    })
}

#[test]
fn a_lost_update_is_found_and_an_atomic_one_loses_nothing() {
    let lost = counter(|n| n.store(n.load(Relaxed) + 1, Relaxed))
        .failure
        .unwrap();
    assert!(lost.contains("an increment was lost"), "{lost}");
    assert!(
        lost.contains("tests/litmus.rs") && lost.contains("GOEXPLORE_REPLAY="),
        "{lost}"
    );
    let kept = counter(|n| {
        n.fetch_add(1, Relaxed);
    });
    assert!(kept.failure.is_none() && kept.exhausted && kept.executions > 1);
}

/// A sleeper and a waker on a futex.
fn doorbell() {
    let word = Arc::new(AtomicU32::new(0));
    let bell = word.clone();
    let waker = thread::spawn(move || {
        bell.store(1, Release);
        futex::wake(&*bell, 1);
    });
    while word.load(Acquire) == 0 {
        futex::wait(&word, 0, None);
    }
    waker.join().unwrap();
}

#[test]
fn a_lost_wake_up_is_a_deadlock() {
    Exploration::exhaustive().check("doorbell", doorbell);
    let site = Site::find(
        env!("CARGO_MANIFEST_DIR"),
        "tests/litmus.rs",
        concat!("futex::wake(&", "*bell, 1);"),
    );
    let report = Exploration::exhaustive()
        .plant(Plant::remove(site))
        .run(doorbell);
    let failure = report.failure.unwrap();
    assert!(
        failure.contains("deadlock") && failure.contains("sleeps on a futex"),
        "{failure}"
    );
}

#[test]
#[should_panic(expected = "not caught")]
fn a_planted_bug_that_does_no_harm_is_told() {
    let site = Site::find(
        env!("CARGO_MANIFEST_DIR"),
        "tests/litmus.rs",
        concat!("bell.store(1, ", "Release);"),
    );
    // Nothing but the word itself is passed on, so relaxed is enough.
    Exploration::exhaustive().catches("doorbell", vec![Plant::weaken(site)], doorbell);
}

#[test]
fn waiting_for_each_other_for_ever_is_a_livelock() {
    let report = Exploration::exhaustive().steps(500).run(|| {
        let m = shared::<1>();
        while m[0].load(Relaxed) == 0 {
            thread::spin_loop();
        }
    });
    assert!(report.failure.unwrap().contains("too many steps"));
}

#[test]
fn a_spinner_sees_what_it_waits_for_but_nothing_else_for_free() {
    let report = wide().run(|| {
        let m = shared::<2>();
        let n = m.clone();
        let other = thread::spawn(move || {
            n[0].store(1, Relaxed);
            n[1].store(1, Relaxed);
        });
        while m[1].load(Relaxed) == 0 {
            thread::spin_loop();
        }
        assert_eq!(m[0].load(Relaxed), 1, "the data is old");
        other.join().unwrap();
    });
    assert!(report.failure.unwrap().contains("the data is old"));
}

fn guarded_by(order: Ordering) -> Report {
    wide().run(move || {
        let shared = Arc::new((AtomicU32::new(0), Guarded::new(0)));
        let theirs = shared.clone();
        let other = thread::spawn(move || {
            // SAFETY: the flag says that nobody else does.
            unsafe { theirs.1.with_mut(|value| *value = 7) };
            theirs.0.store(1, order);
        });
        if shared.0.load(Acquire) == 1 {
            // SAFETY: as above.
            unsafe { shared.1.with(|value| assert_eq!(*value, 7)) };
        }
        other.join().unwrap();
    })
}

#[test]
fn a_data_race_is_found_by_what_orderings_promise() {
    assert!(guarded_by(Release).failure.is_none());
    assert!(
        guarded_by(Relaxed)
            .failure
            .unwrap()
            .contains("a data race with thread 1")
    );
}

#[test]
fn mutex_and_condition_variable_work() {
    Exploration::exhaustive().check("mutex", || {
        let shared = Arc::new((Mutex::new(0), Condvar::new(), Guarded::new(0)));
        let workers = [1, 2].map(|n| {
            let shared = shared.clone();
            thread::spawn(move || {
                let mut sum = shared.0.lock().unwrap();
                *sum += n;
                // SAFETY: under the mutex.
                unsafe { shared.2.with_mut(|value| *value += n) };
                shared.1.notify_one();
            })
        });
        let sum = shared.0.lock().unwrap();
        drop(shared.1.wait_while(sum, |sum| *sum < 3).unwrap());
        for worker in workers {
            worker.join().unwrap();
        }
        // SAFETY: both have ended.
        assert_eq!(unsafe { shared.2.with(|value| *value) }, 3);
    });
}

#[test]
fn parking_remembers_one_wake_up_and_time_passes_when_nothing_else_can() {
    Exploration::exhaustive().check("park", || {
        let flag = shared::<1>();
        let theirs = flag.clone();
        let sleeper = thread::spawn(move || {
            while theirs[0].load(Acquire) == 0 {
                thread::park();
            }
        });
        thread::current().unpark();
        thread::park();
        flag[0].store(1, Release);
        sleeper.thread().unpark();
        sleeper.join().unwrap();
        thread::park_timeout(std::time::Duration::from_secs(1));
    });
}

#[test]
fn thread_locals_and_statics_are_what_they_are() {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    thread_local! { static MINE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) }; }
    COUNT.store(0, Relaxed);
    let report = Exploration::exhaustive().run(|| {
        let before = COUNT.load(Relaxed);
        let other = thread::spawn(|| {
            MINE.set(MINE.get() + 1);
            COUNT.fetch_add(1, Relaxed);
            MINE.get()
        });
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!(MINE.get(), 0);
        assert_eq!(COUNT.load(Relaxed), before + 1);
    });
    assert!(report.failure.is_none(), "{:?}", report.failure);
    assert_eq!(COUNT.load(Relaxed) as u64, report.executions);
}

#[test]
fn random_executions_find_what_is_common_and_repeat_by_seed() {
    let run = |seed| {
        Exploration::random(seed).executions(200).run(|| {
            let n = shared::<1>();
            let m = n.clone();
            let other = thread::spawn(move || m[0].store(m[0].load(Relaxed) + 1, Relaxed));
            n[0].store(n[0].load(Relaxed) + 1, Relaxed);
            other.join().unwrap();
            assert_eq!(n[0].load(Relaxed), 2);
        })
    };
    let (once, again) = (run(1), run(1));
    assert!(once.failure.is_some());
    assert_eq!(
        (once.executions, once.failure),
        (again.executions, again.failure)
    );
}

#[test]
fn without_an_exploration_all_is_as_in_std() {
    let word = AtomicU32::new(1);
    assert_eq!(word.compare_exchange(1, 2, SeqCst, Relaxed), Ok(1));
    assert_eq!(word.fetch_add(1, SeqCst), 2);
    assert!(!futex::wait(
        &word,
        3,
        Some(std::time::Duration::from_millis(1))
    ));
    assert_eq!(futex::wake(&word, 1), 0);
    assert_eq!(thread::spawn(|| 5).join().unwrap(), 5);
    assert!(!goexplore::planted("anything"));
    assert_eq!(goexplore::choose(3), 0);
    assert_eq!(*Mutex::new(4).lock().unwrap(), 4);
}
