//! Guard pages: those next to a span that fault when they are touched.
//!
//! A span takes them together with its own pages and gives them back with these. Where the system refuses to guard them (old kernels have a limit on how
//! many there may be) they go back at once, and the span has none.
//!
//! Invariant: `Span::guards` names the pages that belong to a span beyond its own; all of them are guarded.

use super::quarantine::guarded_bytes;
use crate::env::Os;
use crate::heap::Heap;
use crate::large::pointer;
use crate::page::{PAGE_SIZE, PageCount};
use crate::pages::Left;
use crate::span::{Guards, Kind, Place, SpanPtr};

impl<O: Os> Heap<O> {
    /// The guards that a new span is to have.
    #[inline]
    pub(crate) fn guards_of(&self, kind: Kind, align: usize) -> Guards {
        // While the heap is marked its pages may be those of a block that has died meanwhile, and that the collector is reading.
        if !self.is_hardened() || self.is_marking() {
            return Guards::NONE;
        }
        match kind {
            Kind::Malloc => Guards::BEHIND,
            Kind::MallocLarge if align <= PAGE_SIZE => Guards::AROUND,
            // A page before it would not leave the block aligned.
            Kind::MallocLarge => Guards::BEHIND,
            _ => Guards::NONE,
        }
    }

    /// Has the pages around a new span, which were taken with it, be its guards. `clean` if they have no memory.
    pub(crate) fn install_guards(&self, span: SpanPtr, guards: Guards, clean: bool) {
        let (before, behind) = (
            pointer(span.base() - guards.before.bytes()),
            pointer(span.base() + span.pages().bytes()),
        );
        // SAFETY: pages that were taken for this, committed and in nobody's use.
        unsafe {
            if self.os.guard(behind, guards.behind.bytes()).is_ok() {
                if guards.before == PageCount(0)
                    || self.os.guard(before, guards.before.bytes()).is_ok()
                {
                    return span.set_guards(guards);
                }
                if self.os.unguard(behind, guards.behind.bytes()).is_err() {
                    // Nobody is to have the page: it stays a guard.
                    return self.put_unguarded(span, Guards::BEFORE, clean, Guards::BEHIND);
                }
            }
        }
        self.put_unguarded(span, guards, clean, Guards::NONE);
    }

    /// Gives pages back that were to be guards; those of `kept` are.
    fn put_unguarded(&self, span: SpanPtr, guards: Guards, clean: bool, kept: Guards) {
        let mut state = self.pages.lock();
        self.count_in_use(&state, span.kind(), -(guards.pages().bytes() as isize));
        let left = if clean { Left::Clean } else { Left::Dirty };
        state.put_guards(span.page(), span.pages(), guards, left);
        drop(state);
        span.set_guards(kept);
    }

    /// Has all pages of a span that is to be given back be usable: its guards, and in quarantine its own. Returns what is left of its own.
    #[inline]
    pub(crate) fn remove_guards(&self, span: SpanPtr, guards: Guards, left: Left) -> Left {
        let was_quarantined = span.place() == Place::Quarantine;
        if guards == Guards::NONE && !was_quarantined {
            return left;
        }
        let (start, bytes) = guarded_bytes(span);
        // SAFETY: the span's pages and its guards, in nobody's use.
        match unsafe { self.os.unguard(pointer(start), bytes) } {
            Ok(()) if was_quarantined => Left::Clean,
            Ok(()) => left,
            Err(_) => Left::Lost,
        }
    }
}
