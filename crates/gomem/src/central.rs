//! Spans that no thread owns, by class: what threads that exited left behind, and objects' spans that are full or not swept.
//!
//! Invariant: a span is in at most one list of one central; who removes it from there, under the lock, has it to itself.

use crate::lock::Lock;
use crate::span::{Inbox, SpanList};

/// Malloc spans of one class without an owner.
pub(crate) struct MallocCentral {
    /// Those with room. Those without are in no list: the first block freed puts them into the inbox.
    pub(crate) partial: Lock<SpanList>,
    /// Spans without an owner whose `remote` is not empty. Emptied under the lock of `partial`.
    pub(crate) inbox: Inbox,
}

impl MallocCentral {
    pub(crate) const fn new() -> MallocCentral {
        MallocCentral {
            partial: Lock::new(SpanList::new()),
            inbox: Inbox::new(),
        }
    }
}

/// Spans of objects of one kind and class that are in no cache.
pub(crate) struct ObjectCentral {
    pub(crate) lists: Lock<ObjectLists>,
}

pub(crate) struct ObjectLists {
    /// Swept, with free slots.
    pub(crate) partial: SpanList,
    /// Swept, without.
    pub(crate) full: SpanList,
    /// Not swept since the cycle began, with and without free slots then.
    pub(crate) unswept_partial: SpanList,
    pub(crate) unswept_full: SpanList,
}

impl ObjectCentral {
    pub(crate) const fn new() -> ObjectCentral {
        ObjectCentral {
            lists: Lock::new(ObjectLists {
                partial: SpanList::new(),
                full: SpanList::new(),
                unswept_partial: SpanList::new(),
                unswept_full: SpanList::new(),
            }),
        }
    }
}
