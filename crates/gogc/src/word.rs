//! Loading one word of memory that may be uninitialised, or be written at the same moment.
//!
//! A collector reads stacks, registers' images and padding. To Rust a load of uninitialised bytes into an
//! integer is undefined behaviour, and so is a plain load that races with a store, even if the value is then
//! checked before anything is believed about it. The machine has no such notion, so the load is written in
//! the machine's own terms: one `mov`, opaque to the compiler. An aligned `mov` of eight bytes is not torn on
//! x86-64.

/// The size in bytes of a machine word, and the alignment at which collected pointers are kept.
pub const WORD: usize = size_of::<usize>();

/// The word at `address`, whatever it may be.
///
/// # Safety
/// 1. `address` is aligned to [`WORD`].
/// 2. The [`WORD`] bytes there are mapped and readable.
#[inline(always)]
pub unsafe fn load(address: *const usize) -> usize {
    debug_assert!(
        address.addr().is_multiple_of(WORD),
        "an unaligned word cannot hold a collected pointer"
    );
    #[cfg(not(miri))]
    {
        let word: usize;
        // SAFETY: the instruction reads eight bytes, readable by obligation 2, and has no other effect; being
        // opaque, it makes no claim that the bytes are initialised or free of concurrent writers.
        unsafe {
            std::arch::asm!(
                "mov {word}, qword ptr [{address}]",
                address = in(reg) address,
                word = lateout(reg) word,
                options(nostack, readonly, preserves_flags),
            );
        }
        word
    }
    #[cfg(miri)]
    {
        // SAFETY: as above; the interpreter has no inline assembly, and its tests read initialised memory
        // only.
        unsafe { address.read_volatile() }
    }
}

/// Asks the processor to fetch what is at the address, which may be any.
#[inline(always)]
pub fn prefetch(address: usize) {
    // SAFETY: a hint, which has no effect but on time.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there() {
        let words = [7usize, usize::MAX];
        // SAFETY: elements of a live array of words.
        let (a, b) = unsafe { (load(&words[0]), load(&words[1])) };
        assert_eq!((a, b), (7, usize::MAX));
    }

    #[cfg(not(miri))]
    #[test]
    fn uninitialised_memory_may_be_read() {
        let word = std::mem::MaybeUninit::<usize>::uninit();
        // SAFETY: aligned and mapped, which is all that is asked.
        let value = unsafe { load(word.as_ptr()) };
        assert_eq!(value, value | (value & 1));
    }
}
