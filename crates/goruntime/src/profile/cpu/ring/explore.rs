//! The ring of samples under the schedule explorer: handlers that put, a taker, and the end of the memory.

use super::*;
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant, Site, thread};
use std::sync::Arc;

/// Memory that is there while the ring is open: the explorer sees who touches it at the same time as who takes it away.
struct Shared {
    ring: Ring<Guarded<u32>>,
    memory: Guarded<bool>,
}

fn put(shared: &Shared, n: u32) {
    shared.ring.put(1, |at| {
        // SAFETY: whether the memory is there is what is explored, and whether the slot is ours.
        unsafe {
            shared.memory.with(|there| assert!(*there));
            (*at).with_mut(|value| *value = n);
        }
    });
}

/// Two handlers, one sample each or two, and a taker that drains, closes, and takes the memory away.
fn handlers_and_a_taker() {
    let shared = Arc::new(Shared {
        ring: Ring::new(),
        memory: Guarded::new(true),
    });
    let slots: Box<[Slot<Guarded<u32>>]> = [0, 0].map(|n| Slot::new(Guarded::new(n))).into();
    let slots = Box::into_raw(slots);
    // SAFETY: so many slots, freed at the end.
    unsafe { shared.ring.open(slots.cast(), 2) };
    let handlers: Vec<_> = (0..2)
        .map(|n| {
            let shared = shared.clone();
            thread::spawn(move || {
                put(&shared, n + 1);
                if n == 0 {
                    put(&shared, 3);
                }
            })
        })
        .collect();
    let mut sum = 0;
    let mut take = || {
        // SAFETY: opened above; a full slot is the taker's.
        unsafe {
            shared.ring.drain(|value| value.with(|n| sum += *n));
        }
    };
    take();
    shared.ring.close(thread::yield_now);
    take();
    // SAFETY: the ring is closed.
    unsafe { shared.memory.with_mut(|there| *there = false) };
    handlers.into_iter().for_each(|h| h.join().unwrap());
    assert!(sum <= 6);
    // SAFETY: from `into_raw`, and nobody uses them any more.
    drop(unsafe { Box::from_raw(slots) });
}

fn site(snippet: &str) -> Site {
    Site::find(
        env!("CARGO_MANIFEST_DIR"),
        "src/profile/cpu/ring.rs",
        snippet,
    )
}

#[test]
fn explore_samples() {
    let exploration = Exploration::exhaustive().preemptions(2);
    exploration.check("goruntime: samples", handlers_and_a_taker);
    let plants = vec![
        Plant::weaken(site("slot.state.store(FULL, Release);")),
        Plant::weaken(site("slot.state.store(FREE, Release);")),
        Plant::weaken(site(".compare_exchange(FREE, TAKEN, Acquire, Relaxed)")),
        Plant::remove(site("self.inside.fetch_add(1, SeqCst);")),
        Plant::weaken(site("self.inside.fetch_sub(1, Release);")),
    ];
    exploration.catches("goruntime: samples", plants, handlers_and_a_taker);
}
