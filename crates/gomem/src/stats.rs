//! How much memory there is and what it is used for, in the terms of Go's `runtime.MemStats` and `runtime/metrics`.

use crate::atomic::Ordering::*;
use crate::critical;
use crate::env::Os;
use crate::heap::Heap;
use crate::size_class::{CLASSES, SizeClass};

/// A snapshot. Each figure is right for some moment while it was taken; figures of threads that allocate meanwhile may be off
/// by what they do. All are bytes but where it says blocks. In brackets stands the field of Go's `MemStats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Memory obtained from the system for arenas; address space that is reserved but not committed does not count. (`HeapSys`, with `StackSys`)
    pub heap_sys: usize,
    /// Spans in use. (`HeapInuse`, with `StackInuse`)
    pub heap_inuse: usize,
    /// Free pages. (`HeapIdle`)
    pub heap_idle: usize,
    /// Free pages without physical memory: given back, or never touched. (`HeapReleased`)
    pub heap_released: usize,
    /// Live malloc blocks, rounded up to their classes, and collected objects. (`HeapAlloc`, which is also `Alloc`)
    pub heap_alloc: usize,
    /// Spans of malloc blocks in use, free blocks included.
    pub malloc_inuse: usize,
    /// Live malloc blocks, rounded up to their classes. `malloc_inuse` without them is what fragmentation and caches cost.
    pub malloc_alloc: usize,
    /// Spans of collected objects in use, free slots included.
    pub collected_inuse: usize,
    /// Spans of [`alloc_manual`](Heap::alloc_manual). (`StackInuse`, where stacks are the use that is made of them)
    pub manual_inuse: usize,
    /// The heap's own tables and records. Address space: most of it is never touched. (`OtherSys`, and part of `GCSys`)
    pub other_sys: usize,
    /// Malloc blocks ever allocated. (blocks; `Mallocs`)
    pub mallocs: u64,
    /// Malloc blocks ever freed. (blocks; `Frees`)
    pub frees: u64,
    /// Live malloc blocks: `mallocs - frees`. (blocks; `HeapObjects`)
    pub heap_objects: u64,
    /// Malloc blocks ever allocated, rounded up to their classes. (`TotalAlloc`)
    pub total_alloc: u64,
}

/// The malloc blocks of one size class, or the large ones. (`BySize`)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes in a block; zero for large ones. (`Size`)
    pub size: usize,
    /// Blocks ever allocated. (`Mallocs`)
    pub mallocs: u64,
    /// Blocks ever freed. (`Frees`)
    pub frees: u64,
    /// Blocks in the program's hands.
    pub live: u64,
    /// Their bytes.
    pub live_bytes: usize,
    /// Free blocks in the caches of threads, on their way between threads, and in quarantine.
    pub cached: u64,
    /// Free blocks in spans.
    pub free: u64,
    /// Bytes of the spans.
    pub inuse: usize,
}

impl ClassStats {
    /// Bytes in spans that are not live blocks: what could be had back if blocks could be moved together and caches emptied.
    pub fn unused(&self) -> usize {
        self.inuse.saturating_sub(self.live_bytes)
    }

    /// [`unused`](Self::unused) in percent of the spans.
    pub fn fragmentation(&self) -> usize {
        (100 * self.unused()).checked_div(self.inuse).unwrap_or(0)
    }
}

/// Figures of all classes: the large blocks, then the size classes in order.
pub type BySize = [ClassStats; CLASSES];

impl Stats {
    /// The figures that mean what Go's `runtime/metrics` means by these names; of allocations and frees those of malloc blocks, since a program in Go
    /// has no others.
    pub fn metrics(&self) -> [(&'static str, u64); 11] {
        let objects = self.heap_alloc as u64;
        let spans = self.heap_inuse.saturating_sub(self.manual_inuse) as u64;
        let free = self.heap_idle.saturating_sub(self.heap_released) as u64;
        [
            ("/gc/heap/allocs:bytes", self.total_alloc),
            ("/gc/heap/allocs:objects", self.mallocs),
            (
                "/gc/heap/frees:bytes",
                self.total_alloc.saturating_sub(self.malloc_alloc as u64),
            ),
            ("/gc/heap/frees:objects", self.frees),
            ("/gc/heap/objects:objects", self.heap_objects),
            ("/memory/classes/heap/free:bytes", free),
            ("/memory/classes/heap/objects:bytes", objects),
            (
                "/memory/classes/heap/released:bytes",
                self.heap_released as u64,
            ),
            (
                "/memory/classes/heap/unused:bytes",
                spans.saturating_sub(objects),
            ),
            (
                "/memory/classes/metadata/other:bytes",
                self.other_sys as u64,
            ),
            (
                "/memory/classes/total:bytes",
                (self.heap_sys + self.other_sys) as u64,
            ),
        ]
    }
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
        let obtained = pages.obtained();
        let released = pages.released() + self.hardening.large_bytes();
        drop(pages);
        let mapped = obtained.saturating_sub(released);
        Usage {
            collected: self.collected_bytes(),
            malloc: self.malloc_in_use(),
            mapped,
            idle: mapped.saturating_sub(self.in_use()),
        }
    }

    pub(crate) fn in_use(&self) -> usize {
        let c = &self.counters;
        self.malloc_in_use() + c.manual.load(Relaxed) + c.collected.load(Relaxed)
    }

    /// Bytes of malloc spans, without large blocks that are freed and kept.
    pub(crate) fn malloc_in_use(&self) -> usize {
        let kept = self.spare.bytes() + self.hardening.large_bytes();
        self.counters.malloc.load(Relaxed).saturating_sub(kept)
    }

    /// Bytes of spans in use, and of free pages that have, or may have, memory.
    pub(crate) fn in_use_and_surplus(&self) -> (usize, usize) {
        let _section = critical::enter();
        let surplus = self.pages.lock().surplus();
        (self.in_use(), surplus)
    }

    /// A snapshot of everything. Looks at every span: for people and tests, not for policies.
    pub fn stats(&self) -> Stats {
        let by_size = self.stats_by_size();
        let _section = critical::enter();
        let pages = self.pages.lock();
        let (heap_sys, heap_released, other_sys) =
            (pages.obtained(), pages.released(), pages.meta_bytes());
        drop(pages);
        // Large blocks in quarantine have no memory.
        let heap_released = heap_released + self.hardening.large_bytes();
        let c = &self.counters;
        let sum = |f: fn(&ClassStats) -> u64| by_size.iter().map(f).sum::<u64>();
        let malloc_alloc = by_size.iter().map(|class| class.live_bytes).sum::<usize>();
        let heap_inuse = self.in_use();
        let small = |class: &ClassStats| class.mallocs * class.size as u64;
        Stats {
            heap_sys,
            heap_inuse,
            heap_idle: heap_sys.saturating_sub(heap_inuse),
            heap_released,
            heap_alloc: malloc_alloc + self.collected_bytes(),
            malloc_inuse: self.malloc_in_use(),
            malloc_alloc,
            collected_inuse: c.collected.load(Relaxed),
            manual_inuse: c.manual.load(Relaxed),
            other_sys,
            mallocs: sum(|class| class.mallocs),
            frees: sum(|class| class.frees),
            heap_objects: sum(|class| class.live),
            total_alloc: sum(small) + c.large_bytes.load(Relaxed) + self.spare.taken().1,
        }
    }

    /// The same by size class.
    pub fn stats_by_size(&self) -> BySize {
        let _section = critical::enter();
        let mut all = [ClassStats::default(); CLASSES];
        let c = &self.counters;
        // Blocks out of their spans first.
        for share in self.malloc_spans() {
            share.for_each_used(|class, used| {
                let all = &mut all[class];
                all.live += u64::from(used.blocks);
                all.live_bytes += used.blocks as usize * used.size;
                all.free += u64::from(used.free);
                all.inuse += used.bytes;
            });
        }
        all[0].mallocs = c.large_mallocs.load(Relaxed) + self.spare.taken().0;
        for class in SizeClass::all() {
            let all = &mut all[class.index()];
            let on_their_way = self.malloc[class.index()]
                .lists
                .lock()
                .transfer
                .blocks()
                .len();
            let in_caches = self.caches().map(|cache| cache.blocks(class).len());
            let in_quarantine = self.hardening.blocks(class);
            let cached = on_their_way + in_caches.sum::<usize>() + in_quarantine;
            all.size = class.size();
            all.cached = cached as u64;
            all.live = all.live.saturating_sub(cached as u64);
            all.live_bytes = all.live_bytes.saturating_sub(cached * class.size());
            all.mallocs = c.apart[class.index()].load(Relaxed);
        }
        let _arming = self.arming.lock();
        for cache in self.caches() {
            for class in SizeClass::all() {
                all[class.index()].mallocs += cache.mallocs(class);
            }
        }
        for class in &mut all {
            class.frees = class.mallocs.saturating_sub(class.live);
        }
        all
    }
}
