//! What freed blocks are filled with.
//!
//! A word that follows from the block's address and the heap's secret. Its two highest bits differ, so that it is not a canonical address: to follow it as a
//! pointer faults on every x86-64, with four or five levels of page tables.
//!
//! Invariant: a block is looked at and written here only while it belongs to whoever calls, who freed it or took it out of quarantine.

use super::Hardening;
use std::ptr::NonNull;

impl Hardening {
    /// The word that a freed block at the address is filled with.
    pub(crate) fn poison(&self, addr: usize) -> u64 {
        (self.mix(addr as u64) | 1 << 63) & !(1 << 62)
    }
}

/// Fills a block.
///
/// # Safety
/// 1. A block of `size` bytes, a multiple of 8, aligned to 8, in nobody else's use.
pub(crate) unsafe fn fill(block: NonNull<u8>, size: usize, word: u64) {
    // SAFETY: (1).
    unsafe { std::slice::from_raw_parts_mut(block.cast::<u64>().as_ptr(), size / 8) }.fill(word);
}

/// The first byte that is not as it was filled.
///
/// # Safety
/// 1. As for [`fill`].
pub(crate) unsafe fn first_change(block: NonNull<u8>, size: usize, word: u64) -> Option<usize> {
    // SAFETY: (1).
    let words = unsafe { std::slice::from_raw_parts(block.cast::<u64>().as_ptr(), size / 8) };
    // Whole words without a branch for each, which the compiler makes vectors of.
    if words.iter().fold(0, |sum, &found| sum | (found ^ word)) == 0 {
        return None;
    }
    let at = words.iter().position(|&found| found != word)?;
    Some(8 * at + (words[at] ^ word).trailing_zeros() as usize / 8)
}
