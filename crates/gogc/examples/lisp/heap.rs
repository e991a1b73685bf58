//! The heap of the interpreter: its own, with its own objects; the collector knows it by its ports alone.
//!
//! One piece of memory, reserved when the program starts and touched as it is needed, cut into *blocks* of 32 KiB. A block holds objects of one size class, in *cells*
//! side by side, or is part of a large object. Nothing is kept about cells but their headers: zero is free. What is known of a block is in a table beside.
//!
//! | file | what |
//! | --- | --- |
//! | `header` | the first word of an object |
//! | `classes` | sizes of cells |
//! | `blocks` | which block is what; handing them out, sweeping them |
//! | `allocator` | a mutator's own: a block of each class, in which it allocates without a lock |
//! | `view` | what the collector sees: the ports of `gogc` |
//!
//! Invariants:
//! - A block is in the hands of one mutator, or in the list of those with room, or in neither; a mutator allocates in blocks in its hands.
//! - A header is written after the words behind it (release), so whoever finds it (acquire) finds an initialised object.
//! - Words of objects are atomic, and are found by their place in the memory, which is checked: what a program does wrong to its objects, even from several threads at once,
//!   gives wrong values, but nothing worse.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::value::{Object, Value};

mod allocator;
mod blocks;
mod classes;
mod header;
#[cfg(test)]
mod tests;
mod view;

pub use allocator::Allocator;
pub use header::{Header, Kind, LONGEST, Life, Parities};

use blocks::Blocks;
use gogc::Age;

const WORD: usize = size_of::<usize>();

/// How objects come into the world, which depends on the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Births {
    /// Marked: for a collector that marks the whole heap, which then need not tell those that are born meanwhile from others.
    Marked,
    /// Young, without a mark: for generations, and for counting, which marks nothing.
    Young,
}

/// The heap. A handle: the interpreter and its collector have one each.
#[derive(Clone)]
pub struct Heap(Arc<Memory>);

/// What handles share.
struct Memory {
    words: Box<[AtomicU64]>,
    blocks: Blocks,
    births: Births,
    /// Of marked objects; see [`Parities`].
    parities: AtomicU32,
    /// The age that marking gives, as its number.
    target: AtomicU32,
    /// Sweeps begun. A block knows in which it was swept.
    epoch: AtomicU32,
    /// Bytes of objects, as [`HeapUsage`](gogc::HeapUsage) has it.
    collected: AtomicUsize,
    /// Of these, those handed out since marking began.
    born: AtomicUsize,
    /// Bytes of the objects of the middle age and of the old, after the last collection.
    survivors: [AtomicUsize; 2],
}

impl Heap {
    /// A heap of at most so many bytes, which are reserved at once and taken from the system when they are first used.
    pub fn new(bytes: usize, births: Births) -> Heap {
        let blocks = bytes.div_ceil(blocks::BYTES).max(1);
        let words = blocks * blocks::WORDS;
        let layout = match Layout::array::<AtomicU64>(words) {
            Ok(layout) => layout,
            Err(_) => panic!("a heap of {bytes} bytes is larger than the address space"),
        };
        // SAFETY: not of size zero. Zeros are valid atomics, and the box has the layout of the allocation.
        let words = unsafe {
            let memory = alloc_zeroed(layout).cast::<AtomicU64>();
            if memory.is_null() {
                handle_alloc_error(layout);
            }
            Box::from_raw(std::ptr::slice_from_raw_parts_mut(memory, words))
        };
        Heap(Arc::new(Memory {
            words,
            blocks: Blocks::new(blocks),
            births,
            parities: AtomicU32::new(0),
            target: AtomicU32::new(Age::Old as u32),
            epoch: AtomicU32::new(1),
            collected: AtomicUsize::new(0),
            born: AtomicUsize::new(0),
            survivors: Default::default(),
        }))
    }

    fn base(&self) -> usize {
        self.0.words.as_ptr().addr()
    }

    /// The place of the header.
    fn place(&self, object: Object) -> usize {
        object.0.wrapping_sub(self.base()) / WORD
    }

    fn at(&self, place: usize) -> Object {
        Object(self.base() + place * WORD)
    }

    fn header_at(&self, place: usize) -> Header {
        Header(self.0.words[place].load(Ordering::Acquire))
    }

    /// The header of an object.
    pub fn header(&self, object: Object) -> Header {
        self.header_at(self.place(object))
    }

    /// What the object is.
    pub fn kind(&self, object: Object) -> Option<Kind> {
        self.header(object).kind()
    }

    /// Words of the object besides its header.
    pub fn length(&self, object: Object) -> usize {
        self.header(object).length()
    }

    /// Word `index` of the object.
    fn word(&self, object: Object, index: usize) -> &AtomicU64 {
        &self.0.words[self.place(object) + 1 + index]
    }

    /// The value in the object's word `index`, which the caller knows that it has.
    pub fn get(&self, object: Object, index: usize) -> Value {
        Value::from_word(self.word(object, index).load(Ordering::Acquire) as usize)
    }

    /// Puts a value there that no collector is told of; see [`Mutator::set`](crate::mutator::Mutator::set).
    pub fn put(&self, object: Object, index: usize, value: Value) {
        self.word(object, index)
            .store(value.word() as u64, Ordering::Release);
    }

    /// Puts a value there and returns what it replaces.
    pub fn exchange(&self, object: Object, index: usize, value: Value) -> Value {
        let old = self
            .word(object, index)
            .swap(value.word() as u64, Ordering::AcqRel);
        Value::from_word(old as usize)
    }

    /// Puts a value there if it replaces `old`.
    pub fn replace(&self, object: Object, index: usize, old: Value, new: Value) -> bool {
        let (old, new) = (old.word() as u64, new.word() as u64);
        self.word(object, index)
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Word `index` of an object that has no values.
    pub fn raw(&self, object: Object, index: usize) -> u64 {
        self.word(object, index).load(Ordering::Acquire)
    }

    /// The bytes of a string.
    pub fn bytes(&self, string: Object) -> Vec<u8> {
        let length = self.raw(string, 0) as usize;
        let words = 1 + length.div_ceil(WORD);
        let bytes = (1..words).flat_map(|index| self.raw(string, index).to_le_bytes());
        bytes.take(length).collect()
    }

    /// A string as text.
    pub fn text(&self, string: Object) -> String {
        String::from_utf8_lossy(&self.bytes(string)).into_owned()
    }

    /// The instruction at a place in the memory; see [`Heap::first_word`].
    #[inline]
    pub fn instruction(&self, place: usize) -> u64 {
        self.0.words[place].load(Ordering::Relaxed)
    }

    /// The place in the memory of the object's first word.
    pub fn first_word(&self, object: Object) -> usize {
        self.place(object) + 1
    }

    /// Sweeps begun so far. When there is another, mutators have to give up their blocks.
    pub fn epoch(&self) -> u32 {
        self.0.epoch.load(Ordering::Relaxed)
    }

    /// The life with which objects are born now.
    fn birth(&self) -> Life {
        match self.0.births {
            Births::Young => Life::YOUNG,
            Births::Marked => self.parities().marked(Age::Old),
        }
    }

    fn parities(&self) -> Parities {
        Parities(self.0.parities.load(Ordering::Relaxed))
    }
}
