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
mod explore;
