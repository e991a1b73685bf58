//! Which block is what: handing blocks out, taking them back, sweeping them.
//!
//! A block goes round like this:
//!
//! ```text
//!   unused ──take──> in a mutator's hands ──exhausted──> resting ──swept──> with room ──take──> ...
//!     ▲                                                     │
//!     └──────────────── swept, and nothing lives there ─────┘
//! ```
//!
//! A sweep begins with the world stopped. What was in mutators' hands is resting then, and they forget it before they allocate again; so no block is swept in which
//! somebody allocates. Each is swept by one thread, by whoever takes it from the queue first: a mutator that needs a block, or the collector. The sweep after a
//! collection of the young is of the blocks only that were in somebody's hands since the last.
//!
//! Counting does not sweep: it frees objects one by one, with the world stopped. A resting block that has an object freed goes to those with room, and so does
//! one that is exhausted after some were freed behind its mutator's back.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::classes;

/// Bytes of a block.
pub const BYTES: usize = 32 << 10;
/// Words of a block.
pub const WORDS: usize = BYTES / super::WORD;

/// What a block is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nothing.
    Unused,
    /// Cells of this class.
    Small(usize),
    /// A large object that begins in the block with this number.
    Large(usize),
}

impl Use {
    const LARGE: u32 = 1 << 31;

    fn to_bits(self) -> u32 {
        match self {
            Use::Unused => 0,
            Use::Small(class) => class as u32 + 1,
            Use::Large(head) => Use::LARGE | head as u32,
        }
    }

    fn from_bits(bits: u32) -> Use {
        match bits {
            0 => Use::Unused,
            _ if bits & Use::LARGE != 0 => Use::Large((bits & !Use::LARGE) as usize),
            _ => Use::Small(bits as usize - 1),
        }
    }
}

/// Where a block is. Changes under the lock, or with the world stopped.
const RESTING: u8 = 0;
const TAKEN: u8 = 1;
const WITH_ROOM: u8 = 2;

/// One block.
#[derive(Default)]
pub struct Block {
    used_for: AtomicU32,
    state: AtomicU8,
    /// The sweep in which it was swept, or first used.
    swept: AtomicU32,
    /// Cells that hold an object, or that a mutator has in its hands to fill.
    filled: AtomicU32,
    /// It is in the list of those handed out since the last sweep began.
    touched: AtomicBool,
}

/// Cells in a block of this class.
pub fn cells(class: usize) -> usize {
    WORDS / classes::size(class)
}

/// What has to be swept.
#[derive(Default)]
struct Queue {
    /// These, from `next` on; if `None`, all blocks.
    only: Option<Vec<u32>>,
    next: usize,
    /// Taken from the queue and not done.
    in_hand: usize,
}

#[derive(Default)]
struct State {
    /// Blocks from here on have never been used.
    end: usize,
    /// No block below is unused.
    first_unused: usize,
    with_room: [Vec<u32>; classes::COUNT],
    /// Handed out since the last sweep began: where the young are.
    touched: Vec<u32>,
    queue: Queue,
}

/// The table.
pub struct Blocks {
    table: Box<[Block]>,
    state: Mutex<State>,
}

/// A block to be swept, and what it is.
pub struct ToSweep {
    /// The number of the block.
    pub block: usize,
    /// What it is used for.
    pub used_for: Use,
}

/// What a mutator gets when it asks for a block.
pub enum Taken {
    /// A block, and how many of its cells are free.
    Block(usize, usize),
    /// None before this one is swept.
    SweepFirst(ToSweep),
    /// There is none.
    Nothing,
}

impl Blocks {
    /// So many, unused.
    pub fn new(count: usize) -> Blocks {
        Blocks {
            table: (0..count).map(|_| Block::default()).collect(),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// What the block is used for.
    pub fn used_for(&self, block: usize) -> Use {
        Use::from_bits(self.table[block].used_for.load(Relaxed))
    }

    /// All blocks from here on have never been used.
    pub fn end(&self) -> usize {
        self.lock().end
    }

    fn begin_use(&self, state: &mut State, block: usize, used_for: Use, epoch: u32) {
        let entry = &self.table[block];
        entry.swept.store(epoch, Relaxed);
        entry.filled.store(0, Relaxed);
        entry.state.store(RESTING, Relaxed);
        entry.used_for.store(used_for.to_bits(), Relaxed);
        state.end = state.end.max(block + 1);
        self.touch(state, block);
    }

    fn touch(&self, state: &mut State, block: usize) {
        if !self.table[block].touched.swap(true, Relaxed) {
            state.touched.push(block as u32);
        }
    }

    /// Hands out a block with room.
    fn hand_out(&self, state: &mut State, block: usize, class: usize) -> Taken {
        let entry = &self.table[block];
        entry.state.store(TAKEN, Relaxed);
        self.touch(state, block);
        let cells = cells(class) as u32;
        let filled = entry.filled.swap(cells, Relaxed);
        Taken::Block(block, (cells - filled) as usize)
    }

    /// The first of `count` unused blocks in a row.
    fn find_unused(&self, state: &mut State, count: usize) -> Option<usize> {
        let is_unused = |block: usize| self.used_for(block) == Use::Unused;
        let mut from = state.first_unused;
        while from < self.count() && !is_unused(from) {
            from += 1;
        }
        state.first_unused = from;
        let mut run = 0;
        for block in from..self.count() {
            run = if is_unused(block) { run + 1 } else { 0 };
            if run == count {
                return Some(block + 1 - count);
            }
        }
        None
    }

    /// A block with free cells of this class, for the caller alone. With `sweep`, memory is reused before more is taken.
    pub fn take(&self, class: usize, epoch: u32, sweep: bool) -> Taken {
        let mut state = self.lock();
        if let Some(block) = state.with_room[class].pop() {
            return self.hand_out(&mut state, block as usize, class);
        }
        if sweep && let Some(next) = self.next_to_sweep(&mut state, epoch) {
            return Taken::SweepFirst(next);
        }
        match self.find_unused(&mut state, 1) {
            Some(block) => {
                self.begin_use(&mut state, block, Use::Small(class), epoch);
                self.hand_out(&mut state, block, class)
            }
            None => match self.next_to_sweep(&mut state, epoch) {
                Some(next) => Taken::SweepFirst(next),
                None => Taken::Nothing,
            },
        }
    }

    /// So many blocks in a row for one object; the number of the first.
    pub fn take_large(&self, count: usize, epoch: u32) -> Option<usize> {
        let mut state = self.lock();
        let head = self.find_unused(&mut state, count)?;
        for block in head..head + count {
            self.begin_use(&mut state, block, Use::Large(head), epoch);
        }
        Some(head)
    }

    /// A cell of a block in the caller's hands is filled that was not free when it was handed out.
    pub fn fill_one(&self, block: usize) {
        self.table[block].filled.fetch_add(1, Relaxed);
    }

    /// Gives up a block in the caller's hands, which leaves so many cells unfilled.
    pub fn give_up(&self, block: usize, class: usize, left: usize) {
        let mut state = self.lock();
        let entry = &self.table[block];
        let filled = entry.filled.load(Relaxed) - left as u32;
        entry.filled.store(filled, Relaxed);
        entry.state.store(RESTING, Relaxed);
        if (filled as usize) < cells(class) {
            entry.state.store(WITH_ROOM, Relaxed);
            state.with_room[class].push(block as u32);
        }
    }

    /// A sweep begins, of those blocks only that were handed out since the last, or of all. The world is stopped.
    pub fn start_sweep(&self, touched_only: bool) {
        let mut state = self.lock();
        let touched = std::mem::take(&mut state.touched);
        for block in &touched {
            let entry = &self.table[*block as usize];
            entry.touched.store(false, Relaxed);
            entry.state.store(RESTING, Relaxed);
        }
        for list in &mut state.with_room {
            if !touched_only {
                for block in list.drain(..) {
                    self.table[block as usize].state.store(RESTING, Relaxed);
                }
            }
            list.retain(|block| self.table[*block as usize].state.load(Relaxed) == WITH_ROOM);
        }
        state.queue = Queue {
            only: touched_only.then_some(touched),
            next: 0,
            in_hand: 0,
        };
    }

    fn next_to_sweep(&self, state: &mut State, epoch: u32) -> Option<ToSweep> {
        loop {
            let queue = &mut state.queue;
            let block = match &queue.only {
                Some(only) => *only.get(queue.next)? as usize,
                None if queue.next < state.end => queue.next,
                None => return None,
            };
            queue.next += 1;
            let entry = &self.table[block];
            let used_for = self.used_for(block);
            let is_new = entry.swept.load(Relaxed) == epoch;
            let is_rest = matches!(used_for, Use::Large(head) if head != block);
            if used_for == Use::Unused || is_new || is_rest {
                continue;
            }
            entry.swept.store(epoch, Relaxed);
            queue.in_hand += 1;
            return Some(ToSweep { block, used_for });
        }
    }

    /// The next block to be swept; the caller says when it has done so.
    pub fn to_sweep(&self, epoch: u32) -> Option<ToSweep> {
        self.next_to_sweep(&mut self.lock(), epoch)
    }

    /// Whether nothing is left to sweep, in anybody's hands.
    pub fn is_swept(&self) -> bool {
        let state = self.lock();
        let queue = &state.queue;
        let length = queue.only.as_ref().map_or(state.end, Vec::len);
        queue.next >= length && queue.in_hand == 0
    }

    /// The caller has swept a block, of whose cells so many are filled.
    pub fn swept(&self, swept: &ToSweep, filled: usize) {
        let mut state = self.lock();
        state.queue.in_hand -= 1;
        self.settle(&mut state, swept.block, swept.used_for, filled);
    }

    /// A block that nobody has in hand goes where it belongs.
    fn settle(&self, state: &mut State, block: usize, used_for: Use, filled: usize) {
        let entry = &self.table[block];
        entry.filled.store(filled as u32, Relaxed);
        match used_for {
            Use::Large(_) if filled == 0 => self.end_use(state, block),
            Use::Small(class) if filled == 0 => {
                if entry.state.load(Relaxed) == WITH_ROOM {
                    state.with_room[class].retain(|other| *other as usize != block);
                }
                self.end_use(state, block);
            }
            Use::Small(class)
                if filled < cells(class) && entry.state.load(Relaxed) != WITH_ROOM =>
            {
                entry.state.store(WITH_ROOM, Relaxed);
                state.with_room[class].push(block as u32);
            }
            _ => {}
        }
    }

    /// The block, and the others of the same large object, are unused from now on.
    fn end_use(&self, state: &mut State, block: usize) {
        state.first_unused = state.first_unused.min(block);
        let mut at = block;
        let used_for = self.used_for(block);
        while at < self.count() && self.used_for(at) == used_for {
            let entry = &self.table[at];
            entry.state.store(RESTING, Relaxed);
            entry.used_for.store(Use::Unused.to_bits(), Relaxed);
            at += 1;
            if matches!(used_for, Use::Small(_)) {
                break;
            }
        }
    }

    /// An object in the block has been freed. The world is stopped.
    pub fn freed(&self, block: usize) {
        let mut state = self.lock();
        let entry = &self.table[block];
        let filled = entry.filled.load(Relaxed).saturating_sub(1);
        match entry.state.load(Relaxed) {
            TAKEN => entry.filled.store(filled, Relaxed),
            _ => self.settle(&mut state, block, self.used_for(block), filled as usize),
        }
    }
}
