//! How much memory there is and what it is used for, in the terms of Go's `runtime.MemStats`.

use crate::atomic::Ordering::*;
use crate::critical;
use crate::env::Os;
use crate::heap::Heap;
use crate::size_class::SizeClass;

/// A snapshot. Each figure is right for some moment while it was taken; figures of threads that allocate meanwhile may be off
/// by what they do. All are bytes but where it says blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Memory obtained from the system for arenas; address space that is reserved but not committed does not count.
    pub heap_sys: usize,
    /// Spans in use.
    pub heap_inuse: usize,
    /// Free pages.
    pub heap_idle: usize,
    /// Free pages without physical memory: given back, or never touched.
    pub heap_released: usize,
    /// Live malloc blocks, rounded up to their classes, and collected objects.
    pub heap_alloc: usize,
    /// Spans of malloc blocks in use, free blocks included.
    pub malloc_inuse: usize,
    /// Spans of collected objects in use, free slots included.
    pub collected_inuse: usize,
    /// Spans of [`alloc_manual`](Heap::alloc_manual).
    pub manual_inuse: usize,
    /// The heap's own tables and records (Go's `OtherSys`, and part of its `GCSys`). Address space: most of it is never touched.
    pub other_sys: usize,
    /// Malloc blocks ever allocated. (blocks)
    pub mallocs: u64,
    /// Malloc blocks ever freed. (blocks)
    pub frees: u64,
}

/// What a pacer wants to know at every turn; costs a few loads and the heap's lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of collected objects: [`Heap::collected_bytes`].
    pub collected: usize,
    /// Bytes of malloc spans in use.
    pub malloc: usize,
    /// Bytes of arenas that have, or may have, physical memory.
    pub mapped: usize,
    /// The part of `mapped` that is free.
    pub idle: usize,
}

impl<O: Os> Heap<O> {
    /// See [`Usage`].
    pub fn usage(&self) -> Usage {
        let _section = critical::enter();
        let pages = self.pages.lock();
        let (obtained, released) = (pages.obtained(), pages.released());
        drop(pages);
        let mapped = obtained - released;
        Usage {
            collected: self.collected_bytes(),
            malloc: (self.counters.malloc.load(Relaxed)).saturating_sub(self.spare.bytes()),
            mapped,
            idle: mapped.saturating_sub(self.in_use()),
        }
    }

    pub(crate) fn in_use(&self) -> usize {
        let c = &self.counters;
        let spans = c.malloc.load(Relaxed) + c.manual.load(Relaxed) + c.collected.load(Relaxed);
        spans.saturating_sub(self.spare.bytes())
    }

    /// Bytes of spans in use, and of free pages that have, or may have, memory.
    pub(crate) fn in_use_and_surplus(&self) -> (usize, usize) {
        let _section = critical::enter();
        let surplus = self.pages.lock().surplus();
        (self.in_use(), surplus)
    }

    /// A snapshot of everything. Looks at every span: for people and tests, not for policies.
    pub fn stats(&self) -> Stats {
        let _section = critical::enter();
        let pages = self.pages.lock();
        let (heap_sys, heap_released, other_sys) =
            (pages.obtained(), pages.released(), pages.meta_bytes());
        drop(pages);
        let c = &self.counters;

        // Blocks out of their spans, in total and in bytes; then without those in caches and on their way between caches.
        let (mut out, mut out_bytes) = (0i64, 0i64);
        for share in self.shares() {
            share.for_each_used(|blocks, size| {
                out += blocks as i64;
                out_bytes += blocks as i64 * size as i64;
            });
        }
        for class in SizeClass::all() {
            let mut cached = self.malloc[class.index()]
                .lists
                .lock()
                .transfer
                .blocks()
                .len();
            cached += self
                .caches()
                .map(|cache| cache.blocks(class).len())
                .sum::<usize>();
            out -= cached as i64;
            out_bytes -= (cached * class.size()) as i64;
        }
        let mallocs = self.caches().map(|cache| cache.mallocs()).sum::<u64>()
            + c.large_mallocs.load(Relaxed)
            + self.spare.taken()
            + c.uncached_mallocs.load(Relaxed);
        let live = out.max(0) as u64;

        let heap_inuse = self.in_use();
        Stats {
            heap_sys,
            heap_inuse,
            heap_idle: heap_sys.saturating_sub(heap_inuse),
            heap_released,
            heap_alloc: out_bytes.max(0) as usize + self.collected_bytes(),
            malloc_inuse: c.malloc.load(Relaxed).saturating_sub(self.spare.bytes()),
            collected_inuse: c.collected.load(Relaxed),
            manual_inuse: c.manual.load(Relaxed),
            other_sys,
            mallocs,
            frees: mallocs.saturating_sub(live),
        }
    }
}
