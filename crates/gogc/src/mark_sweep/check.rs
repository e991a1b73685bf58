//! The marks, compared with what is reachable.
//!
//! A second marking with the world stopped, in the plainest way: a set, a list, and no mark bits. It shares with the first the heap's idea of objects
//! and pointers, and nothing else: no queue, no barrier, no tracking of what has changed. So it finds an object that any of these has lost.
//!
//! It finds too much where a program has a block of memory, new since marking began, that it has not written: what is in it from before is a pointer by its looks, and
//! keeps nothing alive. Whoever checks has such memory cleared.
//!
//! Its memory comes from the world and not from the allocator, whose blocks may themselves be roots: a block taken for the set would be one
//! that the first marking has not seen, with whatever it held before.

use std::ptr::NonNull;

use super::*;
use crate::each::Each;
use crate::env::RootKind;
use crate::word::{self, WORD};

/// Words from the world.
struct Words<'w, W: World> {
    world: &'w W,
    memory: NonNull<usize>,
    len: usize,
}

impl<'w, W: World> Words<'w, W> {
    /// So many zeros.
    ///
    /// # Panics
    /// If the world refuses the memory: then there is no check.
    fn new(world: &'w W, len: usize) -> Self {
        let Some(memory) = world.acquire(len * WORD) else {
            panic!("no memory to check {} marks", len / 2);
        };
        let memory = memory.cast::<usize>();
        // SAFETY: fresh memory of this size.
        unsafe { memory.write_bytes(0, len) };
        Words { world, memory, len }
    }

    fn as_mut(&mut self) -> &mut [usize] {
        // SAFETY: initialised memory of this length, which is this value's own.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }
}

impl<W: World> Drop for Words<'_, W> {
    fn drop(&mut self) {
        // SAFETY: acquired with this size.
        unsafe { self.world.release(self.memory.cast(), self.len * WORD) };
    }
}

/// Reachable objects, found in no particular order.
struct Reference<'c, H: HeapView, W: World> {
    heap: &'c H,
    /// Addresses of those found, by hash; 0 where there is none. At most half full.
    found: Words<'c, W>,
    /// The same in the order in which they were found.
    order: Words<'c, W>,
    count: usize,
    /// Reachable without a mark: the object, and what leads to it.
    lost: Option<(usize, From)>,
}

/// Where a pointer was found.
#[derive(Clone, Copy)]
enum From {
    Root(RootKind, usize),
    Object(usize),
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            From::Root(kind, at) => write!(f, "a root of the kind {kind:?} at {at:#x}"),
            From::Object(at) => write!(f, "the object {at:#x}"),
        }
    }
}

impl<'c, H: HeapView, W: World> Reference<'c, H, W> {
    fn new(heap: &'c H, world: &'c W) -> Self {
        const FIRST: usize = 1 << 12;
        Reference {
            heap,
            found: Words::new(world, 2 * FIRST),
            order: Words::new(world, FIRST),
            count: 0,
            lost: None,
        }
    }

    /// Adds an address to a set; false if it is there.
    fn insert(set: &mut [usize], address: usize) -> bool {
        let mut at = (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        loop {
            let slot = &mut set[at % set.len()];
            if *slot == 0 {
                *slot = address;
                return true;
            }
            if *slot == address {
                return false;
            }
            at += 1;
        }
    }

    fn grow(&mut self) {
        let len = 2 * self.order.len;
        let mut order = Words::new(self.order.world, len);
        let mut found = Words::new(self.order.world, 2 * len);
        order.as_mut()[..self.count].copy_from_slice(&self.order.as_mut()[..self.count]);
        for &address in &order.as_mut()[..self.count] {
            Self::insert(found.as_mut(), address);
        }
        (self.order, self.found) = (order, found);
    }

    fn see(&mut self, word: usize, from: From) {
        let Some(object) = self.heap.resolve(word) else {
            return;
        };
        let start = self.heap.start(object).0;
        if !Self::insert(self.found.as_mut(), start) {
            return;
        }
        self.order.as_mut()[self.count] = start;
        self.count += 1;
        if self.count == self.order.len {
            self.grow();
        }
        if !self.heap.is_marked(object) && self.lost.is_none() {
            self.lost = Some((start, from));
        }
    }

    fn finish(&mut self) {
        let heap = self.heap;
        let mut done = 0;
        while done < self.count {
            let start = self.order.as_mut()[done];
            done += 1;
            let Some(object) = heap.resolve(start) else {
                unreachable!("nothing is freed while the world is stopped");
            };
            if !heap.pointer_free(object) {
                let at = ObjectAddr(start);
                let range = 0..heap.scannable(at);
                let mut sink = Each(|word| self.see(word, From::Object(start)));
                heap.scan(at, range, &mut sink);
            }
        }
    }
}

impl<H: HeapView, W: World> RootSink for Reference<'_, H, W> {
    unsafe fn range(&mut self, kind: RootKind, start: *const usize, words: usize) {
        for i in 0..words {
            let at = start.wrapping_add(i);
            // SAFETY: within the range, which is aligned and readable by the caller's obligations.
            let word = unsafe { word::load(at) };
            for word in std::iter::once(word).chain(kind.end_at(word)) {
                self.see(word, From::Root(kind, at.addr()));
            }
        }
    }

    fn word(&mut self, kind: RootKind, word: usize) {
        self.see(word, From::Root(kind, 0));
    }
}

impl<H: HeapView, W: World> MarkSweep<H, W> {
    /// Compares, if that is asked for. The world is stopped and nothing is grey.
    ///
    /// # Panics
    /// If an object is reachable and not marked.
    pub(super) fn check(&self, roots: &impl Roots) {
        if !self.checked.load(Ordering::Relaxed) {
            return;
        }
        let mut reference = Reference::new(&self.heap, &self.world);
        roots.scan_all(&mut reference);
        reference.finish();
        if let Some((object, from)) = reference.lost {
            let unless = match from {
                From::Root(RootKind::RustHeap, _) => {
                    "; unless that is memory which was allocated and never written: check with an allocator that clears"
                }
                _ => "",
            };
            panic!(
                "the object {object:#x} is reachable and not marked; it was found from {from}{unless}"
            );
        }
    }
}
