//! Locks that are counts while nobody waits: the readers-writer lock and the wait group.

use super::threads::go;
use super::weaken;
use crate::sync::{RwLock, WaitGroup};
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant};
use std::sync::Arc;

struct Shared {
    lock: RwLock<()>,
    data: Guarded<u32>,
}

impl Shared {
    fn add(&self) {
        let _in = self.lock.write();
        // SAFETY: nobody else is in; whether that is so is what is explored.
        unsafe { self.data.with_mut(|n| *n += 1) };
    }

    fn get(&self) -> u32 {
        let _in = self.lock.read();
        // SAFETY: no writer is in; as above.
        unsafe { self.data.with(|n| *n) }
    }
}

/// Two read and one writes, beside another that does both.
fn readers_and_writers() {
    let shared = Arc::new(Shared {
        lock: RwLock::new(()),
        data: Guarded::new(0),
    });
    let readers = [(); 2].map(|()| {
        let shared = shared.clone();
        go(move || assert!(shared.get() <= 2))
    });
    let its = shared.clone();
    let writer = go(move || its.add());
    shared.add();
    assert!(shared.get() >= 1);
    writer.join().unwrap();
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(shared.get(), 2);
}

/// Who tries gets in or is refused, and leaves nothing behind.
fn who_tries() {
    let shared = Arc::new(Shared {
        lock: RwLock::new(()),
        data: Guarded::new(0),
    });
    let its = shared.clone();
    let writer = go(move || its.add());
    let its = shared.clone();
    let reader = go(move || {
        its.get();
    });
    if let Some(_in) = shared.lock.try_write() {
        // SAFETY: as in `add`.
        unsafe { shared.data.with_mut(|n| *n += 1) };
    }
    if let Some(_in) = shared.lock.try_read() {
        // SAFETY: as in `get`.
        unsafe { shared.data.with(|n| *n) };
    }
    writer.join().unwrap();
    reader.join().unwrap();
    assert!(shared.lock.try_write().is_some());
}

const LOCK: &str = "src/sync/raw_rw.rs";

#[test]
fn explore_the_readers_writer_lock() {
    let exploration = Exploration::exhaustive().preemptions(1).stale_reads(0);
    exploration.check("gosched: readers and writers", readers_and_writers);
    let random = Exploration::random(1).executions(4000);
    random.check("gosched: readers and writers", readers_and_writers);
    random.check("gosched: who tries", who_tries);
    let plants = vec![
        Plant::named("a writer does not wait for readers"),
        weaken(LOCK, "self.readers.fetch_add(1, Ordering::Acquire)"),
        weaken(LOCK, "self.readers.fetch_sub(1, Ordering::Release)"),
        weaken(LOCK, "self.readers.fetch_add(WRITER, Ordering::AcqRel)"),
        weaken(LOCK, "self.readers.fetch_sub(WRITER, Ordering::Release)"),
        weaken(LOCK, "self.leaving.fetch_sub(1, Ordering::AcqRel)"),
        weaken(LOCK, "self.leaving.fetch_add(found, Ordering::AcqRel)"),
    ];
    random.catches("gosched: readers and writers", plants, readers_and_writers);
}

/// Two things are done while two wait for it, and then another.
fn group() {
    let shared = Arc::new((WaitGroup::new(), [Guarded::new(0), Guarded::new(0)]));
    let (group, data) = &*shared;
    group.add(2);
    let others = [0, 1].map(|number| {
        let shared = shared.clone();
        go(move || {
            // SAFETY: nobody looks at it before it is done.
            unsafe { shared.1[number].with_mut(|n| *n += 1) };
            shared.0.done();
        })
    });
    let its = shared.clone();
    let waiter = go(move || its.0.wait());
    group.wait();
    // SAFETY: both are done: that is what is explored.
    let done: u32 = data.iter().map(|one| unsafe { one.with(|n| *n) }).sum();
    assert_eq!(done, 2);
    waiter.join().unwrap();
    group.add(1);
    let its = shared.clone();
    let third = go(move || its.0.done());
    group.wait();
    assert_eq!(group.count(), 0);
    third.join().unwrap();
    for other in others {
        other.join().unwrap();
    }
}

#[test]
fn explore_the_wait_group() {
    let exploration = Exploration::exhaustive().preemptions(1).stale_reads(0);
    exploration.check("gosched: wait group", group);
    let random = Exploration::random(2).executions(3000);
    random.check("gosched: wait group", group);
    let file = "src/sync/wait_group.rs";
    let plants = vec![
        Plant::named("the last one done does not look for who waits"),
        weaken(
            file,
            "self\n                .state\n                .compare_exchange_weak(",
        ),
        weaken(file, "self.state.load(Ordering::Acquire) < ONE"),
    ];
    random.catches("gosched: wait group", plants, group);
}
