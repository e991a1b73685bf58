//! Threads at rest: asleep in the kernel, and known to be, so that a stop need not wake them to hear that they stand.
//!
//! To wake a thread so that a handler says that it stands, and sleeps again, is a switch to it and back: ten microseconds or more, one after the other if they share a processor.
//! The runtime's own threads sleep most of the time, at places that are known. There they *rest*: they leave word of what a handler would tell, then sleep.
//!
//! # Protocol
//!
//! Each thread that rests has a [`Rest`]:
//!
//! ```text
//!             captured := ..                              AWAKE, then look at the epoch
//!   awake ───────────────────► resting (asleep) ───────────────────────────────────────► awake     if it is even
//!                                     ▲                            │
//!                                     └── asleep on the epoch ◄────┘ resting again, if it is odd
//! ```
//!
//! - `captured` is written by the thread, while it is awake; the stopper reads it after it has seen, in an odd epoch of its own, that the thread rests, and before it makes the epoch even.
//! - `state` is written by the thread alone.
//! - `tid` is written with it: the record is the calling context's, and a goroutine's may be on another thread than it was. `process` is written when the record is taken.
//!
//! **Who was seen resting stands still until the stop is over.** The stopper makes the epoch odd, then looks at the state; the thread writes `AWAKE`, then looks at the epoch; all four are
//! sequentially consistent (Dekker). If the stopper saw it rest, its look comes before the next `AWAKE` in the order of all, hence the odd epoch comes before the thread's look, which finds it, or one that is
//! later. An even one: the stop is over. An odd one: the thread rests again without having done anything, `captured` as it was. That is so each time round, so it holds for a thread that
//! sleeps over several stops.
//!
//! **What it did before is seen, and it sees what is done meanwhile.** `resting` is stored with release, after all that the thread did, and read with acquire. The even epoch is stored after all that was done
//! in the stop, by a stopper that comes after all earlier ones (they have a lock), and the thread has read it, or a later one, when it goes on.
//!
//! **Nobody sleeps for ever.** The thread sleeps on the epoch only as long as that is the odd one that it saw; whoever makes it even wakes all.
//!
//! **What is captured is all there is.** [`at_rest`](super::stop::at_rest) takes it in a frame of its own, before it calls what sleeps. Registers that a call preserves are in it; all others are dead then, or were saved by
//! callers, in frames above the captured stack pointer. Those frames do not change until `at_rest` returns. What runs below has no reference to a collected object.
//!
//! **Who is asked all the same** (seen awake, and going to rest) answers as anybody does: the signal interrupts its sleep, or what it does about it. That may happen at any of the steps above. If the stopper
//! lists threads again before that and sees it rest, that will do.
//!
//! **Signals of other kinds** are handled on a resting thread while the world stands still, as on the collector's own threads, which nobody stops: a handler may neither move references to collected
//! objects nor take what a stopped thread may hold. Handlers may not block, so none rests; one that did would find its thread resting, and just sleep.
//!
//! **A thread ends** awake, and gives its record back. **After a fork** the child has one thread, and records of the parent's: they are of another process, and are
//! passed over, also that of the thread that forked, which answers signals from then on.

use super::slots::Captured;
use super::threads::Tid;
use crate::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering::*};
use std::cell::UnsafeCell;
use std::ptr::null_mut;

/// The states.
pub(super) const AWAKE: u32 = 0;
pub(super) const RESTING: u32 = 1;

/// A thread's word that it rests.
pub(super) struct Rest {
    /// See the module.
    pub(super) state: AtomicU32,
    pub(super) captured: UnsafeCell<Captured>,
    pub(super) tid: AtomicI32,
    process: AtomicI32,
    taken: AtomicBool,
    /// Written before it is in the list, and not again.
    next: AtomicPtr<Rest>,
}

// SAFETY: `captured` follows the protocol at the head of this file; everything else is atomic.
unsafe impl Sync for Rest {}

impl Rest {
    /// That thread's number. By the stopper.
    pub(super) fn tid(&self) -> Tid {
        Tid(self.tid.load(Relaxed))
    }

    /// For the next thread. By its owner, awake.
    pub(super) fn give_back(&self) {
        self.taken.store(false, Release);
    }
}

/// All records. They are never freed, so that whoever walks through them needs no lock.
pub(super) struct Rests {
    first: AtomicPtr<Rest>,
}

impl Rests {
    pub(super) const fn new() -> Rests {
        Rests {
            first: AtomicPtr::new(null_mut()),
        }
    }

    /// A record, which is the caller's until it gives it back.
    pub(super) fn take(&self, process: i32) -> &'static Rest {
        let rest = self
            .iter()
            .find(|rest| !rest.taken.swap(true, Acquire))
            .unwrap_or_else(|| self.add());
        rest.process.store(process, Relaxed);
        rest
    }

    fn add(&self) -> &'static Rest {
        let rest: &'static Rest = Box::leak(Box::new(Rest {
            state: AtomicU32::new(AWAKE),
            captured: UnsafeCell::new(Captured::NONE),
            tid: AtomicI32::new(0),
            process: AtomicI32::new(0),
            taken: AtomicBool::new(true),
            next: AtomicPtr::new(null_mut()),
        }));
        let mut first = self.first.load(Relaxed);
        loop {
            rest.next.store(first, Relaxed);
            let new = std::ptr::from_ref(rest).cast_mut();
            match self
                .first
                .compare_exchange_weak(first, new, Release, Relaxed)
            {
                Ok(_) => return rest,
                Err(now) => first = now,
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &'static Rest> {
        // SAFETY: published whole, never freed.
        let at = |at: *mut Rest| unsafe { at.as_ref() };
        std::iter::successors(at(self.first.load(Acquire)), move |rest| {
            at(rest.next.load(Relaxed))
        })
    }

    /// Who rests, of this process. By the stopper, in an odd epoch: they stand still until it is over.
    pub(super) fn resting(&self, process: i32) -> impl Iterator<Item = &'static Rest> {
        self.iter().filter(move |rest| {
            rest.state.load(SeqCst) == RESTING && rest.process.load(Relaxed) == process
        })
    }
}
