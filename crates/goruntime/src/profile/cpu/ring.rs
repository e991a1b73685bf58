//! Where signal handlers leave samples, and one thread takes them: slots, each in one party's hands.
//!
//! # Protocol
//!
//! A slot's state is one word:
//!
//! ```text
//!           a handler             the same handler          the taker
//!   FREE ---------------> TAKEN ---------------------> FULL -----------> FREE
//!        compare-exchange       release, after writing      release, after reading
//! ```
//!
//! - Who moves a slot from `FREE` to `TAKEN` may write it, until it says `FULL`; the taker may read it from then (acquire) until it says `FREE`. A handler
//!   that finds the slot free (acquire) writes after the taker has read. So no two parties touch a slot's contents at the same time.
//! - A handler never waits: when the few slots that it looks at are taken, its sample is lost, and counted.
//!
//! The slots' memory is there only while the ring is open. A handler first counts itself in (`inside`), then looks whether the ring is open; who closes it
//! first says so, then waits until nobody is inside. Both in sequentially consistent order, so either the handler sees that the ring is closed, or the
//! closer sees the handler. A handler is not interrupted by anything that waits for it (it runs with all signals blocked), so the closer waits for
//! some microseconds, unless the kernel does not run the handler's thread.

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use std::cell::UnsafeCell;
use std::ptr::null_mut;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const FULL: u32 = 2;

/// Slots that a handler looks at before it gives up.
const TRIES: usize = if cfg!(explore) { 2 } else { 8 };

/// One sample's place. All zero is a free one.
#[repr(C)]
pub(super) struct Slot<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

#[cfg(test)]
impl<T> Slot<T> {
    pub(super) fn new(value: T) -> Slot<T> {
        Slot {
            state: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }
}

/// The slots, and who may use them.
pub(super) struct Ring<T> {
    open: AtomicBool,
    /// Handlers that may be about to use a slot.
    inside: AtomicU32,
    slots: AtomicPtr<Slot<T>>,
    len: AtomicUsize,
    /// Where the next handler begins to look.
    next: AtomicUsize,
    lost: AtomicU64,
}

impl<T> Ring<T> {
    /// Closed.
    pub(super) const fn new() -> Ring<T> {
        Ring {
            open: AtomicBool::new(false),
            inside: AtomicU32::new(0),
            slots: AtomicPtr::new(null_mut()),
            len: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Lets handlers in.
    ///
    /// # Safety
    /// 1. The ring is closed, and the caller is the only one that opens, drains and closes it.
    /// 2. `slots` are so many free ones, and stay until the ring is closed.
    pub(super) unsafe fn open(&self, slots: *mut Slot<T>, len: usize) {
        self.slots.store(slots, Relaxed);
        self.len.store(len, Relaxed);
        self.lost.store(0, Relaxed);
        self.open.store(true, SeqCst);
    }

    /// Has `fill` write a sample, if the ring is open. `weight` is what is lost if there is no room. Async-signal-safe, if `fill` is.
    pub(super) fn put(&self, weight: u64, fill: impl FnOnce(*mut T)) {
        self.inside.fetch_add(1, SeqCst);
        if self.open.load(SeqCst) {
            match self.take_free() {
                Some(slot) => {
                    fill(slot.value.get());
                    slot.state.store(FULL, Release);
                }
                None => {
                    self.lost.fetch_add(weight, Relaxed);
                }
            }
        }
        self.inside.fetch_sub(1, Release);
    }

    /// From a handler that is inside, and has seen the ring open.
    fn take_free(&self) -> Option<&Slot<T>> {
        let slots = self.slots.load(Relaxed);
        let len = self.len.load(Relaxed);
        let start = self.next.fetch_add(1, Relaxed);
        (0..TRIES).find_map(|n| {
            // SAFETY: the ring is open and cannot be closed while the caller is inside, so there are so many slots.
            let slot = unsafe { &*slots.add(start.wrapping_add(n) % len) };
            slot.state
                .compare_exchange(FREE, TAKEN, Acquire, Relaxed)
                .is_ok()
                .then_some(slot)
        })
    }

    /// Calls `each` with every sample that is there, and takes it out.
    ///
    /// # Safety
    /// 1. The caller has opened the ring, and its slots are still there.
    pub(super) unsafe fn drain(&self, mut each: impl FnMut(&T)) {
        let slots = self.slots.load(Relaxed);
        for n in 0..self.len.load(Relaxed) {
            // SAFETY: obligation 1.
            let slot = unsafe { &*slots.add(n) };
            if slot.state.load(Acquire) == FULL {
                // SAFETY: a full slot is the taker's.
                each(unsafe { &*slot.value.get() });
                slot.state.store(FREE, Release);
            }
        }
    }

    /// Keeps handlers out, and waits until none is inside: from then on nobody but the caller uses the slots. `pause` is called between two looks.
    pub(super) fn close(&self, pause: impl Fn()) {
        self.open.store(false, SeqCst);
        while self.inside.load(SeqCst) != 0 {
            pause();
        }
    }

    /// What was lost since the ring was opened.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

// SAFETY: contents of slots are in one party's hands at a time, as the head says; everything else is atomic.
unsafe impl<T: Send> Sync for Ring<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(explore, ignore = "outside of an exploration")]
    fn what_is_put_is_taken_once_and_what_has_no_room_is_counted() {
        let ring = Ring::<u32>::new();
        ring.put(1, |_| panic!("the ring is closed"));
        let mut slots: Vec<Slot<u32>> = (0..4).map(|_| Slot::new(0)).collect();
        // SAFETY: four slots, which outlive the ring.
        unsafe { ring.open(slots.as_mut_ptr(), slots.len()) };
        for n in 1..=6 {
            // SAFETY: a slot is handed out to be written.
            ring.put(10, |at| unsafe { *at = n });
        }
        let mut taken = Vec::new();
        // SAFETY: opened above.
        unsafe { ring.drain(|&n| taken.push(n)) };
        taken.sort_unstable();
        assert_eq!((taken, ring.lost()), (vec![1, 2, 3, 4], 20));
        // SAFETY: as above.
        unsafe { ring.drain(|_| panic!("taken already")) };
        ring.close(|| panic!("nobody is inside"));
        ring.put(1, |_| panic!("the ring is closed"));
    }
}

#[cfg(all(test, explore))]
mod explore {
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
}
