//! What a collector sees of the heap: the ports of `gogc`, for every one of its collectors.
//!
//! These three implementations are all that is `unsafe` here, but for the reservation of the memory: a collector trusts them to find every object and every pointer.

use std::ops::Range;
use std::sync::atomic::Ordering;

use gogc::{
    Age, AgedHeap, Bytes, CountedHeap, HeapUsage, HeapView, ObjectAddr, SweepStep, WordSink,
};

use super::blocks::{self, Use};
use super::classes;
use super::{Header, Heap, WORD};
use crate::value::{Object, Value};

impl Heap {
    fn mark(&self, place: usize) -> bool {
        let target = match self.0.target.load(Ordering::Relaxed) {
            1 => Age::Middle,
            _ => Age::Old,
        };
        let parities = self.parities();
        let marked = |word: u64| {
            let header = Header(word);
            let is_white = !parities.are_of(header.life());
            is_white.then(|| header.with_life(parities.marked(target)).0)
        };
        self.0.words[place]
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, marked)
            .is_ok()
    }

    /// Clears the marks of the age `oldest` and below; the collection gives the age `target`.
    fn clear_marks(&self, oldest: Age, target: Age) {
        let parities = self.parities().cleared(oldest);
        self.0.parities.store(parities.0, Ordering::Relaxed);
        self.0.target.store(target as u32, Ordering::Relaxed);
        self.0.born.store(0, Ordering::Relaxed);
    }

    /// The places of all headers in a block, those of free cells too.
    fn places(&self, block: usize) -> impl Iterator<Item = usize> + use<> {
        let first = block * blocks::WORDS;
        let (size, cells) = match self.0.blocks.used_for(block) {
            Use::Small(class) => (classes::size(class), blocks::cells(class)),
            Use::Large(head) => (blocks::WORDS, usize::from(head == block)),
            Use::Unused => (1, 0),
        };
        (first..).step_by(size).take(cells)
    }

    fn for_each_object(&self, mut visit: impl FnMut(usize, Header)) {
        for block in 0..self.0.blocks.end() {
            for place in self.places(block) {
                let header = self.header_at(place);
                if header.kind().is_some() {
                    visit(place, header);
                }
            }
        }
    }

    fn update(&self, place: usize, f: impl Fn(Header) -> Header) -> Header {
        let new = |word: u64| Some(f(Header(word)).0);
        match self.0.words[place].fetch_update(Ordering::AcqRel, Ordering::Acquire, new) {
            Ok(old) | Err(old) => Header(old),
        }
    }
}

// SAFETY: objects are found by the table of blocks, which knows where cells begin, and have a header only when they are initialised (1); all lie in the one piece of memory
// (2); marking is a read-modify-write of the header that succeeds once between two changes of the parities (3); every word that is an object's address is given to the sink,
// atomically loaded (4), `scannable` is the whole object or nothing (5); what is born while a collector marks is born with the life of what is marked, since all births are, or the
// world stands still (6); only unmarked objects are freed, in blocks that nobody has allocated in since the sweep began (7); the lock of the blocks is held for some
// instructions, in which no mutator stops (8), and there are no spans (9).
unsafe impl HeapView for Heap {
    /// The place of the header.
    type Object = usize;

    fn bounds(&self) -> Range<usize> {
        self.base()..self.base() + self.0.words.len() * WORD
    }

    #[inline]
    fn resolve(&self, word: usize) -> Option<usize> {
        let at = word.wrapping_sub(self.base()) / WORD;
        if at >= self.0.words.len() {
            return None;
        }
        let (block, within) = (at / blocks::WORDS, at % blocks::WORDS);
        let place = match self.0.blocks.used_for(block) {
            Use::Unused => return None,
            Use::Small(class) => block * blocks::WORDS + classes::cell(class, within),
            Use::Large(head) => head * blocks::WORDS,
        };
        // The last of a block's words may be no cell's, and the last of a cell's no object's.
        let header = self.header_at(place);
        (header.kind().is_some() && at <= place + header.length()).then_some(place)
    }

    fn prefetch(&self, word: usize) {
        gogc::word::prefetch(word);
    }

    #[inline]
    fn try_mark(&self, place: usize) -> bool {
        self.mark(place)
    }

    fn is_marked(&self, place: usize) -> bool {
        self.parities().are_of(self.header_at(place).life())
    }

    fn start(&self, place: usize) -> ObjectAddr {
        ObjectAddr(self.at(place).0)
    }

    fn size(&self, place: usize) -> usize {
        let words = self.header_at(place).length() + 1;
        match classes::for_words(words) {
            Some(class) => classes::size(class) * WORD,
            None => words.div_ceil(blocks::WORDS) * blocks::BYTES,
        }
    }

    fn pointer_free(&self, place: usize) -> bool {
        !self.header_at(place).has_values()
    }

    fn scannable(&self, object: ObjectAddr) -> usize {
        let header = self.header(Object(object.0));
        match header.has_values() {
            true => (header.length() + 1) * WORD,
            false => 0,
        }
    }

    fn scan(&self, object: ObjectAddr, range: Range<usize>, sink: &mut impl WordSink) {
        let place = self.place(Object(object.0));
        let words = range.start.div_ceil(WORD).max(1)..range.end / WORD;
        for word in &self.0.words[place..][words] {
            let value = Value::from_word(word.load(Ordering::Acquire) as usize);
            if value.pointer() != 0 {
                sink.word(value.pointer());
            }
        }
    }

    fn for_each_marked(&self, visit: &mut impl FnMut(usize)) {
        let parities = self.parities();
        self.for_each_object(|place, header| {
            if parities.are_of(header.life()) {
                visit(place);
            }
        });
    }

    fn start_mark(&self) {
        self.clear_marks(Age::Old, Age::Old);
        self.0.survivors[0].store(0, Ordering::Relaxed);
        self.0.survivors[1].store(0, Ordering::Relaxed);
    }

    /// There are no weak pointers and no finalizers.
    fn before_sweep(&self, _revive: &mut impl FnMut(usize)) {}

    fn start_sweep(&self, marked: Bytes) {
        let target = self.0.target.load(Ordering::Relaxed) as usize;
        let [middle, old] = &self.0.survivors;
        [middle, old][target - 1].fetch_add(marked.0 as usize, Ordering::Relaxed);
        let survivors = middle.load(Ordering::Relaxed) + old.load(Ordering::Relaxed);
        // With generations nothing is born while marking.
        let born = match self.0.births {
            super::Births::Marked => self.0.born.load(Ordering::Relaxed),
            super::Births::Young => 0,
        };
        self.0.collected.store(survivors + born, Ordering::Relaxed);
        self.0.epoch.fetch_add(1, Ordering::Relaxed);
        self.0.blocks.start_sweep(target == Age::Middle as usize);
    }

    fn sweep(&self, limit: Bytes) -> SweepStep {
        let mut swept = 0;
        while swept < limit.0 {
            let Some(next) = self.0.blocks.to_sweep(self.epoch()) else {
                break;
            };
            self.sweep_block(&next);
            swept += blocks::BYTES as u64;
        }
        SweepStep {
            swept: Bytes(swept),
            done: self.0.blocks.is_swept(),
        }
    }

    fn usage(&self) -> HeapUsage {
        let collected = self.0.collected.load(Ordering::Relaxed) as u64;
        let mapped = (self.0.blocks.end() * blocks::BYTES) as u64;
        HeapUsage {
            collected: Bytes(collected),
            external: Bytes(0),
            mapped: Bytes(mapped),
            idle: Bytes(mapped.saturating_sub(collected)),
        }
    }
}

// SAFETY: with `Births::Young` objects are born young (1); a mark is age and parity in the header, and only `clear_marks` changes what they mean (2); marking gives the age,
// and what is not marked is freed (3); the flag is changed by one read-modify-write (4); `survivors` are the bytes of each age (5).
unsafe impl AgedHeap for Heap {
    fn start_mark_of(&self, oldest: Age) {
        self.clear_marks(oldest, oldest.survived());
        let [middle, old] = &self.0.survivors;
        if oldest >= Age::Middle {
            middle.store(0, Ordering::Relaxed);
        }
        if oldest == Age::Old {
            old.store(0, Ordering::Relaxed);
        }
    }

    fn age(&self, place: usize) -> Age {
        self.header_at(place).life().age()
    }

    fn remember(&self, place: usize) -> bool {
        if self.age(place) == Age::Young || self.header_at(place).is_remembered() {
            return false;
        }
        !self
            .update(place, |header| header.remembered(true))
            .is_remembered()
    }

    fn forget(&self, place: usize) {
        self.update(place, |header| header.remembered(false));
    }
}

// SAFETY: the note is a part of the header (1); the walk loads a header when it comes to it (2); and without marking there is no sweep (3).
unsafe impl CountedHeap for Heap {
    #[inline]
    fn note(&self, place: usize) -> u32 {
        self.header_at(place).note()
    }

    #[inline]
    fn set_note(&self, place: usize, note: u32) {
        let header = self.header_at(place).with_note(note);
        self.0.words[place].store(header.0, Ordering::Release);
    }

    fn free(&self, place: usize) {
        let bytes = HeapView::size(self, place);
        self.0.words[place].store(0, Ordering::Relaxed);
        self.0.collected.fetch_sub(bytes, Ordering::Relaxed);
        self.0.blocks.freed(place / blocks::WORDS);
    }

    fn for_each(&self, visit: &mut impl FnMut(usize)) {
        self.for_each_object(|place, _| visit(place));
    }
}
