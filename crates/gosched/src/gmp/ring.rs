//! The local run queue: a bounded ring with one producer and many consumers.
//!
//! Go's design (`runqput`, `runqget`, `runqgrab` in proc.go). The owner of the P pushes at `tail`
//! and pops at `head`; thieves take half of what is there by moving `head`. Invariant: slots in
//! `head..tail` hold Gs that the ring owns, `tail - head` is at most the capacity, and only the
//! owner writes `tail` and slots. A consumer reads slots first and then claims them with one
//! exchange on `head`; if that fails, what it read is forgotten.
//!
//! "The owner" is whoever holds the P, which changes over time; the hand-over of a P orders their
//! accesses.
//!
//! `crossbeam-deque` was not taken: its stealers pin an epoch through a thread-local with a
//! destructor, and here each goroutine has thread-locals of its own, so that each one that ever
//! stole would become a participant of the epoch.

use crate::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::ptr;

use crossbeam_utils::CachePadded;

use crate::gmp::g::{GList, GRef, Header};

/// Slots of a P's ring.
pub(crate) const CAPACITY: usize = 256;

/// `N` is a power of two.
pub(crate) struct Ring<const N: usize = CAPACITY> {
    /// Written by every consumer.
    head: CachePadded<AtomicU32>,
    /// Written by the owner.
    tail: AtomicU32,
    slots: [AtomicPtr<Header>; N],
}

impl<const N: usize> Ring<N> {
    pub(crate) fn new() -> Ring<N> {
        const { assert!(N.is_power_of_two() && N >= 2) };
        Ring {
            head: CachePadded::new(AtomicU32::new(0)),
            tail: AtomicU32::new(0),
            slots: [const { AtomicPtr::new(ptr::null_mut()) }; N],
        }
    }

    #[inline]
    fn slot(&self, index: u32) -> &AtomicPtr<Header> {
        &self.slots[index as usize & (N - 1)]
    }

    /// How many there are; only a hint to anyone but the owner.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Acquire);
            if head == self.head.load(Ordering::Relaxed) {
                return tail.wrapping_sub(head) as usize;
            }
        }
    }

    /// Appends `g`; when the ring is full, moves its older half and `g` to `overflow`.
    ///
    /// # Safety
    /// 1. The caller holds the P.
    #[inline]
    pub(crate) unsafe fn push(&self, g: GRef, overflow: &mut GList) {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Relaxed);
            if (tail.wrapping_sub(head) as usize) < N {
                self.slot(tail)
                    .store(ptr::from_ref(g).cast_mut(), Ordering::Relaxed);
                self.tail.store(tail.wrapping_add(1), Ordering::Release);
                return;
            }
            if self.push_full(head, g, overflow) {
                return;
            }
        }
    }

    /// Moves the older half of a full ring, and `g`, to `overflow`. Returns false if a thief was first: then there is room.
    #[cold]
    fn push_full(&self, head: u32, g: GRef, overflow: &mut GList) -> bool {
        let mut batch = [ptr::null::<Header>(); N];
        let half = N / 2;
        for (i, place) in batch[..half].iter_mut().enumerate() {
            *place = self
                .slot(head.wrapping_add(i as u32))
                .load(Ordering::Relaxed);
        }
        let is_ours = self.claim(head, half as u32);
        if is_ours {
            for &old in &batch[..half] {
                // SAFETY: the claim made these Gs ours, and Gs are never freed.
                overflow.push(unsafe { &*old });
            }
            overflow.push(g);
        }
        is_ours
    }

    /// Takes the oldest.
    ///
    /// # Safety
    /// 1. The caller holds the P.
    #[inline]
    pub(crate) unsafe fn pop(&self) -> Option<GRef> {
        loop {
            let head = self.head.load(Ordering::Acquire);
            if head == self.tail.load(Ordering::Relaxed) {
                return None;
            }
            let g = self.slot(head).load(Ordering::Relaxed);
            if self.claim(head, 1) {
                // SAFETY: the claim made the G ours.
                return Some(unsafe { &*g });
            }
        }
    }

    /// Moves the older half of this ring to `into`, and returns the newest of those instead of
    /// pushing it.
    ///
    /// # Safety
    /// 1. The caller holds the P of `into`, which is empty and is another ring.
    pub(crate) unsafe fn steal(&self, into: &Ring<N>) -> Option<GRef> {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Acquire);
            let there = tail.wrapping_sub(head);
            let n = there - there / 2;
            if n == 0 {
                return None;
            }
            // The two loads were not of one moment.
            if n as usize > N / 2 {
                continue;
            }
            let base = into.tail.load(Ordering::Relaxed);
            for i in 0..n {
                let g = self.slot(head.wrapping_add(i)).load(Ordering::Relaxed);
                into.slot(base.wrapping_add(i)).store(g, Ordering::Relaxed);
            }
            if self.claim(head, n) {
                let last = base.wrapping_add(n - 1);
                let g = into.slot(last).load(Ordering::Relaxed);
                into.tail.store(last, Ordering::Release);
                // SAFETY: the claim made the G ours.
                return Some(unsafe { &*g });
            }
        }
    }

    #[inline]
    fn claim(&self, head: u32, n: u32) -> bool {
        self.head
            .compare_exchange(
                head,
                head.wrapping_add(n),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gmp::forever;
    use crate::gmp::g::Ops;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    fn gs(n: usize) -> Vec<GRef> {
        (0..n)
            .map(|i| {
                let g = forever(Header::new(Ops::unreachable(), std::ptr::null()));
                g.id.store(i as u64, Ordering::Relaxed);
                g
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 64 }))]

        #[test]
        fn is_a_queue_that_overflows_by_half(ops in proptest::collection::vec(0..4u8, 1..if cfg!(miri) { 40 } else { 200 })) {
            let pool = gs(200);
            let mut fresh = pool.iter().copied();
            let ring = Ring::<8>::new();
            let thief = Ring::<8>::new();
            let mut model: VecDeque<u64> = VecDeque::new();
            for op in ops {
                // SAFETY: one thread, so it holds every P there is.
                unsafe {
                    if op < 3 {
                        let g = fresh.next().unwrap();
                        let mut over = GList::new();
                        ring.push(g, &mut over);
                        model.push_back(g.id().0);
                        let mut spilled = Vec::new();
                        while let Some(g) = over.pop() { spilled.push(g.id().0); }
                        if model.len() > 8 {
                            let mut expect: Vec<u64> = model.drain(..4).collect();
                            expect.push(model.pop_back().unwrap());
                            prop_assert_eq!(spilled, expect);
                        } else {
                            prop_assert!(spilled.is_empty());
                        }
                    } else if model.len().is_multiple_of(2) {
                        prop_assert_eq!(ring.pop().map(|g| g.id().0), model.pop_front());
                    } else {
                        let n = model.len() - model.len() / 2;
                        let mut expect: Vec<u64> = model.drain(..n).collect();
                        let newest = expect.pop();
                        prop_assert_eq!(ring.steal(&thief).map(|g| g.id().0), newest);
                        for id in expect {
                            prop_assert_eq!(thief.pop().map(|g| g.id().0), Some(id));
                        }
                    }
                    prop_assert_eq!(ring.len(), model.len());
                }
            }
        }
    }

    #[test]
    fn under_theft_every_g_is_taken_once() {
        const TOTAL: usize = if cfg!(miri) { 200 } else { 40_000 };
        let pool = gs(TOTAL);
        let taken: Vec<AtomicUsize> = (0..TOTAL).map(|_| AtomicUsize::new(0)).collect();
        let ring = Ring::<16>::new();
        let done = AtomicBool::new(false);
        let take = |g: GRef| {
            taken[g.id().0 as usize].fetch_add(1, Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let own = Ring::<16>::new();
                    while !done.load(Ordering::Acquire) || ring.len() > 0 {
                        // SAFETY: `own` is this thread's.
                        unsafe {
                            if let Some(g) = ring.steal(&own) {
                                take(g);
                                while let Some(g) = own.pop() {
                                    take(g);
                                }
                            }
                        }
                    }
                });
            }
            for (i, &g) in pool.iter().enumerate() {
                // SAFETY: this thread is the owner.
                unsafe {
                    let mut over = GList::new();
                    ring.push(g, &mut over);
                    while let Some(g) = over.pop() {
                        take(g);
                    }
                    if i % 3 == 0
                        && let Some(g) = ring.pop()
                    {
                        take(g);
                    }
                }
            }
            done.store(true, Ordering::Release);
        });
        // SAFETY: every thief has ended.
        while let Some(g) = unsafe { ring.pop() } {
            take(g);
        }
        assert!(taken.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    }
}
