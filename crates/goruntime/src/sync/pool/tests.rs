//! What Go's tests ask of `sync.Pool` (sync/pool_test.go), by behaviour. Time is let pass by calling what the clock calls.

use super::*;
use crate::{go, yield_now};
use std::sync::atomic::AtomicU32;

/// Go's TestPool.
#[test]
fn what_is_put_in_comes_out_and_is_dropped_when_it_is_not_used() {
    // The pool's parts are told from each other by P, so all of this may be spread.
    let pool = Pool::new(|| "new");
    assert_eq!(pool.get(), "new");
    (0..100).for_each(|_| pool.put("old"));
    pool.parts().age();
    assert_eq!(pool.get(), "old", "the victims are still there");
    pool.put("old");
    pool.parts().age();
    assert_eq!(pool.get(), "old", "it was used since");
    pool.parts().age();
    assert_eq!(pool.get(), "new");
}

/// Go's TestPoolNew.
#[test]
fn what_is_not_there_is_made() {
    let made = AtomicU32::new(0);
    let pool = Pool::new(|| made.fetch_add(1, Relaxed) + 1);
    assert_eq!((pool.get(), pool.get()), (1, 2));
    pool.put(42);
    assert_eq!((pool.get(), pool.get()), (42, 3));
}

/// Go's TestPoolRelease.
#[test]
fn everything_is_dropped_after_two_rounds_and_with_the_pool() {
    let held = Arc::new(());
    let pool = Pool::new(|| unreachable!());
    (0..100).for_each(|_| pool.put(held.clone()));
    assert_eq!(Arc::strong_count(&held), 101);
    pool.parts().age();
    assert_eq!(Arc::strong_count(&held), 101);
    pool.parts().age();
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(
        !pool.parts().is_watched.load(Relaxed),
        "the clock runs for nothing"
    );
    pool.put(held.clone());
    assert!(pool.parts().is_watched.load(Relaxed));
    drop(pool);
    assert_eq!(Arc::strong_count(&held), 1);
}

/// Go's TestPoolStress.
#[test]
fn nothing_is_given_to_two() {
    let pool: Arc<Pool<Box<u64>>> = Arc::new(Pool::new(|| Box::new(0)));
    let workers: Vec<_> = (1..=8)
        .map(|me| {
            let pool = pool.clone();
            go(move || {
                for n in 0..500 {
                    let mut value = pool.get();
                    *value = me;
                    if n % 50 == 0 {
                        yield_now();
                        pool.parts().age();
                    }
                    assert_eq!(*value, me);
                    pool.put(value);
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|w| w.join().unwrap());
}

#[test]
fn threads_use_it_too() {
    static POOL: Pool<String> = Pool::new(String::new);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..100).for_each(|_| POOL.put(POOL.get() + ".")));
        }
    });
}
