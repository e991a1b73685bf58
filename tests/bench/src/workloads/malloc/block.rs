//! A block of memory with a tag in its first and last word, and the sizes that programs ask for.
//!
//! The tag is made from the address and the size, so that a block that was handed out twice or lost its content is seen when it is freed.

use crate::workloads::random::Random;
use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;

/// Words of a block are aligned so.
pub const ALIGN: usize = 8;

/// An allocated block, freed by [`Block::free`] only.
#[derive(Debug)]
pub struct Block {
    at: *mut u64,
    size: usize,
}

// SAFETY: the block is owned by whoever has the value.
unsafe impl Send for Block {}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN).expect("sizes are small")
}

impl Block {
    /// Allocates `size` bytes, at least 8, and tags them.
    #[inline]
    pub fn new(size: usize) -> Block {
        // SAFETY: the size is not zero.
        let at = unsafe { alloc(layout(size)) }.cast::<u64>();
        assert!(!at.is_null(), "out of memory");
        let block = Block {
            at: black_box(at),
            size,
        };
        let (first, last) = block.ends();
        // SAFETY: both words are in the block, which is new.
        unsafe {
            first.write(block.tag());
            last.write(block.tag());
        }
        block
    }

    /// The first word, and the last that lies in it as a whole. The same in the smallest block.
    #[inline]
    fn ends(&self) -> (*mut u64, *mut u64) {
        // SAFETY: the size is at least 8.
        (self.at, unsafe { self.at.add(self.size / 8 - 1) })
    }

    #[inline]
    fn tag(&self) -> u64 {
        (self.at as u64 ^ self.size as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// How many bytes were asked for.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Checks the tag and frees the block.
    ///
    /// # Panics
    /// When somebody wrote over the tag.
    #[inline]
    pub fn free(self) {
        let (first, last) = self.ends();
        // SAFETY: the block is ours until it is freed here, with the layout that it was made with.
        unsafe {
            assert!(
                first.read() == self.tag() && last.read() == self.tag(),
                "the block's content is not what was written"
            );
            dealloc(self.at.cast(), layout(self.size));
        }
    }
}

/// A small size: 16 to 256 bytes.
#[inline]
pub fn small(random: &mut Random) -> usize {
    16 + random.below(241)
}

/// A size as programs have them: four of five up to 128 bytes, most others up to 1 KiB, a few up to 16 KiB.
#[inline]
pub fn mixed(random: &mut Random) -> usize {
    match random.below(100) {
        0..80 => 8 + random.below(121),
        80..97 => 129 + random.below(896),
        _ => 1025 + random.below(15_360),
    }
}
