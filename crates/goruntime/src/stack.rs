//! Managed stacks on this process's heap: for interpreters and compilers that run on goroutines and keep their own frames.
//!
//! The stacks are gostack's ([`ContiguousStack`], [`SegmentedStack`]); [`HeapSpans`] gives them whole pages of gomem's, which are neither
//! scanned nor collected: whoever has frames tells the collector what is in them.
//!
//! ```
//! use goruntime::stack::{ContiguousStack, HeapSpans, ManagedStack, Sizes, StackCache, StackDepot};
//!
//! // One depot for the process, a cache for each P or thread that runs managed code.
//! let depot = StackDepot::new(HeapSpans);
//! let mut cache = StackCache::new(depot);
//! let stack = ContiguousStack::new(&mut cache, Sizes::GO)?;
//! assert_eq!(stack.bytes(), 2 << 10);
//! stack.retire(&mut cache);
//! # Ok::<(), goruntime::stack::GrowError>(())
//! ```

use std::ptr::NonNull;

pub use gostack::env::{FrameMap, FrameShape, StackMemory, Word};
pub use gostack::managed::{
    Call, ContiguousStack, GrowError, ManagedStack, RECORD_WORDS, ROOT_WORDS, SegmentedStack,
    Sizes, StackCache, StackDepot,
};

/// Spans of the process's heap.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeapSpans;

// SAFETY: manual spans are whole pages of 8 KiB that nothing else uses until they are freed; neither call unwinds.
unsafe impl StackMemory for HeapSpans {
    fn allocate(&self, bytes: usize) -> Option<NonNull<u8>> {
        gomem::heap().alloc_manual(bytes)
    }

    unsafe fn free(&self, span: NonNull<u8>, _: usize) {
        // SAFETY: the caller's obligations: it is such a span, and nobody uses it.
        unsafe { gomem::heap().free_manual(span) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    // SAFETY: the frames of the test hold no addresses.
    unsafe impl FrameMap for Nothing {
        fn frame(&self, at: Word) -> Option<FrameShape<'_>> {
            Some(FrameShape {
                words: at.addr() as u32,
                pointers: &[],
            })
        }

        fn outside(&self, _: &mut dyn FnMut(Word) -> Word) {}
    }

    #[test]
    fn a_stack_grows_in_spans_of_the_heap() {
        let mut cache = StackCache::new(StackDepot::new(HeapSpans));
        let mut stack = ContiguousStack::new(&mut cache, Sizes::GO).unwrap();
        const WORDS: u32 = 100;
        let place = std::ptr::without_provenance_mut(WORDS as usize);
        let call = |used| Call {
            used,
            arguments: 0,
            frame: WORDS,
            entry: place,
            return_to: place,
        };
        // SAFETY: frames are as `Nothing` says, and are left as often as entered.
        unsafe {
            stack.enter(&mut cache, &Nothing, call(0)).unwrap();
            for _ in 0..1000 {
                stack.enter(&mut cache, &Nothing, call(WORDS)).unwrap();
                stack.frame().sub(WORDS as usize).write(place);
            }
            // 1,001 frames of 102 words.
            assert_eq!(stack.bytes(), 1 << 20);
            let span = stack.frame().addr();
            assert!(gomem::heap().bounds().contains(&span));
            for _ in 0..1001 {
                assert_eq!(stack.leave(&mut cache), place);
            }
        }
        stack.retire(&mut cache);
    }
}
