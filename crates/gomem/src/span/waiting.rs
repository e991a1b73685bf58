//! Marking by span: objects that are marked and wait to be scanned, together with their neighbours.
//!
//! A marker that marks an object does not queue the object, but its span, unless that is queued already; who takes the span from the queue scans all
//! objects of it that have been marked by then (Go 1.26's "Green Tea"). The longer a span waits, the more objects come together, and the nearer to
//! one another in memory is what is scanned.
//!
//! ```text
//!   an object:  white ──set mark──► waits ──set scan bit──► scanned        (by the one marker that changed the bit)
//!   its span:   idle ──waits := true──► in one queue ──waits := false──► claimed, scanned
//! ```
//!
//! **Nobody is forgotten.** A marker sets the mark (M1) and then looks whether the span waits (M2), queueing it if not. Who takes the span sets
//! `waits` to false (T1) and then reads the marks (T2). All four are sequentially consistent. Either M1 comes before T2 in their order, and the object is
//! claimed; or T2 comes before M1, hence T1 before M2, and M2 sees the false of T1 or of somebody later, or the true of somebody who queued the span
//! after T1: then it is in a queue again, and who takes it from there reads the marks after M1. Taken the other way round, with T2 before T1, an object that was marked between
//! them would wait for good.
//!
//! **Nobody is scanned twice**, for the scan bit is set by a read-modify-write, also when two markers have taken the span one after the other and are
//! both at work in it. **A span is in at most one queue**, once, for only the marker that changed `waits` to true queues it.
//!
//! A marker that has just marked an object may also claim it at once, by its scan bit, and scan it alone: then it need not wait.
//!
//! None of this needs the world to stand still or to know how many markers there are. Objects that are born while marking goes on are born with both
//! bits set, before their address is known to anybody.

use super::objects::{ObjectSpan, ObjectSpanPtr};
use crate::atomic::Ordering::*;
use std::ptr::NonNull;

/// A span of objects of one [sort](crate::Sort), in a queue of spans whose objects wait to be scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingSpan(ObjectSpanPtr);

// SAFETY: a pointer to a record of atomics that is never unmapped.
unsafe impl Send for WaitingSpan {}

/// Marked objects among 64 neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Neighbours {
    /// The address of the first of the 64.
    pub base: usize,
    /// Bytes from one to the next.
    pub size: usize,
    /// A bit for each that is meant.
    pub objects: u64,
}

impl Neighbours {
    /// The addresses of the objects, ascending.
    #[inline]
    pub fn addresses(self) -> impl Iterator<Item = usize> {
        let mut rest = self.objects;
        std::iter::from_fn(move || {
            let next = (rest != 0).then(|| self.base + rest.trailing_zeros() as usize * self.size);
            rest &= rest.wrapping_sub(1);
            next
        })
    }
}

impl WaitingSpan {
    pub(crate) fn new(span: ObjectSpanPtr) -> WaitingSpan {
        WaitingSpan(span)
    }

    /// The span as a number to be kept in a queue: a multiple of 64, not 0.
    #[inline]
    pub fn into_raw(self) -> usize {
        self.0.as_ptr().expose_provenance()
    }

    /// The span again.
    ///
    /// # Safety
    /// 1. `raw` is from [`into_raw`](Self::into_raw), of a heap that still exists.
    #[inline]
    pub unsafe fn from_raw(raw: usize) -> WaitingSpan {
        let record = std::ptr::with_exposed_provenance_mut::<ObjectSpan>(raw);
        // SAFETY: (1): a record of a slab of object spans, and not null.
        WaitingSpan(unsafe { ObjectSpanPtr::new(NonNull::new_unchecked(record)) })
    }

    /// Takes note that the span is in no queue, because there was no room for it. An object marked later has it queued again.
    pub fn forget(self) {
        self.0.waits.store(false, SeqCst);
    }

    /// Of the sort of the objects in it.
    #[inline]
    pub fn tag(self) -> u64 {
        self.0.tag()
    }

    /// Asks the processor to fetch what [`claim`](Self::claim) will read.
    #[inline]
    pub fn prefetch(self) {
        self.0.prefetch();
    }

    /// Calls `visit` with the objects that [`claim`](Self::claim) would claim now.
    #[inline]
    pub fn for_each_unclaimed(self, mut visit: impl FnMut(Neighbours)) {
        let span = self.0;
        let size = span.size();
        for word in 0..span.words() {
            let objects = span.unclaimed_in(word);
            if objects != 0 {
                let base = span.base() + word * 64 * size;
                visit(Neighbours {
                    base,
                    size,
                    objects,
                });
            }
        }
    }

    /// Takes note that the span has been taken from the queue, and claims all its objects that are marked and not claimed yet. The caller scans them.
    #[inline]
    pub fn claim(self, mut visit: impl FnMut(Neighbours)) {
        let span = self.0;
        #[cfg(explore)]
        let early = goexplore::planted("a span is claimed before it is taken from the queue")
            .then(|| span.unclaimed());
        span.waits.swap(false, SeqCst);
        let size = span.size();
        for word in 0..span.words() {
            #[cfg(explore)]
            let wanted = early.map_or_else(|| span.unclaimed_in(word), |early| early[word]);
            #[cfg(not(explore))]
            let wanted = span.unclaimed_in(word);
            if wanted == 0 {
                continue;
            }
            let before = span.scans[word].fetch_or(wanted, Relaxed);
            let claimed = Neighbours {
                base: span.base() + word * 64 * size,
                size,
                objects: wanted & !before,
            };
            if claimed.objects != 0 {
                visit(claimed);
            }
        }
    }
}

impl ObjectSpan {
    /// Has the span queued that an object was just marked in: `true` if that is up to the caller.
    #[inline(always)]
    pub(crate) fn wait(&self) -> bool {
        !self.waits.load(SeqCst) && !self.waits.swap(true, SeqCst)
    }

    /// Claims one object.
    #[inline(always)]
    pub(crate) fn claim(&self, index: u32) -> bool {
        let bit = 1 << (index % 64);
        self.scans[index as usize / 64 % super::WORDS].fetch_or(bit, Relaxed) & bit == 0
    }

    /// The objects of word `word` that are marked and not claimed.
    #[inline(always)]
    fn unclaimed_in(&self, word: usize) -> u64 {
        self.marks_of(word).load(SeqCst) & !self.scans[word].load(Relaxed)
    }

    #[cfg(explore)]
    fn unclaimed(&self) -> [u64; super::WORDS] {
        std::array::from_fn(|word| self.unclaimed_in(word))
    }
}
