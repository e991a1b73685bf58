//! Doubly linked lists of spans, linked through the records.
//!
//! Invariant: a list, and the links of the spans in it, are used by one thread at a time: by the thread of the cache that holds
//! the list, or by who holds the lock beside it. The fields are atomics only because records are.

use super::{Place, Span, SpanPtr};
use crate::atomic::{AtomicPtr, AtomicU32, Ordering::*};
use std::ptr::null_mut;

pub(crate) struct SpanList {
    head: AtomicPtr<Span>,
    len: AtomicU32,
}

impl SpanList {
    pub(crate) const fn new() -> SpanList {
        SpanList {
            head: AtomicPtr::new(null_mut()),
            len: AtomicU32::new(0),
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len.load(Relaxed)
    }

    pub(crate) fn first(&self) -> Option<SpanPtr> {
        // SAFETY: a record or null.
        unsafe { SpanPtr::from_raw(self.head.load(Relaxed)) }
    }

    /// The spans in it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SpanPtr> {
        // SAFETY: a record or null.
        std::iter::successors(self.first(), |span| unsafe {
            SpanPtr::from_raw(span.next.load(Relaxed))
        })
    }

    /// Adds a span that is in no list, and notes that it is in this one.
    pub(crate) fn push(&self, span: SpanPtr, place: Place) {
        debug_assert_eq!(span.place(), Place::None);
        let head = self.first();
        span.next
            .store(head.map_or(null_mut(), SpanPtr::as_ptr), Relaxed);
        span.prev.store(null_mut(), Relaxed);
        if let Some(head) = head {
            head.prev.store(span.as_ptr(), Relaxed);
        }
        self.head.store(span.as_ptr(), Relaxed);
        self.len.store(self.len() + 1, Relaxed);
        span.place.store(place as u8, Relaxed);
    }

    /// Removes a span that is in this list.
    pub(crate) fn remove(&self, span: SpanPtr) {
        debug_assert_ne!(span.place(), Place::None);
        let (next, prev) = (span.next.load(Relaxed), span.prev.load(Relaxed));
        // SAFETY: records or null.
        let (after, before) = unsafe { (SpanPtr::from_raw(next), SpanPtr::from_raw(prev)) };
        match before {
            Some(before) => before.next.store(next, Relaxed),
            None => self.head.store(next, Relaxed),
        }
        if let Some(after) = after {
            after.prev.store(prev, Relaxed);
        }
        self.len.store(self.len() - 1, Relaxed);
        span.place.store(Place::None as u8, Relaxed);
    }

    pub(crate) fn pop(&self) -> Option<SpanPtr> {
        let span = self.first()?;
        self.remove(span);
        Some(span)
    }
}
