//! Parking and readying: whichever comes first, the goroutine is made runnable once, by somebody who sees both that it is saved and why it was woken.

use super::weaken;
use crate::atomic::{AtomicBool, AtomicU32, Ordering, spin_loop};
use crate::gmp::g::{GRef, Header, Ops, RUNNING};
use crate::goroutine::WaitReason;
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant, thread};
use std::ptr;
use std::sync::Arc;

struct Shared {
    g: GRef,
    /// The goroutine is in the queue of whoever shall wake it.
    known: AtomicBool,
    /// Its saved context.
    context: Guarded<u32>,
    /// What it waits for.
    event: Guarded<u32>,
    /// How often it went on.
    runs: AtomicU32,
}

impl Shared {
    /// What an M does with a goroutine that was made runnable.
    fn run(&self) {
        // SAFETY: whoever made it runnable sees both: that is what is explored.
        unsafe {
            self.context
                .with_mut(|context| assert_eq!(*context, 1, "it is not saved"));
            self.event
                .with_mut(|event| assert_eq!(*event, 1, "nothing has happened"));
        }
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    fn park(&self) {
        self.g
            .prepare_park(WaitReason::ChanReceive, std::ptr::null());
        self.known.store(true, Ordering::Release);
        // SAFETY: the goroutine's own code, until it is saved.
        unsafe { self.context.with_mut(|context| *context = 1) };
        if self.g.unpark_early() || self.g.context_saved() {
            self.run();
        }
    }

    fn ready(&self) {
        while !self.known.load(Ordering::Acquire) {
            spin_loop();
        }
        // SAFETY: the waker's own, until it notifies.
        unsafe { self.event.with_mut(|event| *event = 1) };
        if self.g.notify() {
            self.run();
        }
    }
}

fn park_and_ready() {
    let header = Box::into_raw(Box::new(Header::new(Ops::unreachable(), ptr::null())));
    let shared = Arc::new(Shared {
        // SAFETY: freed below, when everybody else has ended.
        g: unsafe { &*header },
        known: AtomicBool::new(false),
        context: Guarded::new(0),
        event: Guarded::new(0),
        runs: AtomicU32::new(0),
    });
    shared.g.status.store(RUNNING, Ordering::Relaxed);
    let waker = shared.clone();
    let waker = thread::spawn(move || waker.ready());
    shared.park();
    waker.join().unwrap();
    let runs = shared.runs.load(Ordering::Relaxed);
    drop(shared);
    // SAFETY: from `into_raw` above, and nobody uses it any more.
    drop(unsafe { Box::from_raw(header) });
    assert_eq!(runs, 1, "it went on so many times");
}

#[test]
fn explore_parking_and_readying() {
    let exploration = Exploration::exhaustive().preemptions(4);
    exploration.check("gosched: park and ready", park_and_ready);
    let file = "src/gmp/g.rs";
    let plants = vec![
        weaken(file, "self.status.fetch_add(NOTIFIED, Ordering::AcqRel)"),
        weaken(file, "self.status.fetch_add(SAVED, Ordering::AcqRel)"),
        weaken(file, "self.status.load(Ordering::Acquire) & NOTIFIED"),
        Plant::named("a park does not look whether it was readied"),
    ];
    exploration.catches("gosched: park and ready", plants, park_and_ready);
}
