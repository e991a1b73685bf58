//! A stack that moves when it grows, as Go's has since 1.3.
//!
//! A function that is entered compares the room that is left with what it needs. If there is too little, a block of twice the size (or
//! as much as the frame needs) is taken, the words in use are copied to its top, and every pointer into the old block is moved by
//! the distance between the two tops: the callers' frame pointers in the records, the slots that the [`FrameMap`] names, and what it knows
//! outside. Depth `n` costs `n` copies of words in all, since sizes double, and a call at the edge of a block costs what any other
//! call does.
//!
//! **All or nothing.** The copy is adjusted first, frame after frame. If one cannot be described the copy is thrown away and the
//! stack is as it was. Only then are the pointers outside changed, which cannot fail.

use super::depot::{Block, StackCache};
use super::{Call, GrowError, ManagedStack, RECORD_WORDS, Sizes, WORD, root};
use crate::env::{FrameMap, StackMemory, Word};

/// What the words of a block are overwritten with in debug builds when the stack has left it, so that a pointer that was not
/// adjusted is noticed.
const POISON: u8 = 0xdb;

/// A managed stack in one block, which is copied to grow and to shrink.
#[derive(Debug)]
#[must_use = "a stack that is dropped keeps its block; give it back with `retire`"]
pub struct ContiguousStack {
    /// The frame pointer; the root's if no function runs.
    frame: *mut Word,
    /// Lowest address that a frame may have: the block's base.
    guard: usize,
    block: Block,
    sizes: Sizes,
    moves: usize,
    copied: usize,
}

// SAFETY: the block belongs to the stack, and so do the frames in it.
unsafe impl Send for ContiguousStack {}

/// Where the stack is walked from.
struct Here {
    /// Words in use below the frame pointer.
    used: u32,
    /// Where the function that runs goes on.
    at: Word,
    /// The entry of the function that it is about to call.
    callee: Option<Word>,
}

impl ContiguousStack {
    /// An empty stack.
    ///
    /// # Errors
    ///
    /// When there is no memory.
    ///
    /// # Panics
    ///
    /// If the sizes are not as [`Sizes`] says.
    pub fn new<M: StackMemory>(cache: &mut StackCache<M>, sizes: Sizes) -> Result<Self, GrowError> {
        sizes.check();
        let bytes = sizes.first;
        let block = cache.take(bytes).ok_or(GrowError::OutOfMemory { bytes })?;
        Ok(Self {
            frame: root(block.top()),
            guard: block.base.addr().get(),
            block,
            sizes,
            moves: 0,
            copied: 0,
        })
    }

    /// How often the stack has moved.
    pub fn moves(&self) -> usize {
        self.moves
    }

    /// Bytes that were copied by its moves.
    pub fn copied(&self) -> usize {
        self.copied
    }

    /// Moves the stack into a block of `bytes`: larger, smaller, or another one of the same size. The function that runs stands at
    /// `at` and uses `used` words of its frame.
    ///
    /// # Errors
    ///
    /// When there is no memory, a frame is not described, `bytes` is above the limit, or too few for what the functions on the stack
    /// may come to use.
    ///
    /// # Panics
    ///
    /// If `bytes` is not a power of two, or below the smallest block.
    ///
    /// # Safety
    ///
    /// As [`ManagedStack::enter`].
    pub unsafe fn move_to<M: StackMemory, F: FrameMap>(
        &mut self,
        cache: &mut StackCache<M>,
        frames: &F,
        at: Word,
        used: u32,
        bytes: usize,
    ) -> Result<(), GrowError> {
        assert!(bytes.is_power_of_two() && bytes >= super::SMALLEST);
        let here = Here {
            used,
            at,
            callee: None,
        };
        let needed = self.in_use(used);
        if needed > bytes {
            return Err(GrowError::Overflow {
                needed,
                limit: bytes,
            });
        }
        // SAFETY: the obligations; what is in use fits.
        unsafe { self.relocate(cache, frames, &here, bytes) }
    }

    /// Bytes from the top to the lowest word in use.
    fn in_use(&self, used: u32) -> usize {
        let lowest = self.frame.addr() - used as usize * WORD;
        self.block.top().addr() - lowest
    }

    #[cold]
    #[inline(never)]
    unsafe fn grow<M: StackMemory, F: FrameMap>(
        &mut self,
        cache: &mut StackCache<M>,
        frames: &F,
        call: &Call,
    ) -> Result<(), GrowError> {
        let needed = self.in_use(call.used) + (call.frame + RECORD_WORDS) as usize * WORD;
        let limit = self.sizes.limit;
        if needed > limit {
            return Err(GrowError::Overflow { needed, limit });
        }
        let bytes = (self.block.bytes * 2).max(needed.next_power_of_two());
        let here = Here {
            used: call.used,
            at: call.return_to,
            callee: Some(call.entry),
        };
        // SAFETY: the obligations of `enter`, and the new block is larger.
        unsafe { self.relocate(cache, frames, &here, bytes) }
    }

    /// # Safety
    ///
    /// 1. As [`ManagedStack::enter`], for what is in use at `here`.
    /// 2. That fits into `bytes`.
    unsafe fn relocate<M: StackMemory, F: FrameMap>(
        &mut self,
        cache: &mut StackCache<M>,
        frames: &F,
        here: &Here,
        bytes: usize,
    ) -> Result<(), GrowError> {
        let limit = self.sizes.limit;
        if bytes > limit {
            let needed = bytes;
            return Err(GrowError::Overflow { needed, limit });
        }
        let new = cache.take(bytes).ok_or(GrowError::OutOfMemory { bytes })?;
        let in_use = self.in_use(here.used);
        let (old_top, new_top) = (self.block.top(), new.top());
        // SAFETY: what is in use lies in the old block and fits into the new one, which is another.
        unsafe {
            let from = old_top.byte_sub(in_use).cast::<u8>();
            from.copy_to_nonoverlapping(new_top.byte_sub(in_use).cast(), in_use);
        }
        let addresses = old_top.addr() - in_use..old_top.addr();
        let adjust = |word: Word| {
            if addresses.contains(&word.addr()) {
                // SAFETY: the address is at most `in_use` below the old top, so this one is in the new block.
                unsafe { new_top.byte_sub(old_top.addr() - word.addr()).cast() }
            } else {
                word
            }
        };
        // SAFETY: the copy holds the frames that `self` has.
        let error = match unsafe { adjust_frames(self.frame, new_top, frames, here, &adjust) } {
            Ok(lowest) if lowest >= new.base.addr().get() => None,
            Ok(lowest) => Some(GrowError::Overflow {
                needed: new_top.addr() - lowest,
                limit: bytes,
            }),
            Err(at) => Some(GrowError::Undescribed { at: at.addr() }),
        };
        if let Some(error) = error {
            cache.put(new);
            return Err(error);
        }
        frames.outside(&mut |word| adjust(word));
        self.frame = adjust(self.frame.cast()).cast();
        self.guard = new.base.addr().get();
        self.moves += 1;
        self.copied += in_use;
        let old = core::mem::replace(&mut self.block, new);
        if cfg!(debug_assertions) {
            // SAFETY: nothing refers to the old block any more, by obligation 2 of `enter`.
            unsafe {
                old_top
                    .byte_sub(in_use)
                    .cast::<u8>()
                    .write_bytes(POISON, in_use)
            };
        }
        cache.put(old);
        Ok(())
    }
}

/// Adjusts the records and the slots of all frames in a copy of the stack, and returns the lowest address that one of them may come
/// to use; `Err` says which one is not described.
///
/// # Safety
///
/// 1. The frames from `frame`, standing as `here` says, have been copied so that they end at `top`, and `adjust` turns
///    addresses of the original into those of the copy.
unsafe fn adjust_frames<F: FrameMap>(
    frame: *mut Word,
    top: *mut Word,
    frames: &F,
    here: &Here,
    adjust: &impl Fn(Word) -> Word,
) -> Result<usize, Word> {
    let mut lowest = top.addr();
    let adjust_slots = |frame: *mut Word, at: Word| {
        let shape = frames.frame(at).ok_or(at)?;
        for &slot in shape.pointers {
            // SAFETY: the map names slots of the frame that are in use and written.
            unsafe {
                let slot = frame.wrapping_offset(slot as isize);
                slot.write(adjust(slot.read()));
            }
        }
        Ok(shape.words)
    };
    let root = root(top);
    let mut frame: *mut Word = adjust(frame.cast()).cast();
    if let Some(entry) = here.callee {
        // The callee's frame pointer will be below its arguments, which end what is in use. There may be no room for the record
        // yet, so the address may lie outside of the block; the arguments do not.
        let callee = frame.wrapping_sub((here.used + RECORD_WORDS) as usize);
        adjust_slots(callee, entry)?;
    }
    let mut at = here.at;
    while frame != root {
        let words = adjust_slots(frame, at)?;
        lowest = lowest.min(frame.addr() - words as usize * WORD);
        // SAFETY: every frame pointer is that of a record, copied.
        unsafe {
            let caller = adjust(frame.read());
            frame.write(caller);
            at = frame.add(1).read();
            frame = caller.cast();
        }
    }
    Ok(lowest)
}

// SAFETY: `enter` writes the record below the arguments after making sure of the room; `leave` undoes it; memory moves in `relocate` only,
// which those two and `collect` reach.
unsafe impl ManagedStack for ContiguousStack {
    #[inline]
    fn frame(&self) -> *mut Word {
        self.frame
    }

    #[inline]
    unsafe fn enter<M: StackMemory, F: FrameMap>(
        &mut self,
        cache: &mut StackCache<M>,
        frames: &F,
        call: Call,
    ) -> Result<(), GrowError> {
        let mut caller = self.frame;
        let needed = (call.used as usize + RECORD_WORDS as usize + call.frame as usize) * WORD;
        if caller.addr() - self.guard < needed {
            // SAFETY: the obligations.
            unsafe { self.grow(cache, frames, &call)? };
            caller = self.frame;
        }
        // SAFETY: there is room for the record and the frame below what the caller uses.
        unsafe {
            let frame = caller.sub((call.used + RECORD_WORDS) as usize);
            frame.write(caller.cast());
            frame.add(1).write(call.return_to);
            self.frame = frame;
        }
        Ok(())
    }

    #[inline]
    unsafe fn leave<M: StackMemory>(&mut self, _: &mut StackCache<M>) -> Word {
        // SAFETY: the frame pointer is that of a record.
        unsafe {
            let record = self.frame;
            self.frame = record.read().cast();
            record.add(1).read()
        }
    }

    unsafe fn collect<M: StackMemory, F: FrameMap>(
        &mut self,
        cache: &mut StackCache<M>,
        frames: &F,
        at: Word,
        used: u32,
    ) -> usize {
        let bytes = self.block.bytes;
        let half = bytes / 2;
        if half < self.sizes.first || self.in_use(used) >= bytes / self.sizes.shrink_below {
            return 0;
        }
        let callee = None;
        // SAFETY: the obligations; what is in use fits into a half.
        match unsafe { self.relocate(cache, frames, &Here { used, at, callee }, half) } {
            Ok(()) => half,
            // A stack that cannot move, or no memory to move to: it stays as large as it is.
            Err(_) => 0,
        }
    }

    fn bytes(&self) -> usize {
        self.block.bytes
    }

    fn retire<M: StackMemory>(self, cache: &mut StackCache<M>) {
        cache.put(self.block);
    }
}
