//! Who has nothing to do: the idle Ps, the idle Ms, and the count of Ms that look for work.
//!
//! The protocol by which no wake-up is lost is in `README.md` beside this file. Counts are repeated
//! outside the lock, sequentially consistent, because that argument needs them so.

use crate::atomic::{AtomicU32, Ordering};
use std::ptr;

use crossbeam_utils::CachePadded;

use crate::critical::Section;
use crate::gmp::m::{M, MRef};
use crate::gmp::p::{Owner, P};
use crate::lock::Lock;

struct Lists {
    /// Capacity for all, so that it never grows.
    ps: Vec<&'static P>,
    /// Ps from this index on are not to be used any more...
    limit: u32,
    /// ...and come here instead. Likewise.
    retired: Vec<&'static P>,
    /// A stack: the M idle for the shortest time is the warmest.
    ms: *const M,
}

// SAFETY: the pointer is to an M, which is never freed and is `Sync`.
unsafe impl Send for Lists {}

pub(crate) struct Idle {
    lists: Lock<Lists>,
    ps: CachePadded<AtomicU32>,
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
            lists: Lock::new(Lists {
                ps: Vec::with_capacity(most),
                limit: procs as u32,
                retired: Vec::with_capacity(most),
                ms: ptr::null(),
            }),
            ps: CachePadded::new(AtomicU32::new(0)),
            ms: AtomicU32::new(0),
            locked: AtomicU32::new(0),
            spinning: CachePadded::new(AtomicU32::new(0)),
        }
    }

    #[inline]
    pub(crate) fn ps(&self) -> u32 {
        self.ps.load(Ordering::SeqCst)
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

    /// Puts a free P, in the caller's hands, into the list; or retires it, if it is beyond the limit.
    pub(crate) fn put_p(&self, p: &'static P, inside: &Section) {
        debug_assert_eq!(p.owner(), Owner::FREE);
        let mut lists = self.lists.lock(inside);
        if p.index >= lists.limit {
            lists.retired.push(p);
            return;
        }
        lists.ps.push(p);
        self.ps.store(lists.ps.len() as u32, Ordering::SeqCst);
    }

    /// Ps from `limit` on are not to be used any more: those that are idle retire at once.
    pub(crate) fn set_limit(&self, limit: u32, inside: &Section) {
        let mut lists = self.lists.lock(inside);
        let Lists { ps, retired, .. } = &mut *lists;
        retired.extend(ps.iter().filter(|p| p.index >= limit));
        ps.retain(|p| p.index < limit);
        lists.limit = limit;
        self.ps.store(lists.ps.len() as u32, Ordering::SeqCst);
    }

    pub(crate) fn is_retired(&self, p: &P, inside: &Section) -> bool {
        self.lists
            .lock(inside)
            .retired
            .iter()
            .any(|q| ptr::eq(p, *q))
    }

    /// Takes `p` out of the retired, if it is one of them: it is in the caller's hands then.
    pub(crate) fn unretire(&self, p: &P, inside: &Section) {
        self.lists.lock(inside).retired.retain(|q| !ptr::eq(p, *q));
    }

    /// Takes `preferred` if it is idle, else any.
    pub(crate) fn take_p(
        &self,
        preferred: Option<&'static P>,
        inside: &Section,
    ) -> Option<&'static P> {
        if self.ps() == 0 {
            return None;
        }
        let mut lists = self.lists.lock(inside);
        let at = preferred.and_then(|p| lists.ps.iter().position(|q| ptr::eq(p, *q)));
        let p = match at {
            Some(at) => Some(lists.ps.swap_remove(at)),
            None => lists.ps.pop(),
        };
        self.ps.store(lists.ps.len() as u32, Ordering::SeqCst);
        p
    }

    /// Puts an M without a P into the list; it is going to park.
    pub(crate) fn put_m(&self, m: MRef, inside: &Section) {
        let mut lists = self.lists.lock(inside);
        m.next_idle.set(lists.ms);
        lists.ms = m;
        self.ms.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes an M; the caller gives it a P and unparks it.
    pub(crate) fn take_m(&self, inside: &Section) -> Option<MRef> {
        let mut lists = self.lists.lock(inside);
        // SAFETY: null or an M, and Ms are never freed.
        let m: MRef = unsafe { lists.ms.as_ref() }?;
        lists.ms = m.next_idle.replace(ptr::null());
        self.ms.fetch_sub(1, Ordering::SeqCst);
        Some(m)
    }

    /// Whether there is a P for an M that would look for work, and none that does.
    #[inline]
    pub(crate) fn wants_spinner(&self) -> bool {
        self.spinning() == 0 && self.ps() != 0
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
