//! Blackening: from the roots to everything that is reachable.
//!
//! Tri-colour abstraction (Dijkstra et al., *On-the-fly Garbage Collection*, 1978): an object is *white*
//! while unmarked, *grey* when marked and in some queue, *black* when marked and scanned. Invariant: while
//! the world is stopped (or the [`barrier`](crate::barrier) is on), every white object that is reachable is
//! reachable from a grey object or from a root not yet scanned. So when nothing is grey, white means dead.
//!
//! A `Marker` is one thread's part in it; any number work on one `Marking`. A word travels like this:
//!
//! ```text
//!   root or object --> within bounds? --> batch --> prefetch all, then resolve and try_mark each --+--> grey queue --> scan
//!                                                                                                +--> its span's queue --> scan the span
//! ```
//!
//! With few pointers in hand and no span waiting, objects are scanned at once (lists). Otherwise the heap says of each whether it is scanned alone or with its
//! span (trees, graphs, what arrays lead to). Objects alone are taken last in, first out, and before spans: that keeps the queue
//! short, while spans gain by waiting. Neither needs the world to stand still.
//!
//! Objects with more than [`OBLET`] bytes to scan are cut into oblets, each a grey entry of its own, so that
//! one huge array is shared by all markers and interrupts none for long. An oblet's entry is its address with
//! the lowest bit set.
//!
//! If no memory for a grey entry is to be had, the object stays marked, the entry is forgotten and the fact
//! is noted. `Marker::recover` then scans all marked objects again until nothing had to be forgotten. Each
//! such round marks at least one object more, so this ends.

use crate::atomic::{AtomicBool, AtomicU64, Ordering};
use std::ops::Range;

use crate::buffer::{BufferPool, Owned};
use crate::env::{HeapView, ObjectAddr, RootKind, RootSink, Roots, SpanId, Wait, WordSink, World};
use crate::gather::Gather;
use crate::gray::{GrayQueue, Refused};
use crate::seen::Seen;
use crate::spans::{SPAN_TAG, SpanQueue};
use crate::stats::Tally;
use crate::termination::Crew;
use crate::units::Bytes;
use crate::word;

/// Bytes of an object that are scanned at a stretch: so many that cutting costs nothing in comparison, so few
/// that several markers can share an object of a megabyte. The size that Go uses; an interpreter gets less to do.
pub const OBLET: usize = if cfg!(miri) { 2 << 10 } else { 128 << 10 };

/// With so few pointers in hand there is nothing to gain by waiting for more. (In a model, both ways are taken by small graphs.)
const FEW: usize = if cfg!(explore) { 1 } else { 8 };

/// Marks an entry that is an oblet other than an object's first.
const OBLET_TAG: usize = 1;

#[derive(Default)]
struct SharedTally {
    objects: AtomicU64,
    marked: AtomicU64,
    heap_scanned: AtomicU64,
    stacks: AtomicU64,
    globals: AtomicU64,
    rust_heap: AtomicU64,
}

impl SharedTally {
    fn reset(&self) {
        let sums = [
            &self.objects,
            &self.marked,
            &self.heap_scanned,
            &self.stacks,
            &self.globals,
            &self.rust_heap,
        ];
        for sum in sums {
            sum.store(0, Ordering::Relaxed);
        }
    }

    fn add(&self, tally: &Tally) {
        let pairs = [
            (&self.objects, tally.objects),
            (&self.marked, tally.marked.0),
            (&self.heap_scanned, tally.heap_scanned.0),
            (&self.stacks, tally.stacks.0),
            (&self.globals, tally.globals.0),
            (&self.rust_heap, tally.rust_heap.0),
        ];
        for (sum, n) in pairs {
            if n != 0 {
                sum.fetch_add(n, Ordering::Relaxed);
            }
        }
    }
}

mod slice;

pub(crate) use slice::Slice;

/// The marking of one cycle, shared by its markers.
pub(crate) struct Marking {
    pool: BufferPool,
    crew: Crew,
    /// A marked object was forgotten for want of memory.
    forgot: AtomicBool,
    tally: SharedTally,
}

impl Marking {
    /// `None` if memory for the first buffers is refused.
    pub(crate) fn new(world: &impl World) -> Option<Marking> {
        Some(Marking {
            pool: BufferPool::new(world)?,
            crew: Crew::default(),
            forgot: AtomicBool::new(false),
            tally: SharedTally::default(),
        })
    }

    /// Prepares for a new cycle.
    pub(crate) fn start_cycle(&self) {
        self.crew.reset();
        self.tally.reset();
    }

    /// Prepares for another round of the same cycle, with root jobs of its own. Nobody is at work on others.
    pub(crate) fn start_round(&self) {
        self.crew.reset();
    }

    /// Whether marked objects have been forgotten and not yet recovered.
    pub(crate) fn forgot(&self) -> bool {
        self.forgot.load(Ordering::Relaxed)
    }

    /// Whether there are grey objects in the pool.
    pub(crate) fn has_work(&self) -> bool {
        self.pool.has_full()
    }

    /// Whether each of this round's root jobs `0..jobs` is claimed.
    pub(crate) fn all_claimed(&self, jobs: usize) -> bool {
        self.crew.all_claimed(jobs)
    }

    /// Whether marked objects have been forgotten since the last call.
    fn take_forgot(&self) -> bool {
        self.forgot.swap(false, Ordering::Relaxed)
    }

    /// What the markers have done this cycle, as far as they have said so.
    pub(crate) fn tally(&self) -> Tally {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Tally {
            objects: get(&self.tally.objects),
            marked: Bytes(get(&self.tally.marked)),
            heap_scanned: Bytes(get(&self.tally.heap_scanned)),
            stacks: Bytes(get(&self.tally.stacks)),
            globals: Bytes(get(&self.tally.globals)),
            rust_heap: Bytes(get(&self.tally.rust_heap)),
        }
    }

    /// Gives back memory that only this cycle needed.
    ///
    /// # Safety
    /// 1. As for [`BufferPool::trim`].
    pub(crate) unsafe fn trim(&self, world: &impl World) {
        // SAFETY: (1).
        unsafe { self.pool.trim(world) };
    }

    /// Gives back all memory.
    pub(crate) fn dispose(&mut self, world: &impl World) {
        self.pool.dispose(world);
    }
}

/// One thread's part in marking. Dropped, it leaves its unfinished work to the others.
pub(crate) struct Marker<'a, H: HeapView, W: World> {
    heap: &'a H,
    marking: &'a Marking,
    gray: GrayQueue<'a, W>,
    spans: SpanQueue<'a, W>,
    seen: Seen,
    tally: Tally,
}

impl<'a, H: HeapView, W: World> Marker<'a, H, W> {
    pub(crate) fn new(heap: &'a H, world: &'a W, marking: &'a Marking) -> Self {
        Marker {
            heap,
            marking,
            gray: GrayQueue::new(&marking.pool, world),
            spans: SpanQueue::new(&marking.pool, world),
            seen: Seen::new(heap.bounds()),
            tally: Tally::default(),
        }
    }

    /// Takes part until there is nothing left for this marker: scans roots, blackens, shares, waits for
    /// others to share.
    pub(crate) fn work(&mut self, roots: &impl Roots) {
        let crew = &self.marking.crew;
        crew.enter();
        loop {
            while let Some(job) = crew.claim(roots.jobs()) {
                roots.scan(job, self);
                self.drain();
            }
            self.drain();
            match crew.next(&self.marking.pool) {
                Some(work) => self.adopt(work),
                None => return,
            }
        }
    }

    /// Blackens until the private queues are empty, sharing with markers that have run dry.
    pub(crate) fn drain(&mut self) {
        while self.step() {
            self.share_if_hungry();
        }
    }

    /// Lets markers that have run dry have a part of the work, if there are some and it is enough to share.
    fn share_if_hungry(&mut self) {
        if !self.marking.crew.hungry() || self.marking.pool.has_full() {
            return;
        }
        if self.spans.is_empty() {
            self.gray.share();
        } else {
            self.spans.share();
        }
    }

    /// Makes a buffer from the pool the next work; its entries are all of one sort. Both queues are empty.
    fn adopt(&mut self, work: Owned<'a>) {
        if work.get(0).is_some_and(|entry| entry & SPAN_TAG != 0) {
            self.spans.adopt(work);
        } else {
            self.gray.adopt(work);
        }
    }

    /// Blackens one entry, or tests the marks of words that were seen; false if there is neither.
    pub(crate) fn step(&mut self) -> bool {
        if let Some(entry) = self.gray.pop() {
            self.blacken(entry);
            return true;
        }
        if let Some(span) = self.spans.pop() {
            self.scan_span(span);
            return true;
        }
        match self.seen.words().len() {
            0 => return false,
            1..=FEW => self.follow_few(),
            _ => self.shade_seen(),
        }
        true
    }

    /// As [`step`](Self::step), but also takes work from the pool.
    #[cfg(test)]
    pub(crate) fn step_any(&mut self) -> bool {
        self.step()
            || match self.marking.pool.take_full() {
                Some(work) => {
                    self.adopt(work);
                    true
                }
                None => false,
            }
    }

    /// Takes note of a word that may be a pointer.
    #[inline]
    fn see(&mut self, word: usize) {
        if self.seen.is_full() {
            self.shade_seen();
        }
        self.seen.put(word);
    }

    /// Takes note of what else the words of a stack stand for that were seen last, those with these indices and above.
    #[cold]
    fn see_ends(&mut self, from: usize) {
        let mut ends = [0; Gather::MOST];
        let words = &self.seen.words()[from..];
        let found = words
            .iter()
            .filter_map(|&word| RootKind::Stack.end_at(word));
        let count = ends
            .iter_mut()
            .zip(found)
            .map(|(to, end)| *to = end)
            .count();
        for &end in &ends[..count] {
            self.see(end);
        }
    }

    /// Makes the white objects among those that were seen grey.
    fn shade_seen(&mut self) {
        for &word in self.seen.words() {
            self.heap.prefetch(word);
        }
        for index in 0..self.seen.words().len() {
            let word = self.seen.words()[index];
            if let Some(object) = self.heap.resolve(word) {
                self.shade_object(object);
            }
        }
        self.seen.clear();
    }

    /// Blackens the few that were seen at once, as far as that can be done. No span waits in this marker's queue.
    ///
    /// Of lists and the like there is never more than a pointer or two to follow, and no neighbour to wait for. What costs time is to wait for memory, so all that the
    /// next step needs is asked for together: what the heap knows of the object, and the object.
    fn follow_few(&mut self) {
        let mut few = [0; FEW];
        let count = self.seen.words().len();
        few[..count].copy_from_slice(self.seen.words());
        self.seen.clear();
        for &word in &few[..count] {
            self.heap.prefetch(word);
            word::prefetch(word);
        }
        let heap = self.heap;
        for &word in &few[..count] {
            let Some(object) = heap.resolve(word) else {
                continue;
            };
            if !heap.try_mark(object) {
                continue;
            }
            if heap.pointer_free(object) {
                self.count(object);
            } else if let Some(scanned) = heap.scan_now(object, self) {
                self.count(object);
                self.tally.heap_scanned += scanned;
            } else {
                self.marked(object);
            }
        }
    }

    /// Makes the object, if it is white, grey (or black at once, if there is nothing to scan).
    #[inline(always)]
    pub(crate) fn shade_object(&mut self, object: H::Object) {
        if self.heap.try_mark(object) {
            self.marked(object);
        }
    }

    /// Sees to it that an object that this marker has marked gets scanned.
    fn marked(&mut self, object: H::Object) {
        self.count(object);
        if self.heap.pointer_free(object) {
            return;
        }
        match self.heap.wait(object) {
            Wait::InSpan => {}
            Wait::Queue(span) => {
                if let Err(Refused) = self.spans.push(span) {
                    self.heap.forget_span(span);
                    self.marking.forgot.store(true, Ordering::Relaxed);
                }
            }
            Wait::Alone => {
                let start = self.heap.start(object).0;
                word::prefetch(start);
                self.push(start);
            }
        }
    }

    /// Has an object that is marked be scanned, as if it had just been found.
    pub(crate) fn scan_later(&mut self, object: ObjectAddr) {
        self.push(object.0);
    }

    #[inline]
    fn count(&mut self, object: H::Object) {
        self.tally.objects += 1;
        self.tally.marked += Bytes(self.heap.size(object) as u64);
    }

    #[inline]
    fn push(&mut self, entry: usize) {
        if let Err(Refused) = self.gray.push(entry) {
            self.marking.forgot.store(true, Ordering::Relaxed);
        }
    }

    fn scan_span(&mut self, span: SpanId) {
        /// How many spans ahead the objects are fetched, and before that what the heap knows of them.
        const OBJECTS_AHEAD: usize = 0;
        const SPANS_AHEAD: usize = 3;
        if let Some(later) = self.spans.peek(SPANS_AHEAD) {
            self.heap.prefetch_span(later);
        }
        if let Some(next) = self.spans.peek(OBJECTS_AHEAD) {
            self.heap.prefetch_waiting(next);
        }
        let heap = self.heap;
        let scanned = heap.scan_span(span, self);
        self.tally.heap_scanned += scanned;
    }

    fn blacken(&mut self, entry: usize) {
        let at = entry & !OBLET_TAG;
        let start = if entry == at {
            ObjectAddr(at)
        } else {
            match self.heap.resolve(at) {
                Some(object) => self.heap.start(object),
                None => unreachable!(
                    "an oblet lies within a marked object, which is not freed while marking"
                ),
            }
        };
        let scannable = self.heap.scannable(start);
        let from = at - start.0;
        let to = scannable.min(from + OBLET);
        if from == 0 && scannable > OBLET {
            for oblet in (OBLET..scannable).step_by(OBLET) {
                self.push((at + oblet) | OBLET_TAG);
            }
        }
        self.scan(start, from..to);
    }

    fn scan(&mut self, object: ObjectAddr, range: Range<usize>) {
        self.tally.heap_scanned += Bytes(range.len() as u64);
        let heap = self.heap;
        heap.scan(object, range, self);
    }

    /// Makes known what was done so far.
    fn publish(&mut self) {
        self.marking.tally.add(&std::mem::take(&mut self.tally));
    }

    /// Shades what mutators have recorded in a barrier buffer, and empties it.
    pub(crate) fn absorb(&mut self, buffer: &mut crate::barrier::BarrierBuffer) {
        for &word in buffer.words() {
            self.see(word);
        }
        buffer.clear();
    }

    /// Scans all marked objects again, for the children of those that were forgotten. No other marker is at
    /// work.
    pub(crate) fn recover(&mut self) {
        while self.marking.take_forgot() {
            let heap = self.heap;
            heap.for_each_marked(&mut |object| {
                if !heap.pointer_free(object) {
                    let start = heap.start(object);
                    self.scan(start, 0..heap.scannable(start));
                    self.finish();
                }
            });
        }
    }

    /// Blackens all there is, here and in the pool, alone.
    pub(crate) fn finish(&mut self) {
        loop {
            while self.step() {}
            match self.marking.pool.take_full() {
                Some(work) => self.adopt(work),
                None => return,
            }
        }
    }
}

impl<H: HeapView, W: World> WordSink for Marker<'_, H, W> {
    #[inline]
    fn word(&mut self, word: usize) {
        self.see(word);
    }

    #[inline]
    unsafe fn masked(&mut self, base: *const usize, mask: u64) {
        if self.seen.is_full() {
            self.shade_seen();
        }
        // SAFETY: the caller's obligations.
        unsafe { self.seen.put_masked(base, mask) };
    }
}

impl<H: HeapView, W: World> RootSink for Marker<'_, H, W> {
    unsafe fn range(&mut self, kind: RootKind, start: *const usize, words: usize) {
        let bytes = Bytes((words * word::WORD) as u64);
        match kind {
            RootKind::Stack => self.tally.stacks += bytes,
            RootKind::Global => self.tally.globals += bytes,
            RootKind::RustHeap => self.tally.rust_heap += bytes,
            RootKind::Handle => {}
        }
        for first in (0..words).step_by(Gather::MOST) {
            let mask = u64::MAX >> Gather::MOST.saturating_sub(words - first);
            if self.seen.is_full() {
                self.shade_seen();
            }
            let before = self.seen.words().len();
            // SAFETY: within the range, which is aligned and readable by the caller's obligations.
            unsafe { self.seen.put_masked(start.wrapping_add(first), mask) };
            if self.seen.words().len() > before && kind == RootKind::Stack {
                self.see_ends(before);
            }
        }
    }

    fn word(&mut self, _kind: RootKind, word: usize) {
        self.see(word);
    }
}

impl<H: HeapView, W: World> Drop for Marker<'_, H, W> {
    fn drop(&mut self) {
        self.shade_seen();
        self.gray.flush();
        self.spans.flush();
        self.publish();
    }
}
