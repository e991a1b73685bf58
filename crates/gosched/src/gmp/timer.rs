//! Timers: one four-ary heap per P, holding what to wake and when.
//!
//! There are no callbacks. A timer wakes whoever waits, and whatever else should happen at that
//! time is done by the goroutine that waited; for an [alarm](crate::alarm), by the one that waits for
//! all of them. So firing is short, and runs in any M that comes by.
//!
//! A [`TimerNode`] lives in the frame of the goroutine that waits, or in an alarm. Invariants, all
//! under the heap's lock:
//!
//! - `node.index` is the node's position in the heap, or `OUT`;
//! - a node in the heap is alive: its owner removes it ([`Timers::disarm`]) before it leaves the
//!   frame, and an alarm is kept by the heap;
//! - a node is fired (the right to wake is claimed) while the lock is held. So an owner that finds
//!   its node `OUT` knows that firing has finished with it.
//!
//! `next` repeats the root's time outside the lock: an M looks there, without a lock, whether
//! anything is due.
//!
//! Go keeps timers in per-P four-ary heaps too (time.go); its lazy deletion and its channel timers
//! are not needed here, because nodes know their position and are not collected.

use crate::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::cell::Cell;
use std::ptr;

use crate::critical::Section;
use crate::gmp::g::{GList, GRef};
use crate::lock::Lock;
use crate::time::Nanos;

/// Children per node: fewer levels than two, and a node's children share a cache line.
const ARITY: usize = 4;

/// Not in a heap.
const OUT: usize = usize::MAX;

/// Whom to wake: `claim(target)` tries for the right to wake, and returns the goroutine that must
/// be made runnable, if any.
#[derive(Clone, Copy)]
pub(crate) struct Wake {
    pub(crate) target: *const (),
    /// Obligation of the caller: the target is alive. It must be short, and is called under the heap's
    /// lock.
    pub(crate) claim: unsafe fn(*const ()) -> Option<GRef>,
    /// For a target that nobody waits for: gives up what the heap has of it. `None` for one in a frame.
    /// Obligation of the caller: the timer was armed and has been taken out of the heap without firing.
    pub(crate) discard: Option<unsafe fn(*const ())>,
}

/// A pending deadline. Must not move while armed.
pub(crate) struct TimerNode {
    when: Cell<Nanos>,
    wake: Wake,
    index: Cell<usize>,
    /// The heap that it is in or was in last. Changes only under the lock of that heap, and may be read by anyone, who then
    /// takes the lock and looks again.
    home: AtomicPtr<Timers>,
}

impl TimerNode {
    #[inline]
    pub(crate) fn new(when: Nanos, wake: Wake) -> TimerNode {
        TimerNode {
            when: Cell::new(when),
            wake,
            index: Cell::new(OUT),
            home: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Sets the time of one that is in no heap, and that nobody else arms or disarms meanwhile.
    pub(crate) fn set(&self, when: Nanos) {
        debug_assert_eq!(self.index.get(), OUT);
        self.when.set(when);
    }
}

#[derive(Clone, Copy)]
struct Entry {
    when: Nanos,
    node: *const TimerNode,
}

// SAFETY: an entry is used only under the heap's lock, and its node is alive while it is in the
// heap.
unsafe impl Send for Entry {}

/// The timers of one P.
pub(crate) struct Timers {
    heap: Lock<Vec<Entry>>,
    next: AtomicU64,
    len: AtomicUsize,
}

impl Timers {
    #[inline]
    pub(crate) fn new() -> Timers {
        Timers {
            heap: Lock::new(Vec::new()),
            next: AtomicU64::new(Nanos::NEVER.0),
            len: AtomicUsize::new(0),
        }
    }

    /// When the earliest is due; `NEVER` if there is none.
    #[inline]
    pub(crate) fn next(&self) -> Nanos {
        Nanos(self.next.load(Ordering::SeqCst))
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Puts `node` in. Returns whether it is now the earliest.
    ///
    /// # Safety
    /// 1. `node` is in no heap, does not move, and is disarmed before it is dropped.
    pub(crate) unsafe fn arm(&self, node: *const TimerNode, inside: &Section) -> bool {
        let mut heap = self.heap.lock(inside);
        // SAFETY: obligation 1.
        let when = unsafe {
            (*node)
                .home
                .store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
            (*node).when.get()
        };
        heap.push(Entry { when, node });
        let last = heap.len() - 1;
        let place = sift_up(&mut heap, last);
        self.publish(&heap);
        place == 0
    }

    /// Takes `node` out of the heap that it is in, if it is still in. Returns false if it has fired.
    ///
    /// # Safety
    /// 1. `node` was armed, once, and is alive; the heaps are never freed.
    pub(crate) unsafe fn disarm(node: *const TimerNode, inside: &Section) -> bool {
        loop {
            // SAFETY: obligation 1.
            let home = unsafe { (*node).home.load(Ordering::Relaxed) };
            // SAFETY: as above: it was armed, so it has a home.
            let timers = unsafe { &*home };
            let mut heap = timers.heap.lock(inside);
            // SAFETY: obligation 1; under the lock of its home, `index` and `home` do not change.
            let index = unsafe {
                if (*node).home.load(Ordering::Relaxed) != home {
                    // It has moved in between.
                    continue;
                }
                (*node).index.get()
            };
            if index == OUT {
                return false;
            }
            remove(&mut heap, index);
            timers.publish(&heap);
            return true;
        }
    }

    /// Moves all timers to another heap. One at a time, since it holds both locks.
    pub(crate) fn move_to(&self, other: &Timers, inside: &Section) {
        let mut from = self.heap.lock(inside);
        if from.is_empty() {
            return;
        }
        let mut to = other.heap.lock(inside);
        for entry in from.drain(..) {
            // SAFETY: nodes in the heap are alive.
            let home = unsafe { &(*entry.node).home };
            home.store(ptr::from_ref(other).cast_mut(), Ordering::Relaxed);
            to.push(entry);
            let last = to.len() - 1;
            sift_up(&mut to, last);
        }
        // In this order, or a timer would be in neither for a moment to those who look without a lock.
        other.publish(&to);
        self.publish(&from);
    }

    /// Fires what is due at `now`, and puts the goroutines to be made runnable into `ready`.
    pub(crate) fn fire(&self, now: Nanos, ready: &mut GList, inside: &Section) {
        if self.next() > now {
            return;
        }
        let mut heap = self.heap.lock(inside);
        while let Some(first) = heap.first().copied() {
            if first.when > now {
                break;
            }
            remove(&mut heap, 0);
            // SAFETY: the node was in the heap, so it is alive until the lock is released.
            let g = unsafe {
                let wake = (*first.node).wake;
                (wake.claim)(wake.target)
            };
            if let Some(g) = g {
                ready.push(g);
            }
        }
        self.publish(&heap);
    }

    /// Takes all out whose targets nobody waits for, and gives those up. What that drops is the program's.
    pub(crate) fn discard(&self) {
        let mut discarded = Vec::new();
        {
            let inside = crate::critical::enter();
            let mut heap = self.heap.lock(&inside);
            let mut index = 0;
            while let Some(entry) = heap.get(index) {
                // SAFETY: nodes in the heap are alive, and `wake` does not change.
                let wake = unsafe { (*entry.node).wake };
                match wake.discard {
                    Some(discard) => {
                        remove(&mut heap, index);
                        discarded.push((wake.target, discard));
                        // What took its place, or went up from there, has not been looked at.
                        index = 0;
                    }
                    None => index += 1,
                }
            }
            self.publish(&heap);
        }
        for (target, discard) in discarded {
            // SAFETY: it was armed, and taken out above.
            unsafe { discard(target) };
        }
    }

    fn publish(&self, heap: &[Entry]) {
        let next = heap.first().map_or(Nanos::NEVER, |e| e.when);
        self.next.store(next.0, Ordering::SeqCst);
        self.len.store(heap.len(), Ordering::Relaxed);
    }
}

fn place(heap: &mut [Entry], index: usize, entry: Entry) {
    heap[index] = entry;
    // SAFETY: nodes in the heap are alive, and `index` is accessed under its lock only.
    unsafe { (*entry.node).index.set(index) };
}

fn sift_up(heap: &mut [Entry], mut index: usize) -> usize {
    let entry = heap[index];
    while index > 0 {
        let parent = (index - 1) / ARITY;
        if heap[parent].when <= entry.when {
            break;
        }
        let above = heap[parent];
        place(heap, index, above);
        index = parent;
    }
    place(heap, index, entry);
    index
}

fn sift_down(heap: &mut [Entry], mut index: usize) {
    let entry = heap[index];
    loop {
        let first = index * ARITY + 1;
        let children = first..(first + ARITY).min(heap.len());
        let Some(least) = children.min_by_key(|&c| heap[c].when) else {
            break;
        };
        if heap[least].when >= entry.when {
            break;
        }
        let below = heap[least];
        place(heap, index, below);
        index = least;
    }
    place(heap, index, entry);
}

fn remove(heap: &mut Vec<Entry>, index: usize) {
    let last = heap.len() - 1;
    let removed = heap.swap_remove(index);
    // SAFETY: as in `place`.
    unsafe { (*removed.node).index.set(OUT) };
    if index < last && sift_up(heap, index) == index {
        sift_down(heap, index);
    }
}

#[cfg(any(test, fuzzing))]
pub mod model;
