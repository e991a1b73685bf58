//! The process's own heap, as `malloc` and its kin use it: what is written stays as it is through every `realloc`.
//!
//! The heap outlives the input, so each run frees what it had; that is the only state one input could leave to the next, and
//! no answer that is checked here depends on it.

use crate::bytes::Bytes;
use gomem::heap;
use std::ptr::NonNull;

struct Block {
    start: NonNull<u8>,
    size: usize,
    align: usize,
    seed: u8,
}

impl Block {
    /// The byte that belongs at `offset`.
    fn byte(seed: u8, offset: usize) -> u8 {
        seed.wrapping_add((offset ^ (offset >> 8)) as u8)
    }

    fn fill(&self, from: usize) {
        for offset in from..self.size {
            // SAFETY: the block is live and at least `size` bytes long.
            unsafe { self.start.add(offset).write(Block::byte(self.seed, offset)) };
        }
    }

    fn check(&self, up_to: usize) {
        for offset in 0..up_to {
            // SAFETY: as in `fill`.
            let byte = unsafe { self.start.add(offset).read() };
            assert_eq!(byte, Block::byte(self.seed, offset), "at {offset}");
        }
    }

    /// What holds for every block that was just handed out.
    fn check_shape(&self) {
        assert_eq!(self.start.addr().get() % self.align, 0);
        assert!(heap().usable_size(self.start) >= self.size);
        assert!(heap().owns(self.start.as_ptr()));
    }
}

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..200 {
        if step(&mut bytes, &mut blocks).is_none() {
            break;
        }
    }
    for block in blocks {
        block.check(block.size);
        // SAFETY: live until now.
        unsafe { heap().free(block.start) };
    }
}

fn step(bytes: &mut Bytes, blocks: &mut Vec<Block>) -> Option<()> {
    let choice = bytes.byte()?;
    let seed = choice;
    match choice % 8 {
        0..4 => {
            let size = bytes.magnitude(20)? as usize;
            let align = 1 << if choice & 8 == 0 { 3 } else { bytes.below(14)? };
            let zeroed = choice & 16 != 0;
            let start = match zeroed {
                true => heap().calloc(size, align)?,
                false => heap().malloc(size, align)?,
            };
            let block = Block {
                start,
                size,
                align,
                seed,
            };
            block.check_shape();
            if zeroed {
                // SAFETY: the block is live and at least `size` bytes long.
                let contents = unsafe { std::slice::from_raw_parts(start.as_ptr(), size) };
                assert!(contents.iter().all(|&byte| byte == 0), "not zeroed");
            }
            let apart = |other: &Block| start >= end(other) || other.start >= end(&block);
            assert!(blocks.iter().all(apart), "two blocks share memory");
            block.fill(0);
            blocks.push(block);
        }
        4 | 5 if !blocks.is_empty() => {
            let index = bytes.below(256)? % blocks.len();
            let size = 1 + bytes.magnitude(20)? as usize;
            let block = &mut blocks[index];
            let kept = size.min(block.size);
            // SAFETY: live, and aligned as it was.
            block.start = unsafe { heap().realloc(block.start, size, block.align)? };
            block.size = size;
            block.check_shape();
            block.check(kept);
            block.fill(kept);
        }
        _ if !blocks.is_empty() => {
            let block = blocks.swap_remove(bytes.below(256)? % blocks.len());
            block.check(block.size);
            // SAFETY: live until now.
            unsafe { heap().free(block.start) };
        }
        _ => {}
    }
    Some(())
}

/// The address after a block's last byte.
fn end(block: &Block) -> NonNull<u8> {
    block
        .start
        .map_addr(|start| start.saturating_add(block.size))
}
