//! A mutator's own part of the heap: a block of each class, filled from one end to the other.
//!
//! Allocation looks for the next cell whose header is zero. Nobody else writes headers in a block in a mutator's hands (but counting, with the world stopped, which makes some
//! zero), so there is no lock and no atomic operation but the stores.

use std::sync::atomic::Ordering;

use super::blocks::{self, Taken, ToSweep, Use};
use super::classes;
use super::{Header, Heap, Kind, LONGEST};
use crate::value::{Object, Value};

/// Blocks that are swept in search of memory before more is taken from the system.
const SWEPT_FIRST: usize = 8;

/// A block in a mutator's hands.
#[derive(Clone, Copy)]
struct Current {
    block: usize,
    /// Where the next cell to look at begins, and where the cells end.
    next: usize,
    end: usize,
    /// Cells that were free when it was handed out, and have not been filled.
    left: usize,
}

/// What a mutator has in its hands.
pub struct Allocator {
    current: [Option<Current>; classes::COUNT],
    /// The sweep in which these were handed out.
    epoch: u32,
    /// Bytes handed out and not yet told of.
    obtained: usize,
}

impl Allocator {
    /// Nothing.
    pub fn new(heap: &Heap) -> Allocator {
        Allocator {
            current: [None; classes::COUNT],
            epoch: heap.epoch(),
            obtained: 0,
        }
    }

    /// To be called when the mutator may have been stopped: forgets what it has, if a sweep has begun.
    pub fn resume(&mut self, heap: &Heap) {
        if self.epoch != heap.epoch() {
            self.epoch = heap.epoch();
            for (class, current) in self.current.iter_mut().enumerate() {
                let left = current.take().map_or(0, |current| current.left);
                // Of the young, the collection has counted what there is.
                if heap.0.births == super::Births::Marked {
                    heap.return_bytes(left * classes::size(class) * super::WORD);
                }
            }
        }
    }

    /// Gives everything up.
    pub fn end(&mut self, heap: &Heap) {
        self.resume(heap);
        for class in 0..classes::COUNT {
            self.give_up(heap, class);
        }
    }

    /// The bytes of memory that it has got since the last call.
    pub fn take_obtained(&mut self) -> usize {
        std::mem::take(&mut self.obtained)
    }

    fn give_up(&mut self, heap: &Heap, class: usize) {
        if let Some(current) = self.current[class].take() {
            heap.return_bytes(current.left * classes::size(class) * super::WORD);
            heap.0.blocks.give_up(current.block, class, current.left);
        }
    }

    /// An object with these values; `None` if there is no memory, or no object can have so many.
    pub fn values(
        &mut self,
        heap: &Heap,
        kind: Kind,
        values: impl ExactSizeIterator<Item = Value>,
    ) -> Option<Object> {
        self.object(heap, kind, values.map(|value| value.word() as u64))
    }

    /// An object with these words, which are values if the kind has values.
    pub fn object(
        &mut self,
        heap: &Heap,
        kind: Kind,
        words: impl ExactSizeIterator<Item = u64>,
    ) -> Option<Object> {
        let length = words.len();
        if length > LONGEST {
            return None;
        }
        let place = match classes::for_words(length + 1) {
            Some(class) => self.cell(heap, class)?,
            None => self.large(heap, length + 1)?,
        };
        for (at, word) in words.enumerate() {
            heap.0.words[place + 1 + at].store(word, Ordering::Relaxed);
        }
        let header = Header::new(kind, length, heap.birth());
        heap.0.words[place].store(header.0, Ordering::Release);
        Some(heap.at(place))
    }

    #[inline]
    fn cell(&mut self, heap: &Heap, class: usize) -> Option<usize> {
        loop {
            if let Some(current) = &mut self.current[class] {
                while current.next < current.end {
                    let place = current.next;
                    current.next += classes::size(class);
                    if heap.0.words[place].load(Ordering::Relaxed) == 0 {
                        match current.left.checked_sub(1) {
                            Some(left) => current.left = left,
                            None => self.one_more(heap, class),
                        }
                        return Some(place);
                    }
                }
            }
            self.refill(heap, class)?;
        }
    }

    /// A cell was freed after its block was handed out, and is filled again.
    #[cold]
    fn one_more(&mut self, heap: &Heap, class: usize) {
        if let Some(current) = &self.current[class] {
            heap.0.blocks.fill_one(current.block);
            self.obtain(heap, classes::size(class) * super::WORD);
        }
    }

    #[cold]
    fn refill(&mut self, heap: &Heap, class: usize) -> Option<()> {
        self.give_up(heap, class);
        let blocks = &heap.0.blocks;
        let mut to_be_swept = SWEPT_FIRST;
        let (block, left) = loop {
            match blocks.take(class, self.epoch, to_be_swept > 0) {
                Taken::Block(block, free) => break (block, free),
                Taken::SweepFirst(next) => {
                    heap.sweep_block(&next);
                    to_be_swept = to_be_swept.saturating_sub(1);
                }
                Taken::Nothing => return None,
            }
        };
        let (size, cells) = (classes::size(class), blocks::cells(class));
        let next = block * blocks::WORDS;
        if left == cells {
            // Words of what was here before may lie where headers will be.
            for place in (next..).step_by(size).take(cells) {
                heap.0.words[place].store(0, Ordering::Relaxed);
            }
        }
        self.current[class] = Some(Current {
            block,
            next,
            end: next + cells * size,
            left,
        });
        self.obtain(heap, left * size * super::WORD);
        Some(())
    }

    #[cold]
    fn large(&mut self, heap: &Heap, words: usize) -> Option<usize> {
        let count = words.div_ceil(blocks::WORDS);
        let blocks = &heap.0.blocks;
        loop {
            if let Some(head) = blocks.take_large(count, self.epoch) {
                self.obtain(heap, count * blocks::BYTES);
                return Some(head * blocks::WORDS);
            }
            heap.sweep_block(&blocks.to_sweep(self.epoch)?);
        }
    }

    fn obtain(&mut self, heap: &Heap, bytes: usize) {
        self.obtained += bytes;
        heap.0.collected.fetch_add(bytes, Ordering::Relaxed);
        heap.0.born.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Heap {
    /// Bytes that were handed out and not filled.
    fn return_bytes(&self, bytes: usize) {
        let less = |now: usize| Some(now.saturating_sub(bytes));
        let _ = self
            .0
            .collected
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Frees what is not marked in a block.
    pub(super) fn sweep_block(&self, swept: &ToSweep) {
        let first = swept.block * blocks::WORDS;
        let (size, cells) = match swept.used_for {
            Use::Small(class) => (classes::size(class), blocks::cells(class)),
            Use::Large(_) => (blocks::WORDS, 1),
            Use::Unused => return,
        };
        let mut filled = 0;
        for place in (first..).step_by(size).take(cells) {
            let header = self.header_at(place);
            if header.kind().is_none() {
                continue;
            }
            if self.parities().are_of(header.life()) {
                filled += 1;
            } else {
                self.0.words[place].store(0, Ordering::Relaxed);
            }
        }
        self.0.blocks.swept(swept, filled);
    }
}
