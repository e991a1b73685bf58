//! When to collect: when the heap has grown to twice of what the last collection left, as Go does by default.
//!
//! MMTk's own policies are a fixed heap, whose size would have to be guessed for each workload, and one that is made for
//! heaps that many share. This one asks the same of all contestants whose pace can be set.

use super::binding::Binding;
use mmtk::util::heap::{GCTriggerPolicy, SpaceStats};
use mmtk::{MMTK, Plan};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The smallest heap that is collected, in pages: 4 MB.
const LEAST: usize = 1024;
/// The largest heap, in pages: 8 GB.
const MOST: usize = 2 << 20;

/// The policy.
pub struct Doubling {
    limit: AtomicUsize,
    /// Pages that the allocation that caused the collection needs.
    pending: AtomicUsize,
}

impl Doubling {
    /// With the smallest limit.
    pub fn new() -> Doubling {
        Doubling {
            limit: AtomicUsize::new(LEAST),
            pending: AtomicUsize::new(0),
        }
    }
}

impl GCTriggerPolicy<Binding> for Doubling {
    fn on_pending_allocation(&self, pages: usize) {
        self.pending.fetch_add(pages, Relaxed);
    }

    fn on_gc_end(&self, mmtk: &'static MMTK<Binding>) {
        let used = mmtk.get_plan().get_reserved_pages() + self.pending.swap(0, Relaxed);
        self.limit.store((2 * used).clamp(LEAST, MOST), Relaxed);
    }

    fn is_gc_required(
        &self,
        space_full: bool,
        space: Option<SpaceStats<Binding>>,
        plan: &dyn Plan<VM = Binding>,
    ) -> bool {
        plan.collection_required(space_full, space)
    }

    fn is_heap_full(&self, plan: &dyn Plan<VM = Binding>) -> bool {
        plan.get_reserved_pages() > self.limit.load(Relaxed)
    }

    fn get_current_heap_size_in_pages(&self) -> usize {
        self.limit.load(Relaxed)
    }

    fn get_max_heap_size_in_pages(&self) -> usize {
        MOST
    }

    fn can_heap_size_grow(&self) -> bool {
        self.limit.load(Relaxed) < MOST
    }
}
