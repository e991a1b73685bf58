//! The slots in which stopper and stopped meet, found by thread id.
//!
//! Invariant: a table is never freed and a slot never moves, so that a signal handler that comes late reads memory that
//! still is what it was. Only the stopper, under its lock, gives a slot to a thread.

use super::rest::Rest;
use super::threads::Tid;
use crate::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use std::cell::UnsafeCell;
use std::ops::Range;
use std::ptr::null_mut;

/// The states of a slot; see the head of [`super::rendezvous`].
pub(super) const ASKED: u64 = 1;
pub(super) const STOPPED: u64 = 2;
pub(super) const SKIPPED: u64 = 3;
pub(super) const RESTS: u64 = 4;

/// A state word: what, and in which stop.
pub(super) const fn state(kind: u64, epoch: u32) -> u64 {
    (epoch as u64) << 8 | kind
}

/// How many words the kernel's list of general registers has.
pub(super) const GENERAL: usize = 23;

/// What a stopped thread had in its registers.
pub(super) struct Captured {
    pub(super) sp: usize,
    pub(super) tp: usize,
    /// The next instruction, and the frame pointer.
    pub(super) ip: usize,
    pub(super) fp: usize,
    pub(super) general: [usize; GENERAL],
    pub(super) vector: Range<usize>,
    /// The signal stack that it runs on; empty if it runs on none.
    pub(super) signal_stack: Range<usize>,
}

impl Captured {
    /// Of no thread.
    pub(super) const NONE: Captured = Captured {
        sp: 0,
        tp: 0,
        ip: 0,
        fp: 0,
        general: [0; GENERAL],
        vector: 0..0,
        signal_stack: 0..0,
    };
}

/// One thread's part in the protocol.
pub(super) struct Slot {
    pub(super) tid: AtomicI32,
    pub(super) state: AtomicU64,
    /// The stopper's: in which of its listings of this stop the thread was last.
    pub(super) listing: AtomicU32,
    pub(super) captured: UnsafeCell<Captured>,
    /// The stopper's: where the thread's registers are instead, if it rests.
    pub(super) rest: AtomicPtr<Rest>,
}

/// An open-addressed table of slots by thread id; a full one is continued in `next`.
pub(super) struct Table {
    slots: Box<[Slot]>,
    next: AtomicPtr<Table>,
}

// SAFETY: `captured` follows the protocol at the head of `rendezvous.rs`; everything else is atomic.
unsafe impl Sync for Slot {}

impl Table {
    pub(super) fn with_capacity(threads: usize) -> Table {
        let len = (threads * 2).next_power_of_two();
        let slots = (0..len).map(|_| Slot {
            tid: AtomicI32::new(0),
            state: AtomicU64::new(0),
            listing: AtomicU32::new(0),
            captured: UnsafeCell::new(Captured::NONE),
            rest: AtomicPtr::new(null_mut()),
        });
        Table {
            slots: slots.collect(),
            next: AtomicPtr::new(null_mut()),
        }
    }

    /// The few slots in which `tid` may stand; when they are all taken, the next table continues.
    fn probe(&self, tid: Tid) -> impl Iterator<Item = &Slot> {
        let mask = self.slots.len() - 1;
        let start = (tid.0 as usize).wrapping_mul(0x9e37_79b9) & mask;
        (0..self.slots.len().min(16)).map(move |i| &self.slots[(start + i) & mask])
    }

    /// The slot of `tid`, if it has one.
    pub(super) fn find(&self, tid: Tid) -> Option<&Slot> {
        let mut table = self;
        loop {
            if let Some(slot) = table.probe(tid).find(|s| s.tid.load(Acquire) == tid.0) {
                return Some(slot);
            }
            // SAFETY: tables are published whole and never freed.
            table = unsafe { table.next.load(Acquire).as_ref()? };
        }
    }

    /// The slot of `tid`, taken from a thread that was not there in the last stop if need be. Stopper only.
    pub(super) fn claim(&self, tid: Tid, epoch: u32) -> &Slot {
        if let Some(slot) = self.find(tid) {
            return slot;
        }
        let mut table = self;
        loop {
            let stale = |s: &&Slot| s.state.load(Relaxed) >> 8 != epoch as u64;
            if let Some(slot) = table.probe(tid).find(stale) {
                slot.tid.store(tid.0, Release);
                return slot;
            }
            if table.next.load(Acquire).is_null() {
                let more = Table::with_capacity(table.slots.len());
                table.next.store(Box::into_raw(Box::new(more)), Release);
            }
            // SAFETY: as in `find`; not null, just seen to.
            table = unsafe { &*table.next.load(Acquire) };
        }
    }

    /// Every slot ever used, and some that never were.
    pub(super) fn for_each(&self, mut f: impl FnMut(&Slot)) {
        let mut table = Some(self);
        while let Some(t) = table {
            t.slots.iter().for_each(&mut f);
            // SAFETY: as in `find`.
            table = unsafe { t.next.load(Acquire).as_ref() };
        }
    }
}
