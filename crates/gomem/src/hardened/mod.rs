//! Hardened mode: a heap that finds out, or makes harmless, more of what programs do wrong with their blocks.
//!
//! | what | how |
//! | --- | --- |
//! | running past the end of a large block, or before it | a *guard page* on either side: the processor faults |
//! | running past the end of a span of small blocks | a guard page behind it |
//! | using a large block after it was freed | it is guarded itself while it is in *quarantine* |
//! | writing to a small block after it was freed | it is *poisoned*, and the poison looked at when it leaves quarantine |
//! | reading one | what it reads is no address of anything, on any x86-64 |
//! | freeing a block twice | noticed at once while it is in quarantine or back in its span, whatever was written into it |
//! | freeing what is no block | noticed at once |
//! | knowing which block comes next | each is taken from its span at random |
//!
//! ```text
//!               take_at_random                 free_hardened
//!   in the span ──────────────► in the program ─────────────► in quarantine,
//!   (bit set)   ◄──────────────    's hands                   poisoned
//!                    leave: poison is checked
//! ```
//!
//! It costs an ordinary heap nothing: in a hardened one the lists of all caches are *closed*, that is both empty and full, so that every fast path fails, and the
//! slow ones ask. The ideas are those of OpenBSD's `malloc`, hardened_malloc and Scudo; that records lie apart from the blocks, which they all want, is so in
//! any mode here.
//!
//! Invariant: the mode is never left. Of a hardened heap a small block is in the program's hands, in its span, or in its class's quarantine; what still lies in the
//! caches of threads that could not be reached when the mode was entered goes to its span when its thread takes a slow path.

mod guards;
mod quarantine;

use crate::critical;
use crate::env::Os;
use crate::heap::Heap;
use crate::size_class::SizeClass;
use crate::span::{Slot, SpanPtr};
use std::ptr::with_exposed_provenance_mut;
use std::sync::atomic::Ordering::*;

impl<O: Os> Heap<O> {
    /// Whether the heap is [hardened](Self::harden).
    #[inline]
    pub fn is_hardened(&self) -> bool {
        self.hardening.is_on()
    }

    /// Hardens the heap, for good: guard pages, freed blocks that wait in quarantine before they are used again, poisoned, and blocks in random order. More of
    /// what programs do wrong is noticed, at once or later, and the process aborts with a message that names the block. `malloc` and `free` take a lock each,
    /// and every freed byte is written.
    ///
    /// To be called early: what is allocated already has no guards. Threads that are allocating meanwhile follow when they next need blocks from
    /// what threads share. See also [`HardenedMalloc`](crate::HardenedMalloc); the environment does it by `GOMEM_OPTIONS=hardened`.
    pub fn harden(&self) {
        let _section = critical::enter();
        let one_at_a_time = self.reclaiming.lock();
        // From now on the notes are quarantine's, which begins with none.
        if !self.is_hardened() {
            self.forget_notes();
        }
        if !self.hardening.turn_on() {
            return;
        }
        for cache in self.caches() {
            self.empty_idle(cache);
        }
        drop(one_at_a_time);
        self.drain_transfers(true);
        self.free_spare();
    }

    /// Takes one block, any of the free ones of a span, and writes it to the first slot. Returns how many that were: none if there is no memory.
    pub(crate) fn take_at_random(&self, class: SizeClass, slots: &[Slot]) -> usize {
        let random = self.hardening.random();
        let take = |span: SpanPtr| {
            slots[0].store(
                with_exposed_provenance_mut(span.take_one_of(random)),
                Relaxed,
            );
            1
        };
        let lists = self.malloc[class.index()].lists.lock();
        if let Some(span) = lists.partial.first() {
            let n = take(span);
            if span.available() == 0 {
                lists.partial.remove(span);
            }
            return n;
        }
        drop(lists);
        self.take_of_new_span(class, take)
    }
}
