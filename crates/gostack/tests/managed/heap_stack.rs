//! The reference: a stack whose frames are allocated one by one, so that there is nothing to grow or to move.

use std::ptr::null_mut;

use crate::machine::Disturb;
use gostack::env::{FrameMap, StackMemory, Word};
use gostack::managed::{Call, GrowError, ManagedStack, RECORD_WORDS, ROOT_WORDS, StackCache};

/// One frame: locals, record, arguments.
struct Frame {
    words: *mut [Word],
    pointer: *mut Word,
    arguments: *mut Word,
    count: usize,
}

/// See the head of the file.
pub struct HeapStack {
    root: *mut [Word],
    frames: Vec<Frame>,
}

impl HeapStack {
    pub fn new() -> Self {
        Self {
            root: Box::into_raw(vec![null_mut(); ROOT_WORDS as usize].into_boxed_slice()),
            frames: Vec::new(),
        }
    }
}

// SAFETY: each frame is a block of its own with all that `enter` promises, freed by `leave`, which copies the arguments back.
unsafe impl ManagedStack for HeapStack {
    fn frame(&self) -> *mut Word {
        match self.frames.last() {
            Some(frame) => frame.pointer,
            None => self.root.cast::<Word>().wrapping_add(ROOT_WORDS as usize),
        }
    }

    unsafe fn enter<M: StackMemory, F: FrameMap>(
        &mut self,
        _: &mut StackCache<M>,
        _: &F,
        call: Call,
    ) -> Result<(), GrowError> {
        let count = call.arguments as usize;
        let arguments = self.frame().wrapping_sub(call.used as usize);
        let words = vec![null_mut(); call.frame as usize + RECORD_WORDS as usize + count];
        let words = Box::into_raw(words.into_boxed_slice());
        // SAFETY: the frame is large enough for what is written, and the caller wrote the arguments.
        unsafe {
            let pointer = words.cast::<Word>().add(call.frame as usize);
            pointer.write(self.frame().cast());
            pointer.add(1).write(call.return_to);
            arguments.copy_to_nonoverlapping(pointer.add(RECORD_WORDS as usize), count);
            self.frames.push(Frame {
                words,
                pointer,
                arguments,
                count,
            });
        }
        Ok(())
    }

    unsafe fn leave<M: StackMemory>(&mut self, _: &mut StackCache<M>) -> Word {
        let frame = self.frames.pop().expect("a function that runs");
        // SAFETY: `enter` made the frame, and nobody uses it any more.
        unsafe {
            let return_to = frame.pointer.add(1).read();
            let results = frame.pointer.add(RECORD_WORDS as usize);
            results.copy_to_nonoverlapping(frame.arguments, frame.count);
            drop(Box::from_raw(frame.words));
            return_to
        }
    }

    fn bytes(&self) -> usize {
        // SAFETY: the frames are allocated.
        self.frames
            .iter()
            .map(|frame| frame.words.len() * size_of::<Word>())
            .sum()
    }

    fn retire<M: StackMemory>(self, _: &mut StackCache<M>) {
        for frame in self.frames {
            // SAFETY: `enter` made the frame.
            drop(unsafe { Box::from_raw(frame.words) });
        }
        // SAFETY: `new` made it.
        drop(unsafe { Box::from_raw(self.root) });
    }
}

impl Disturb for HeapStack {}
