//! The scheduler's lock: one holder at a time, who sees what the last one did, and nobody sleeps while it is free.

use super::{remove, weaken};
use crate::critical;
use crate::lock::RawLock;
use goexplore::sync::Guarded;
use goexplore::{Exploration, thread};
use std::sync::Arc;

struct Shared {
    lock: RawLock,
    data: Guarded<u32>,
}

impl Shared {
    fn add(&self) {
        let inside = critical::enter();
        self.lock.lock(&inside);
        // SAFETY: the lock is held; whether that suffices is what is explored.
        unsafe { self.data.with_mut(|n| *n += 1) };
        // SAFETY: as above.
        unsafe { self.lock.unlock() };
    }
}

fn three_take_it() {
    let shared = Arc::new(Shared {
        lock: RawLock::new(),
        data: Guarded::new(0),
    });
    let others = [(); 2].map(|()| {
        let shared = shared.clone();
        thread::spawn(move || shared.add())
    });
    shared.add();
    shared.add();
    for other in others {
        other.join().unwrap();
    }
    // SAFETY: everybody else has ended.
    assert_eq!(unsafe { shared.data.with(|n| *n) }, 4);
}

#[test]
fn explore_the_lock() {
    let exploration = Exploration::exhaustive().preemptions(2);
    exploration.check("gosched: the lock", three_take_it);
    let file = "src/lock.rs";
    let plants = vec![
        weaken(file, "self.0.swap(CONTENDED, Ordering::Acquire)"),
        weaken(file, "self.0.swap(FREE, Ordering::Release)"),
        remove(file, "sys::futex_wake(&self.0, 1)"),
    ];
    exploration.catches("gosched: the lock", plants, three_take_it);
}
