//! Where an owner learns which of its spans got blocks back from other threads; see the head of [`span`](super).

use super::{Span, SpanPtr};
use crate::atomic::{AtomicPtr, Ordering::*};
use std::ptr::{null_mut, without_provenance_mut};

/// A stack of spans, linked through `inbox_next`. All zero: empty.
#[repr(C)]
pub(crate) struct Inbox {
    head: AtomicPtr<Span>,
}

/// What the head of a closed inbox holds: no address of a span.
const CLOSED: *mut Span = without_provenance_mut(1);

impl Inbox {
    pub(crate) const fn new() -> Inbox {
        Inbox {
            head: AtomicPtr::new(null_mut()),
        }
    }

    /// Puts a span in, unless the inbox is closed: false. Called by who has the duty.
    pub(crate) fn push(&self, span: SpanPtr) -> bool {
        let mut head = self.head.load(Relaxed);
        while head != CLOSED {
            span.inbox_next.store(head, Relaxed);
            // Acquire on failure: who finds it closed must see the spans' new owner.
            match self
                .head
                .compare_exchange_weak(head, span.as_ptr(), Release, Acquire)
            {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
        crate::atomic::fence(Acquire);
        false
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Relaxed).is_null()
    }

    /// Takes all spans out.
    pub(crate) fn take(&self) -> Taken {
        Taken(self.head.swap(null_mut(), Acquire))
    }

    /// Takes all spans out and lets no more in.
    pub(crate) fn close(&self) -> Taken {
        Taken(self.head.swap(CLOSED, AcqRel))
    }

    /// Lets spans in again.
    pub(crate) fn open(&self) {
        self.head.store(null_mut(), Release);
    }
}

/// The spans that were in an inbox.
pub(crate) struct Taken(*mut Span);

impl Iterator for Taken {
    type Item = SpanPtr;

    fn next(&mut self) -> Option<SpanPtr> {
        if self.0 == CLOSED {
            return None;
        }
        // SAFETY: a record, or null at the end.
        let span = unsafe { SpanPtr::from_raw(self.0) }?;
        // Read before the caller empties `remote`: after that, the next pusher may link the span into an inbox again.
        self.0 = span.inbox_next.load(Relaxed);
        Some(span)
    }
}
