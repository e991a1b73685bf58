//! Locks and meeting points, from goroutines and threads at once.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{TestEnv, go, times};
use gosched::sync::{Cond, Mutex, Once, RwLock, Semaphore, WaitGroup};

on_both_engines!(
    a_mutex_excludes,
    a_mutex_waits_until_its_deadline,
    a_guard_may_move,
    a_lock_is_free_after_a_panic,
    a_semaphore_serves_in_order,
    readers_share_and_writers_exclude,
    conditions_wake_one_or_all,
    once_is_once,
    a_group_wakes_all_who_wait,
);

fn a_mutex_excludes<E: TestEnv>() {
    let s = E::scheduler(3);
    let mutex = Arc::new(Mutex::new((0u64, false)));
    let group = Arc::new(WaitGroup::new());
    group.add(6);
    for i in 0..6 {
        let (mutex, group) = (mutex.clone(), group.clone());
        let work = move || {
            for k in 0..times(300) {
                let mut guard = mutex.lock();
                assert!(!std::mem::replace(&mut guard.1, true));
                if k % 10 == 0 {
                    gosched::yield_now();
                }
                guard.0 += 1;
                guard.1 = false;
            }
            group.done();
        };
        if i == 0 {
            std::thread::spawn(work);
        } else {
            go(s, work);
        }
    }
    group.wait();
    assert_eq!(mutex.lock().0, 6 * times(300));
}

fn a_mutex_waits_until_its_deadline<E: TestEnv>() {
    let s = E::scheduler(2);
    let mutex = Arc::new(Mutex::new(()));
    let held = mutex.lock();
    assert!(mutex.try_lock().is_none());
    let other = mutex.clone();
    let timed_out = go(s, move || {
        other
            .lock_until(Instant::now() + Duration::from_millis(3))
            .is_none()
    });
    assert!(timed_out.join().unwrap());
    drop(held);
    assert!(mutex.try_lock().is_some());
    assert!(mutex.lock_until(Instant::now()).is_some());
}

fn a_guard_may_move<E: TestEnv>() {
    let s = E::scheduler(2);
    let mutex: &'static Mutex<u32> = Box::leak(Box::new(Mutex::new(1)));
    let guard = mutex.lock();
    go(s, move || drop(guard)).join().unwrap();
    assert_eq!(*mutex.lock(), 1);
}

fn a_lock_is_free_after_a_panic<E: TestEnv>() {
    let s = E::scheduler(1);
    let mutex = Arc::new(Mutex::new(1));
    let other = mutex.clone();
    let failed = go(s, move || {
        let mut guard = other.lock();
        *guard = 2;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(failed.join().is_err());
    assert_eq!(*mutex.lock(), 2);
}

fn a_semaphore_serves_in_order<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        let semaphore = Arc::new(Semaphore::new(1));
        let order = Arc::new(Mutex::new(Vec::new()));
        semaphore.acquire(1);
        let handles: Vec<_> = [2usize, 1, 1]
            .into_iter()
            .enumerate()
            .map(|(i, need)| {
                let (semaphore, order) = (semaphore.clone(), order.clone());
                let handle = go(s, move || {
                    semaphore.acquire(need);
                    order.lock().push(i);
                });
                gosched::yield_now();
                handle
            })
            .collect();
        assert!(!semaphore.try_acquire(1), "others wait before");
        semaphore.release(1);
        gosched::yield_now();
        assert!(
            order.lock().is_empty(),
            "the first needs two, and is not overtaken"
        );
        for (handle, permits) in handles.into_iter().zip([1, 1, 1]) {
            semaphore.release(permits);
            handle.join().unwrap();
        }
        assert_eq!(*order.lock(), [0, 1, 2]);
        assert_eq!(semaphore.permits(), 0);

        // One that gives up lets those behind it through.
        let behind = semaphore.clone();
        let first = go(s, {
            let semaphore = semaphore.clone();
            move || semaphore.acquire_until(5, Instant::now() + Duration::from_millis(5))
        });
        gosched::yield_now();
        let second = go(s, move || behind.acquire(1));
        gosched::yield_now();
        semaphore.release(1);
        assert!(!first.join().unwrap());
        second.join().unwrap();
    })
    .unwrap();
}

fn readers_share_and_writers_exclude<E: TestEnv>() {
    let s = E::scheduler(3);
    let lock = Arc::new(RwLock::new(0u64));
    let readers = Arc::new(AtomicUsize::new(0));
    {
        let (one, two) = (lock.read(), lock.try_read());
        assert!(two.is_some() && lock.try_write().is_none());
        assert_eq!(*one, 0);
    }
    let handles: Vec<_> = (0..8)
        .map(|i| {
            let (lock, readers) = (lock.clone(), readers.clone());
            go(s, move || {
                for _ in 0..times(100) {
                    if i % 4 == 0 {
                        let mut guard = lock.write();
                        assert_eq!(readers.load(Ordering::SeqCst), 0);
                        let before = *guard;
                        gosched::yield_now();
                        *guard = before + 1;
                    } else {
                        let guard = lock.read();
                        readers.fetch_add(1, Ordering::SeqCst);
                        let before = *guard;
                        gosched::yield_now();
                        assert_eq!(*guard, before);
                        readers.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
    assert_eq!(*lock.read(), 2 * times(100));
}

fn conditions_wake_one_or_all<E: TestEnv>() {
    let s = E::scheduler(2);
    let shared = Arc::new((Mutex::new(0u32), Cond::new()));
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let shared = shared.clone();
            go(s, move || {
                let mut tickets = shared.0.lock();
                while *tickets == 0 {
                    tickets = shared.1.wait(tickets);
                }
                *tickets -= 1;
            })
        })
        .collect();
    for n in [1, 3] {
        std::thread::sleep(Duration::from_millis(2));
        *shared.0.lock() += n;
        if n == 1 {
            shared.1.notify_one();
        } else {
            shared.1.notify_all();
        }
    }
    waiters.into_iter().for_each(|h| h.join().unwrap());
    let soon = Instant::now() + Duration::from_millis(2);
    let (guard, notified) = shared.1.wait_until(shared.0.lock(), soon);
    assert!(!notified && *guard == 0);
}

fn once_is_once<E: TestEnv>() {
    let s = E::scheduler(3);
    let (once, calls) = (Arc::new(Once::new()), Arc::new(AtomicUsize::new(0)));
    let failing = once.clone();
    let failed = go(s, move || {
        failing.call_once(|| std::panic::resume_unwind(Box::new(())));
    });
    assert!(failed.join().is_err());
    let handles: Vec<_> = (0..6)
        .map(|_| {
            let (once, calls) = (once.clone(), calls.clone());
            go(s, move || {
                once.call_once(|| {
                    gosched::yield_now();
                    calls.fetch_add(1, Ordering::Relaxed);
                });
                calls.load(Ordering::Relaxed)
            })
        })
        .collect();
    for h in handles {
        assert_eq!(h.join().unwrap(), 1);
    }
}

fn a_group_wakes_all_who_wait<E: TestEnv>() {
    let s = E::scheduler(2);
    let group = Arc::new(WaitGroup::new());
    group.wait();
    group.add(2);
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let group = group.clone();
            go(s, move || group.wait())
        })
        .collect();
    group.done();
    assert_eq!(group.count(), 1);
    assert!(waiters.iter().all(|w| !w.is_finished()));
    group.done();
    waiters.into_iter().for_each(|h| h.join().unwrap());
    let panicked = go(s, move || group.done()).join().unwrap_err();
    assert_eq!(panicked.message(), Some("WaitGroup::done without add"));
}

/// What was refused leaves the lock with whoever has it.
#[test]
fn a_refused_try_changes_nothing() {
    let lock = RwLock::new(1);
    let writer = lock.write();
    assert!(lock.try_read().is_none() && lock.try_write().is_none());
    assert!(lock.try_write().is_none(), "the writer is still in");
    drop(writer);
    let readers = (lock.read(), lock.read());
    assert!(lock.try_write().is_none());
    assert!(lock.try_write().is_none(), "the readers are still in");
    assert!(lock.try_read().is_some());
    drop(readers.0);
    assert!(lock.try_write().is_none(), "one is still in");
    drop(readers.1);
    assert!(lock.try_write().is_some());

    let mutex = Mutex::new(1);
    let holder = mutex.lock();
    assert!(mutex.try_lock().is_none() && mutex.try_lock().is_none());
    drop(holder);
    assert!(mutex.try_lock().is_some());
}
