//! A marker that works for a while and goes: what background workers and assists are made of.
//!
//! A slice begins with a marker that has nothing and ends with one that has given everything back, so whoever runs it holds no grey
//! object between two of them, and may be stopped there.

use super::Marker;
use crate::env::{HeapView, Roots, World};
use crate::units::Bytes;

/// What became of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slice {
    /// The budget is used up; there may be more to do.
    More,
    /// Nothing is to be had, but others are at work and may come to share.
    Dry,
    /// Nothing is to be had, and nobody is at work.
    Over,
}

impl<H: HeapView, W: World> Marker<'_, H, W> {
    /// Bytes looked through since the last [`publish`](Self::publish).
    pub(crate) fn looked_at(&self) -> Bytes {
        self.tally.looked_at()
    }

    /// Scans root jobs and blackens until some `budget` bytes are looked through, or nothing is to be had. Consumes the marker, which gives back
    /// what it has.
    pub(crate) fn slice(self, roots: &impl Roots, budget: Bytes) -> (Bytes, Slice) {
        self.slices(roots, budget, |_| false)
    }

    /// The same, and again as long as `go_on` says so, which is told how much was looked through each time.
    pub(crate) fn slices(
        mut self,
        roots: &impl Roots,
        budget: Bytes,
        mut go_on: impl FnMut(Bytes) -> bool,
    ) -> (Bytes, Slice) {
        let crew = &self.marking.crew;
        crew.enter();
        let (done, more) = loop {
            let more = self.slice_here(roots, budget);
            let done = self.looked_at();
            self.publish();
            if !more || !go_on(done) {
                break (done, more);
            }
        };
        let marking = self.marking;
        // What is left must be in the pool before the crew is told that this marker is not busy.
        drop(self);
        crew.leave();
        let state = if more || !crew.all_claimed(roots.jobs()) {
            Slice::More
        } else if !crew.idle() {
            Slice::Dry
        } else if marking.has_work() {
            // In this order: whoever was busy has given back before.
            Slice::More
        } else {
            Slice::Over
        };
        (done, state)
    }

    /// Whether the budget ended it.
    fn slice_here(&mut self, roots: &impl Roots, budget: Bytes) -> bool {
        let marking = self.marking;
        loop {
            while let Some(job) = marking.crew.claim(roots.jobs()) {
                roots.scan(job, self);
                if self.looked_at() >= budget {
                    return true;
                }
            }
            let others = self.looked_at().saturating_sub(self.tally.heap_scanned);
            while self.step() {
                if self.tally.heap_scanned + others >= budget {
                    return true;
                }
                self.share_if_hungry();
            }
            let work = marking.pool.take_full();
            match work.or_else(|| marking.crew.wait_a_little(&marking.pool)) {
                Some(work) => self.adopt(work),
                None => return false,
            }
        }
    }
}
