//! A stack of linked segments, as Go had until 1.2, and compilers with `-fsplit-stack` have.
//!
//! A function that finds too little room gets a segment of its own (`morestack`): the arguments are copied to its top, since a
//! callee finds them next to its frame. When it returns (`lessstack`) they are copied back, results among them, and the
//! segment goes back to the P's pool. Nothing ever moves, so nothing has to be described.
//!
//! **The hot split** is what it is rejected for: where a loop calls a function and the segment happens to be full just there, each call
//! takes and gives back a segment. It depends on the depth at which the loop runs, so a program gets several times slower by a change
//! somewhere else. `cargo xtask demo stacks` shows it.
//!
//! ```text
//!   segment n                              segment n + 1
//!   │ frames ..                │           │ header            │  what to go back to
//!   │ caller's frame           │           │ arguments, copied │
//!   │ arguments of the callee  │           │ record            │ ◄─ the callee's frame pointer
//!   │ (too little room)        │           │ callee's frame    │
//! ```

use core::ptr::null_mut;

use super::depot::{Block, StackCache};
use super::{Call, GrowError, ManagedStack, RECORD_WORDS, Sizes, WORD, root};
use crate::env::{FrameMap, StackMemory, Word};

/// What a segment knows of the one before; it lies at the segment's top.
struct Header {
    block: Block,
    /// `SegmentedStack::first` of the segment before.
    first: *mut Word,
    /// The caller's arguments in the segment before.
    arguments: *mut Word,
    /// How many there are.
    count: u32,
}

const HEADER: usize = size_of::<Header>();
const _: () = assert!(HEADER.is_multiple_of(WORD));

/// A managed stack in linked segments.
#[derive(Debug)]
#[must_use = "a stack that is dropped keeps its segments; give them back with `retire`"]
pub struct SegmentedStack {
    /// The frame pointer; the root's if no function runs.
    frame: *mut Word,
    /// Lowest address that a frame may have in the newest segment.
    guard: usize,
    /// The frame pointer of the function that the newest segment was taken for; null if that is the first one.
    first: *mut Word,
    block: Block,
    /// Bytes of all segments.
    bytes: usize,
    sizes: Sizes,
    splits: usize,
}

// SAFETY: the segments belong to the stack, and so do the frames in them.
unsafe impl Send for SegmentedStack {}

impl SegmentedStack {
    /// An empty stack; its segments are of `sizes.first` bytes or what a frame needs.
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
            first: null_mut(),
            block,
            bytes,
            sizes,
            splits: 0,
        })
    }

    /// How often a segment was linked.
    pub fn splits(&self) -> usize {
        self.splits
    }

    /// Makes the next call link a segment, as if there were no room: so that tests can have the edge anywhere.
    pub fn split_next(&mut self) {
        self.guard = usize::MAX;
    }

    /// Links a segment for the callee and copies its arguments there. Returns the end of the arguments.
    ///
    /// # Safety
    ///
    /// 1. As [`ManagedStack::enter`].
    #[cold]
    #[inline(never)]
    unsafe fn more_stack<M: StackMemory>(
        &mut self,
        cache: &mut StackCache<M>,
        call: &Call,
    ) -> Result<*mut Word, GrowError> {
        let words = call.arguments as usize + RECORD_WORDS as usize + call.frame as usize;
        let bytes = (HEADER + words * WORD)
            .next_power_of_two()
            .max(self.sizes.first);
        let (needed, limit) = (self.bytes + bytes, self.sizes.limit);
        if needed > limit {
            self.guard = self.block.base.addr().get();
            return Err(GrowError::Overflow { needed, limit });
        }
        let Some(block) = cache.take(bytes) else {
            self.guard = self.block.base.addr().get();
            return Err(GrowError::OutOfMemory { bytes });
        };
        let guard = block.base.addr().get();
        // SAFETY: the header and the arguments fit into the fresh segment; the caller wrote the arguments.
        let copy = unsafe {
            let header = block.top().byte_sub(HEADER).cast::<Header>();
            let arguments = self.frame.sub(call.used as usize);
            let copy = header.cast::<Word>().sub(call.arguments as usize);
            arguments.copy_to_nonoverlapping(copy, call.arguments as usize);
            header.write(Header {
                block: core::mem::replace(&mut self.block, block),
                first: self.first,
                arguments,
                count: call.arguments,
            });
            copy
        };
        self.guard = guard;
        self.bytes = needed;
        self.splits += 1;
        self.first = copy.wrapping_sub(RECORD_WORDS as usize);
        Ok(copy)
    }

    /// Unlinks the newest segment, the arguments copied back.
    ///
    /// # Safety
    ///
    /// 1. There is a segment before, and the function that the newest was taken for has returned.
    #[cold]
    #[inline(never)]
    unsafe fn less_stack<M: StackMemory>(&mut self, cache: &mut StackCache<M>) {
        // SAFETY: `more_stack` wrote the header, and the arguments below it.
        unsafe {
            let header = self.block.top().byte_sub(HEADER).cast::<Header>();
            let Header {
                block,
                first,
                arguments,
                count,
            } = header.read();
            let copy = header.cast::<Word>().sub(count as usize);
            copy.copy_to_nonoverlapping(arguments, count as usize);
            self.first = first;
            self.guard = block.base.addr().get();
            let newest = core::mem::replace(&mut self.block, block);
            self.bytes -= newest.bytes;
            cache.put(newest);
        }
    }
}

// SAFETY: `enter` writes the record below the arguments, in the old segment if there is room and in a fresh one that holds it all otherwise;
// `leave` undoes that, and gives segments back; nothing moves.
unsafe impl ManagedStack for SegmentedStack {
    #[inline]
    fn frame(&self) -> *mut Word {
        self.frame
    }

    #[inline]
    unsafe fn enter<M: StackMemory, F: FrameMap>(
        &mut self,
        cache: &mut StackCache<M>,
        _: &F,
        call: Call,
    ) -> Result<(), GrowError> {
        let caller = self.frame;
        let needed = (call.used as usize + RECORD_WORDS as usize + call.frame as usize) * WORD;
        // SAFETY: the arguments lie at the low end of what the caller uses; below there is room, or `more_stack` makes some.
        unsafe {
            let arguments = if caller.addr() < self.guard.saturating_add(needed) {
                self.more_stack(cache, &call)?
            } else {
                caller.sub(call.used as usize)
            };
            let frame = arguments.sub(RECORD_WORDS as usize);
            frame.write(caller.cast());
            frame.add(1).write(call.return_to);
            self.frame = frame;
        }
        Ok(())
    }

    #[inline]
    unsafe fn leave<M: StackMemory>(&mut self, cache: &mut StackCache<M>) -> Word {
        // SAFETY: the frame pointer is that of a record; `first` is a frame pointer of a segment that is not the first.
        unsafe {
            let record = self.frame;
            self.frame = record.read().cast();
            let return_to = record.add(1).read();
            if record == self.first {
                self.less_stack(cache);
            }
            return_to
        }
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn retire<M: StackMemory>(mut self, cache: &mut StackCache<M>) {
        while !self.first.is_null() {
            // SAFETY: there is a segment before, and the functions of the newest will not go on.
            unsafe { self.less_stack(cache) };
        }
        cache.put(self.block);
    }
}
