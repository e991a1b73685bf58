//! Counts going up and down, and what is freed when they are zero.
//!
//! Invariants, between two stops and at the end of each:
//! - an object is in `fresh` if and only if its note says so, and in `suspects` likewise;
//! - no object is gray or white; a dead one is in `suspects`, and not in `fresh`;
//! - an object whose count is zero is in `fresh`, or dead, or `incomplete` is set.

use super::Lists;
use super::note::{Colour, FRESH, Note, ROOTED, SUSPECT};
use crate::each::Each;
use crate::env::{CountedHeap, ObjectAddr, RootKind, RootSink, Roots, World};
use crate::stats::Tally;
use crate::units::Bytes;
use crate::word::WORD;

/// Work on the counts, by whoever holds the lock.
pub(super) struct Reclaim<'c, H: CountedHeap, W: World> {
    pub(super) heap: &'c H,
    pub(super) world: &'c W,
    pub(super) lists: &'c mut Lists,
    /// A dead object could not be put into `work`: a walk will find it.
    unreleased: bool,
    /// Before this stop, a suspect could not be put into its list, and there was no trial since.
    pub(super) all_suspect: bool,
    tally: Tally,
}

/// Sets or clears the flag of what roots lead to.
struct Flagging<'r, 'c, H: CountedHeap, W: World> {
    reclaim: &'r mut Reclaim<'c, H, W>,
    set: bool,
}

impl<H: CountedHeap, W: World> RootSink for Flagging<'_, '_, H, W> {
    unsafe fn range(&mut self, kind: RootKind, start: *const usize, words: usize) {
        if self.set {
            let (bytes, tally) = (Bytes((words * WORD) as u64), &mut self.reclaim.tally);
            match kind {
                RootKind::Stack => tally.stacks += bytes,
                RootKind::Global => tally.globals += bytes,
                RootKind::RustHeap => tally.rust_heap += bytes,
                RootKind::Handle => {}
            }
        }
        // SAFETY: the caller's obligations.
        unsafe { Each(|word| self.word(kind, word)).range(kind, start, words) };
    }

    fn word(&mut self, _kind: RootKind, word: usize) {
        if !self.set {
            self.reclaim.change(word, |note| note.without(ROOTED));
        } else if let Some((object, note)) = self.reclaim.change(word, |note| note.with(ROOTED))
            && note.count() > 0
        {
            self.reclaim.suspect(object, note);
        }
    }
}

impl<'c, H: CountedHeap, W: World> Reclaim<'c, H, W> {
    pub(super) fn new(heap: &'c H, world: &'c W, lists: &'c mut Lists) -> Self {
        Reclaim {
            heap,
            world,
            lists,
            unreleased: false,
            all_suspect: false,
            tally: Tally::default(),
        }
    }

    /// What is known of the object.
    #[inline]
    pub(super) fn note(&self, object: H::Object) -> Note {
        Note(self.heap.note(object))
    }

    #[inline]
    pub(super) fn set(&self, object: H::Object, note: Note) {
        self.heap.set_note(object, note.0);
    }

    /// Changes the note of the object that a word leads to, if it leads to one. Returns both.
    #[inline]
    pub(super) fn change(
        &self,
        word: usize,
        f: impl FnOnce(Note) -> Note,
    ) -> Option<(H::Object, Note)> {
        let object = self.heap.resolve(word)?;
        let note = f(self.note(object));
        self.set(object, note);
        Some((object, note))
    }

    /// The object that a list has.
    pub(super) fn listed(&self, word: usize) -> H::Object {
        match self.heap.resolve(word) {
            Some(object) => object,
            None => unreachable!("an object is not freed while it is in a list"),
        }
    }

    /// Calls `f` with every word of the object that may be a pointer.
    pub(super) fn for_each_child(
        &mut self,
        object: H::Object,
        mut f: impl FnMut(&mut Self, usize),
    ) {
        let heap = self.heap;
        if !heap.pointer_free(object) {
            let start = heap.start(object);
            heap.scan(
                start,
                0..heap.scannable(start),
                &mut Each(|word| f(self, word)),
            );
        }
    }

    /// A pointer was written.
    #[inline]
    pub(super) fn count(&mut self, word: usize) {
        self.change(word, |note| note.counted(1));
    }

    /// A pointer was deleted. The object is looked at in the next stop.
    #[inline]
    pub(super) fn discount(&mut self, word: usize) {
        let Some(object) = self.heap.resolve(word) else {
            return;
        };
        let note = self.note(object).counted(-1);
        if note.has(FRESH) {
            self.set(object, note);
            return;
        }
        let start = self.heap.start(object).0;
        match self.lists.fresh.push(self.world, start) {
            Ok(()) => self.set(object, note.with(FRESH)),
            Err(_) => {
                self.set(object, note);
                self.lose_track();
            }
        }
    }

    /// An object that is to be looked at is in no list.
    fn lose_track(&mut self) {
        self.lists.incomplete = true;
        self.lists.all_suspect = true;
    }

    /// All pointers that an object is born with were written.
    pub(super) fn count_children(&mut self, object: ObjectAddr) {
        if let Some(object) = self.heap.resolve(object.0) {
            self.for_each_child(object, |this, child| this.count(child));
        }
    }

    /// Whether there is a list that could not be kept.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.lists.incomplete || self.lists.all_suspect
    }

    /// Sets the flag of every object that a root leads to.
    pub(super) fn flag_roots(&mut self, roots: &impl Roots) {
        self.all_suspect = std::mem::take(&mut self.lists.all_suspect);
        self.for_each_root(roots, true);
    }

    /// Clears the flags that the same roots have set.
    pub(super) fn unflag_roots(&mut self, roots: &impl Roots) {
        self.for_each_root(roots, false);
    }

    fn for_each_root(&mut self, roots: &impl Roots, set: bool) {
        for job in 0..roots.jobs() {
            let mut sink = Flagging { reclaim: self, set };
            roots.scan(job, &mut sink);
        }
    }

    /// Frees what is not led to, among those whose count has fallen.
    pub(super) fn release_fresh(&mut self) {
        let is_incomplete = std::mem::take(&mut self.lists.incomplete);
        while let Some(word) = self.lists.fresh.pop() {
            let object = self.listed(word);
            let note = self.note(object).without(FRESH);
            self.set(object, note);
            if note.colour() == Colour::Dead {
                self.free_unless_listed(object);
            } else {
                self.look_at(object, note);
            }
        }
        if is_incomplete {
            self.walk();
        }
        while std::mem::take(&mut self.unreleased) {
            self.walk();
        }
        if 2 * self.lists.zombies > self.lists.suspects.len() {
            self.bury();
        }
    }

    /// Looks at all objects whose count is zero.
    fn walk(&mut self) {
        let heap = self.heap;
        heap.for_each(&mut |object| {
            let note = self.note(object);
            if note.count() == 0 && note.colour() == Colour::Black {
                self.look_at(object, note);
            }
        });
    }

    /// Decides about an object whose count has fallen.
    fn look_at(&mut self, object: H::Object, note: Note) {
        debug_assert!(
            note.count() >= 0,
            "the object {:#x} has lost more pointers than it had",
            self.heap.start(object).0
        );
        if note.count() > 0 {
            self.suspect(object, note);
        } else if note.has(ROOTED) {
            self.hold(object, note);
        } else {
            self.release(object);
        }
    }

    /// It may be in a circle.
    fn suspect(&mut self, object: H::Object, note: Note) {
        if note.has(SUSPECT) || self.heap.pointer_free(object) {
            return;
        }
        let start = self.heap.start(object).0;
        match self.lists.suspects.push(self.world, start) {
            Ok(()) => self.set(object, note.with(SUSPECT)),
            Err(_) => self.lists.all_suspect = true,
        }
    }

    /// It will be looked at again in the next stop.
    pub(super) fn hold(&mut self, object: H::Object, note: Note) {
        if note.has(FRESH) {
            return;
        }
        let start = self.heap.start(object).0;
        match self.lists.held.push(self.world, start) {
            Ok(()) => self.set(object, note.with(FRESH)),
            Err(_) => self.lose_track(),
        }
    }

    /// The object has died. So has what only it led to.
    fn release(&mut self, object: H::Object) {
        let bottom = self.lists.work.len();
        let mut next = Some(object);
        while let Some(object) = next {
            self.set(object, self.note(object).coloured(Colour::Dead));
            self.for_each_child(object, Self::release_child);
            self.free_unless_listed(object);
            next = (self.lists.work.len() > bottom)
                .then(|| self.lists.work.pop())
                .flatten()
                .map(|word| self.listed(word));
        }
    }

    fn release_child(&mut self, word: usize) {
        let Some((object, note)) = self.change(word, |note| note.counted(-1)) else {
            return;
        };
        if note.count() > 0 || note.has(ROOTED) {
            self.look_at(object, note);
            return;
        }
        let start = self.heap.start(object).0;
        match self.lists.work.push(self.world, start) {
            // So that it is pushed once.
            Ok(()) => self.set(object, note.coloured(Colour::Dead)),
            Err(_) => self.unreleased = true,
        }
    }

    /// Frees a dead object, or leaves that to who takes it off its list.
    pub(super) fn free_unless_listed(&mut self, object: H::Object) {
        let note = self.note(object);
        if note.has(SUSPECT) && !note.has(FRESH) {
            self.lists.zombies += 1;
        }
        if !note.has(SUSPECT | FRESH) {
            self.heap.free(object);
        }
    }

    /// Frees the dead among the suspects.
    pub(super) fn bury(&mut self) {
        let mut suspects = std::mem::replace(&mut self.lists.suspects, crate::list::List::new());
        suspects.retain(|word| {
            let object = self.listed(word);
            let is_dead = self.note(object).colour() == Colour::Dead;
            if is_dead {
                self.heap.free(object);
            }
            !is_dead
        });
        self.lists.suspects = suspects;
        self.lists.zombies = 0;
    }

    /// Compares counts with pointers: discounts every pointer that there is, and counts it again.
    ///
    /// # Panics
    /// If what was left in between was not zero.
    pub(super) fn check(&mut self) {
        let heap = self.heap;
        let mut count_all = |by: i32| {
            heap.for_each(&mut |object| {
                if self.note(object).colour() != Colour::Dead {
                    self.for_each_child(object, |this, child| {
                        this.change(child, |note| note.counted(by));
                    });
                }
            });
        };
        count_all(-1);
        heap.for_each(&mut |object| {
            let note = Note(heap.note(object));
            let (off, start) = (note.count(), heap.start(object).0);
            assert!(
                off == 0 || note.is_stuck(),
                "the count of the object {start:#x} is off by {off}"
            );
        });
        count_all(1);
    }

    /// The stop is over. Returns what of the roots was looked at.
    pub(super) fn finish(self) -> Tally {
        debug_assert_eq!(self.lists.fresh.len(), 0);
        self.lists.all_suspect |= self.all_suspect;
        std::mem::swap(&mut self.lists.fresh, &mut self.lists.held);
        self.tally
    }
}
