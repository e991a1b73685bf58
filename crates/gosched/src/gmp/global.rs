//! The global run queue: where goroutines go that no P has room for, or that were readied where
//! there is no P.
//!
//! A list under a lock, with its length beside it so that the common question "is there anything?"
//! takes no lock.

use crate::atomic::{AtomicUsize, Ordering};

use crate::critical::Section;
use crate::gmp::g::{GList, GRef};
use crate::lock::Lock;

pub(crate) struct GlobalQueue {
    list: Lock<GList>,
    len: AtomicUsize,
}

impl GlobalQueue {
    pub(crate) fn new() -> GlobalQueue {
        GlobalQueue {
            list: Lock::new(GList::new()),
            len: AtomicUsize::new(0),
        }
    }

    /// Sequentially consistent, because the wake-up argument (`idle/README.md`) relies on it.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    pub(crate) fn push(&self, g: GRef, inside: &Section) {
        let mut list = self.list.lock(inside);
        list.push(g);
        self.len.store(list.len(), Ordering::SeqCst);
    }

    /// Appends all of `batch`.
    pub(crate) fn push_all(&self, batch: &mut GList, inside: &Section) {
        let mut list = self.list.lock(inside);
        list.append(batch);
        self.len.store(list.len(), Ordering::SeqCst);
    }

    /// Takes the oldest, and moves up to `more(len)` of the following ones to `rest`.
    pub(crate) fn pop(
        &self,
        more: impl FnOnce(usize) -> usize,
        rest: &mut GList,
        inside: &Section,
    ) -> Option<GRef> {
        if self.len() == 0 {
            return None;
        }
        let mut list = self.list.lock(inside);
        let first = list.pop()?;
        for _ in 0..more(list.len()) {
            let Some(g) = list.pop() else { break };
            rest.push(g);
        }
        self.len.store(list.len(), Ordering::SeqCst);
        Some(first)
    }
}
