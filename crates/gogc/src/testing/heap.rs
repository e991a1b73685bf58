//! A heap that is a table.
//!
//! Granules of 16 bytes; an object takes a run of them. Its first words are pointers, the others are data,
//! which may look like pointers and must not be taken for such. Small objects are scanned by span, which here is so many granules in a row. Invariant: a granule's `owner` is the first
//! granule of the object that it belongs to, and is set last when the object is made.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::PoisonError;

use crate::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::env::{HeapUsage, HeapView, ObjectAddr, SpanId, SweepStep, Wait, WordSink};
use crate::specials::{Dead, Specials};
use crate::units::Bytes;
use crate::word::WORD;

mod life;

use life::{Ages, Life};

/// The address of the first granule. Any number will do that is not small.
const BASE: usize = 0x7000_0000;

const GRANULE: usize = 2 * WORD;

/// Granules in a span.
const SPAN: usize = 16;

/// Objects with more pointers than that are scanned alone.
const SMALL: usize = 6;

/// What an object consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Words at the start that are pointers.
    pub pointers: usize,
    /// Words after those that are not.
    pub data: usize,
    /// Whether the object wants to be told of its death.
    pub finalizer: bool,
}

impl Shape {
    /// So many pointers and nothing else.
    #[must_use]
    pub fn pointers(pointers: usize) -> Shape {
        Shape {
            pointers,
            data: 0,
            finalizer: false,
        }
    }

    fn granules(self) -> usize {
        (self.pointers + self.data).div_ceil(2).max(1)
    }
}

#[derive(Default)]
struct Granule {
    words: [AtomicUsize; 2],
    /// The number plus 1 of the first granule of this one's object; 0 if it is free.
    owner: AtomicU32,
    /// In an object's first granule: its size in granules, its pointers, its mark, its finalizer.
    size: AtomicU32,
    pointers: AtomicU32,
    marked: AtomicBool,
    scanned: AtomicBool,
    finalizer: AtomicBool,
    /// In a span's first granule: it is in a queue.
    waits: AtomicBool,
    /// In an object's first granule.
    life: Life,
}

impl Granule {
    /// Its object is white.
    fn clear(&self) {
        self.marked.store(false, Ordering::Relaxed);
        self.scanned.store(false, Ordering::Relaxed);
    }
}

/// Where allocation and sweeping have got to.
struct Cursors {
    allocate: usize,
    sweep: usize,
}

/// How the heap has its objects scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanning {
    /// Each alone.
    Alone,
    /// Small ones with their spans.
    Spans,
    /// Small ones with their spans or at once, as the marker likes.
    Any,
}

/// The heap.
///
/// Granules are reached by index, never by a part of the slice: an interpreter looks at every word of what a reference is made to.
pub struct SimHeap {
    granules: Box<[Granule]>,
    total: usize,
    scanning: Scanning,
    cursors: Mutex<Cursors>,
    allocate_black: AtomicBool,
    collected: AtomicU64,
    /// Of that, what was born marked.
    born: AtomicU64,
    external: AtomicU64,
    finalized: Mutex<Vec<usize>>,
    ages: Ages,
    specials: Specials<usize>,
    /// Cleanups that have become due.
    due: Mutex<Vec<usize>>,
}

impl SimHeap {
    /// A heap of so many granules of 16 bytes.
    #[must_use]
    pub fn new(granules: usize) -> SimHeap {
        SimHeap {
            cursors: Mutex::new(Cursors {
                allocate: 0,
                sweep: granules,
            }),
            granules: (0..granules).map(|_| Granule::default()).collect(),
            total: granules,
            scanning: Scanning::Any,
            allocate_black: AtomicBool::new(false),
            collected: AtomicU64::new(0),
            born: AtomicU64::new(0),
            external: AtomicU64::new(0),
            finalized: Mutex::new(Vec::new()),
            ages: Ages::default(),
            specials: Specials::default(),
            due: Mutex::new(Vec::new()),
        }
    }

    /// The same, with objects scanned in another way.
    #[must_use]
    pub fn scanned(self, scanning: Scanning) -> SimHeap {
        SimHeap { scanning, ..self }
    }

    fn cursors(&self) -> MutexGuard<'_, Cursors> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an object of zeros and returns its address; `None` if there is no room.
    pub fn allocate(&self, shape: Shape) -> Option<usize> {
        let size = shape.granules();
        let mut cursors = self.cursors();
        let total = self.total;
        let mut run = 0;
        let mut at = cursors.allocate;
        for _ in 0..total + size {
            if at == total {
                (at, run) = (0, 0);
            }
            run = if self.granules[at].owner.load(Ordering::Relaxed) == 0 {
                run + 1
            } else {
                0
            };
            at += 1;
            if run == size {
                let first = at - size;
                cursors.allocate = at;
                self.make(first, shape, self.allocate_black.load(Ordering::Relaxed));
                return Some(BASE + first * GRANULE);
            }
        }
        None
    }

    fn make(&self, first: usize, shape: Shape, marked: bool) {
        let size = shape.granules();
        let head = &self.granules[first];
        head.size.store(size as u32, Ordering::Relaxed);
        head.pointers
            .store(shape.pointers as u32, Ordering::Relaxed);
        head.scanned.store(marked, Ordering::Relaxed);
        head.marked.store(marked, Ordering::Relaxed);
        head.finalizer.store(shape.finalizer, Ordering::Relaxed);
        head.life.begin(&self.ages);
        for at in first..first + size {
            let granule = &self.granules[at];
            granule
                .words
                .iter()
                .for_each(|word| word.store(0, Ordering::Relaxed));
            granule.owner.store(first as u32 + 1, Ordering::Release);
        }
        let bytes = (size * GRANULE) as u64;
        self.collected.fetch_add(bytes, Ordering::Relaxed);
        if self.allocate_black.load(Ordering::Relaxed) {
            self.born.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Whether new objects are born marked, as they are while a barrier is on.
    pub fn set_allocate_black(&self, black: bool) {
        self.allocate_black.store(black, Ordering::Relaxed);
    }

    /// Pretends that collected objects own so much other memory.
    pub fn set_external(&self, bytes: Bytes) {
        self.external.store(bytes.0, Ordering::Relaxed);
    }

    fn word(&self, object: usize, index: usize) -> &AtomicUsize {
        let at = object - BASE + index * WORD;
        &self.granules[at / GRANULE].words[at % GRANULE / WORD]
    }

    /// Word `index` of the object at `object`.
    #[must_use]
    pub fn load(&self, object: usize, index: usize) -> usize {
        self.word(object, index).load(Ordering::Relaxed)
    }

    /// Stores to word `index` of the object at `object`, without any barrier.
    pub fn store(&self, object: usize, index: usize, value: usize) {
        self.word(object, index).store(value, Ordering::Relaxed);
    }

    /// The number of words of the object that are pointers.
    #[must_use]
    pub fn pointers(&self, object: usize) -> usize {
        self.granules[(object - BASE) / GRANULE]
            .pointers
            .load(Ordering::Relaxed) as usize
    }

    /// The addresses of all objects that have not been freed.
    #[must_use]
    pub fn objects(&self) -> BTreeSet<usize> {
        let is_first = |&n: &usize| self.granules[n].owner.load(Ordering::Relaxed) == n as u32 + 1;
        (0..self.total)
            .filter(is_first)
            .map(|n| BASE + n * GRANULE)
            .collect()
    }

    /// The objects reachable from `roots`, found in the plainest possible way: what collectors are compared
    /// with.
    pub fn reachable(&self, roots: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut todo: Vec<usize> = roots.into_iter().collect();
        while let Some(word) = todo.pop() {
            let Some(first) = self.resolve(word) else {
                continue;
            };
            let object = BASE + first * GRANULE;
            if found.insert(object) {
                todo.extend((0..self.pointers(object)).map(|i| self.load(object, i)));
            }
        }
        found
    }

    /// Whether the object at `object` is marked.
    #[must_use]
    pub fn marked(&self, object: usize) -> bool {
        self.leads_to_marked(object)
    }

    /// The objects that were found dead and had a finalizer, since the last call.
    pub fn take_finalized(&self) -> Vec<usize> {
        std::mem::take(
            &mut self
                .finalized
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// What is attached to objects. Handles are objects of one word, which is no pointer.
    pub fn specials(&self) -> &Specials<usize> {
        &self.specials
    }

    /// The cleanups that have become due since the last call.
    pub fn take_due(&self) -> Vec<usize> {
        std::mem::take(&mut self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether what an address leads to is marked.
    fn leads_to_marked(&self, address: usize) -> bool {
        self.resolve(address)
            .is_some_and(|first| self.is_marked(first))
    }

    fn settle_specials(&self) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        self.specials.settle(
            |address| self.leads_to_marked(address),
            |dead| match dead {
                Dead::Target(handle) => self.store(handle, 0, 0),
                Dead::Cleanup(cleanup) => due.push(cleanup),
            },
        );
    }

    fn release(&self, first: usize) -> usize {
        let size = self.granules[first].size.load(Ordering::Relaxed) as usize;
        for at in first..first + size {
            self.granules[at].owner.store(0, Ordering::Relaxed);
        }
        size
    }
}

// SAFETY: objects are entries of a table that is never shrunk; `resolve` answers from the `owner` entries (1,
// 2), marks are swapped atomically (3), the leading words are the pointers (4, 5), `allocate` marks what is
// born while marking or sweeping (6, 7), marking takes no lock (8), and a span is looked through after it was noted that it is in no queue (9).
unsafe impl HeapView for SimHeap {
    type Object = usize;

    fn bounds(&self) -> Range<usize> {
        BASE..BASE + self.total * GRANULE
    }

    fn resolve(&self, word: usize) -> Option<usize> {
        let at = word.checked_sub(BASE)? / GRANULE;
        if at >= self.total {
            return None;
        }
        (self.granules[at].owner.load(Ordering::Acquire) as usize).checked_sub(1)
    }

    fn try_mark(&self, first: usize) -> bool {
        !self.granules[first].marked.swap(true, Ordering::SeqCst)
    }

    fn is_marked(&self, first: usize) -> bool {
        self.granules[first].marked.load(Ordering::Relaxed)
    }

    fn start(&self, first: usize) -> ObjectAddr {
        ObjectAddr(BASE + first * GRANULE)
    }

    fn size(&self, first: usize) -> usize {
        self.granules[first].size.load(Ordering::Relaxed) as usize * GRANULE
    }

    fn pointer_free(&self, first: usize) -> bool {
        self.granules[first].pointers.load(Ordering::Relaxed) == 0
    }

    fn scannable(&self, object: ObjectAddr) -> usize {
        self.pointers(object.0) * WORD
    }

    fn scan(&self, object: ObjectAddr, range: Range<usize>, sink: &mut impl WordSink) {
        for index in range.start / WORD..range.end / WORD {
            sink.word(self.load(object.0, index));
        }
    }

    fn wait(&self, first: usize) -> Wait {
        let pointers = self.granules[first].pointers.load(Ordering::Relaxed) as usize;
        if pointers > SMALL || self.scanning == Scanning::Alone {
            return Wait::Alone;
        }
        let span = first / SPAN;
        let waits = &self.granules[span * SPAN].waits;
        if waits.load(Ordering::SeqCst) || waits.swap(true, Ordering::SeqCst) {
            Wait::InSpan
        } else {
            Wait::Queue(SpanId((span + 1) * 4))
        }
    }

    fn scan_now(&self, first: usize, sink: &mut impl WordSink) -> Option<Bytes> {
        let pointers = self.granules[first].pointers.load(Ordering::Relaxed) as usize;
        if pointers > SMALL || self.scanning != Scanning::Any {
            return None;
        }
        if self.granules[first].scanned.swap(true, Ordering::Relaxed) {
            return Some(Bytes(0));
        }
        self.scan(self.start(first), 0..pointers * WORD, sink);
        Some(Bytes((pointers * WORD) as u64))
    }

    fn scan_span(&self, span: SpanId, sink: &mut impl WordSink) -> Bytes {
        let from = (span.0 / 4 - 1) * SPAN;
        #[cfg(explore)]
        let stays = goexplore::planted("a span stays in the queue that it was taken from");
        #[cfg(not(explore))]
        let stays = false;
        if !stays {
            self.granules[from].waits.store(false, Ordering::SeqCst);
        }
        let mut words = 0;
        for first in from..(from + SPAN).min(self.total) {
            let granule = &self.granules[first];
            let pointers = granule.pointers.load(Ordering::Relaxed) as usize;
            if granule.owner.load(Ordering::Acquire) == first as u32 + 1
                && pointers <= SMALL
                && granule.marked.load(Ordering::SeqCst)
                && !granule.scanned.swap(true, Ordering::Relaxed)
            {
                self.scan(self.start(first), 0..pointers * WORD, sink);
                words += pointers;
            }
        }
        Bytes((words * WORD) as u64)
    }

    fn forget_span(&self, span: SpanId) {
        let first = (span.0 / 4 - 1) * SPAN;
        self.granules[first].waits.store(false, Ordering::SeqCst);
    }

    fn for_each_marked(&self, visit: &mut impl FnMut(usize)) {
        for (n, granule) in self.granules.iter().enumerate() {
            if granule.owner.load(Ordering::Relaxed) == n as u32 + 1 && self.is_marked(n) {
                visit(n);
            }
        }
    }

    fn start_mark(&self) {
        assert_eq!(
            self.cursors().sweep,
            self.total,
            "marking begins with the heap unswept"
        );
        for granule in &self.granules {
            assert!(
                !granule.waits.load(Ordering::Relaxed),
                "a span was left in a queue"
            );
            granule.clear();
        }
        self.born.store(0, Ordering::Relaxed);
        self.set_allocate_black(true);
    }

    fn look_ahead(&self) {
        self.specials
            .look_ahead(|address| self.leads_to_marked(address), || ());
    }

    fn before_sweep(&self, revive: &mut impl FnMut(usize)) {
        self.settle_specials();
        let mut finalized = self
            .finalized
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let dead: Vec<usize> = (0..self.total)
            .filter(|&n| self.granules[n].owner.load(Ordering::Relaxed) == n as u32 + 1)
            .filter(|&n| self.granules[n].finalizer.load(Ordering::Relaxed) && !self.is_marked(n))
            .collect();
        for n in dead {
            self.granules[n].finalizer.store(false, Ordering::Relaxed);
            finalized.push(BASE + n * GRANULE);
            revive(n);
        }
    }

    fn start_sweep(&self, marked: Bytes) {
        self.set_allocate_black(false);
        let born = self.born.load(Ordering::Relaxed);
        let kept = self.grow_older();
        self.collected
            .store(marked.0 + born + kept, Ordering::Relaxed);
        self.cursors().sweep = 0;
    }

    fn sweep(&self, limit: Bytes) -> SweepStep {
        let mut cursors = self.cursors();
        let from = cursors.sweep;
        let to = (from + limit.0 as usize / GRANULE + 1).min(self.total);
        let mut at = from;
        while at < to {
            at += match self.resolve(BASE + at * GRANULE) {
                Some(first)
                    if self.is_marked(first) || self.granules[first].life.is_new(&self.ages) =>
                {
                    self.size(first) / GRANULE
                }
                Some(first) => self.release(first),
                None => 1,
            };
        }
        cursors.sweep = at;
        SweepStep {
            swept: Bytes(((at - from) * GRANULE) as u64),
            done: at == self.total,
        }
    }

    fn usage(&self) -> HeapUsage {
        let collected = Bytes(self.collected.load(Ordering::Relaxed));
        let external = Bytes(self.external.load(Ordering::Relaxed));
        HeapUsage {
            collected,
            external,
            mapped: collected + external,
            idle: Bytes(0),
        }
    }
}
