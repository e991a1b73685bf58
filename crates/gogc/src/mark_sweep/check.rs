//! The marks, compared with what is reachable.
//!
//! A second marking with the world stopped, in the plainest way: a set, a list, and no mark bits. It shares with the first the heap's idea of objects
//! and pointers, and nothing else: no queue, no barrier, no tracking of what has changed. So it finds an object that any of these has lost.

use std::collections::HashSet;

use super::*;
use crate::env::RootKind;
use crate::word;

/// Reachable objects, found in no particular order.
struct Reference<'h, H: HeapView> {
    heap: &'h H,
    found: HashSet<usize>,
    todo: Vec<usize>,
    /// Reachable without a mark: the object, and the object or the kind of root that leads to it.
    lost: Option<(usize, String)>,
}

impl<H: HeapView> Reference<'_, H> {
    fn see(&mut self, word: usize, from: impl FnOnce() -> String) {
        let Some(object) = self.heap.resolve(word) else {
            return;
        };
        let start = self.heap.start(object).0;
        if !self.found.insert(start) {
            return;
        }
        if !self.heap.is_marked(object) && self.lost.is_none() {
            self.lost = Some((start, from()));
        }
        if !self.heap.pointer_free(object) {
            self.todo.push(start);
        }
    }

    fn finish(&mut self) {
        let heap = self.heap;
        while let Some(start) = self.todo.pop() {
            let object = ObjectAddr(start);
            heap.scan(object, 0..heap.scannable(object), &mut |word| {
                self.see(word, || format!("the object {start:#x}"));
            });
        }
    }
}

impl<H: HeapView> RootSink for Reference<'_, H> {
    unsafe fn range(&mut self, kind: RootKind, start: *const usize, words: usize) {
        for i in 0..words {
            // SAFETY: within the range, which is aligned and readable by the caller's obligations.
            let word = unsafe { word::load(start.wrapping_add(i)) };
            self.see(word, || format!("{kind:?} at {:#x}", start.wrapping_add(i).addr()));
        }
    }

    fn word(&mut self, kind: RootKind, word: usize) {
        self.see(word, || format!("{kind:?}"));
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
        let mut reference = Reference {
            heap: &self.heap,
            found: HashSet::new(),
            todo: Vec::new(),
            lost: None,
        };
        roots.scan_all(&mut reference);
        reference.finish();
        if let Some((object, from)) = reference.lost {
            panic!("the object {object:#x} is reachable, from {from}, and is not marked");
        }
    }
}
