//! Who has nothing to do: the idle Ps, the idle Ms, and the count of Ms that look for work.
//!
//! The protocol by which no wake-up is lost is in `README.md` beside this file. What it looks at is sequentially consistent, because its argument needs that.

use crate::atomic::{AtomicU32, Ordering};
use std::ptr;

use crossbeam_utils::CachePadded;

use crate::critical::Section;
use crate::gmp::m::{M, MRef};
use crate::gmp::p::{Owner, P};
use crate::lock::Lock;

mod set;

use set::Set;

/// A stack: the M idle for the shortest time is the warmest.
struct Stack(*const M);

// SAFETY: the pointer is to an M, which is never freed and is `Sync`.
unsafe impl Send for Stack {}

pub(crate) struct Idle {
    ps: Set,
    /// The idle Ms, and how many.
    list: Lock<Stack>,
    ms: AtomicU32,
    /// Ms that wait for the goroutine that is locked to them.
    locked: AtomicU32,
    /// Ms that have a P and look for work, or are being woken to do so.
    spinning: CachePadded<AtomicU32>,
}

impl Idle {
    /// With room for at most `most` Ps, of which the first `procs` may be used.
    pub(crate) fn new(procs: usize, most: usize) -> Idle {
        Idle {
            ps: Set::new(most, procs as u32),
            list: Lock::new(Stack(ptr::null())),
            ms: AtomicU32::new(0),
            locked: AtomicU32::new(0),
            spinning: CachePadded::new(AtomicU32::new(0)),
        }
    }

    /// How many Ps are idle and may be used.
    #[inline]
    pub(crate) fn ps(&self) -> u32 {
        self.ps.len()
    }

    #[inline]
    pub(crate) fn ms(&self) -> u32 {
        self.ms.load(Ordering::SeqCst)
    }

    /// Ms that wait for the goroutine that is locked to them.
    pub(crate) fn locked(&self) -> u32 {
        self.locked.load(Ordering::SeqCst)
    }

    pub(crate) fn add_locked(&self) {
        self.locked.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn remove_locked(&self) {
        self.locked.fetch_sub(1, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn spinning(&self) -> u32 {
        self.spinning.load(Ordering::SeqCst)
    }

    /// Makes a free P, in the caller's hands, idle.
    #[inline]
    pub(crate) fn put_p(&self, p: &P) {
        debug_assert_eq!(p.owner(), Owner::FREE);
        self.ps.put(p.index);
    }

    /// Ps from `limit` on are not to be used any more: `take_p` leaves them.
    pub(crate) fn set_limit(&self, limit: u32) {
        self.ps.set_limit(limit);
    }

    /// Takes the P of this number if it is idle, also beyond the limit: then it is in the caller's hands.
    pub(crate) fn take_this_p(&self, index: u32) -> bool {
        self.ps.take(index)
    }

    /// The number of `preferred` if that is idle and may be used, else of any P: then it is in the caller's hands.
    #[inline]
    pub(crate) fn take_p(&self, preferred: Option<&P>) -> Option<u32> {
        let preferred = preferred.map(|p| p.index);
        preferred
            .filter(|&index| self.ps.may_be_taken(index) && self.ps.take(index))
            .or_else(|| self.ps.take_any())
    }

    /// Puts an M without a P into the list; it is going to park.
    pub(crate) fn put_m(&self, m: MRef, inside: &Section) {
        let mut list = self.list.lock(inside);
        m.next_idle.set(list.0);
        list.0 = m;
        self.ms.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes an M; the caller gives it a P and unparks it.
    pub(crate) fn take_m(&self, inside: &Section) -> Option<MRef> {
        let mut list = self.list.lock(inside);
        // SAFETY: null or an M, and Ms are never freed.
        let m: MRef = unsafe { list.0.as_ref() }?;
        list.0 = m.next_idle.replace(ptr::null());
        self.ms.fetch_sub(1, Ordering::SeqCst);
        Some(m)
    }

    /// Whether there is a P for an M that would look for work, and none that does.
    #[inline]
    pub(crate) fn wants_spinner(&self) -> bool {
        self.spinning() == 0 && !self.ps.is_empty()
    }

    /// Counts one more M that looks for work, unless there is one already.
    #[inline]
    pub(crate) fn first_spinner(&self) -> bool {
        self.spinning() == 0
            && self
                .spinning
                .compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
    }

    /// Counts one more M that looks for work.
    pub(crate) fn add_spinner(&self) {
        self.spinning.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts one less. Returns whether it was the last.
    pub(crate) fn remove_spinner(&self) -> bool {
        let before = self.spinning.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0);
        before == 1
    }
}
