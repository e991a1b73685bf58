//! Memory from the system that is no root: for tables whose numbers look like pointers, and must not keep anything alive.

use crate::atomic::AtomicU64;
use std::marker::PhantomData;
use std::ptr::null_mut;

/// A mapping, zeroed, unmapped when dropped.
#[derive(Debug, Default)]
pub struct Memory {
    start: usize,
    bytes: usize,
}

impl Memory {
    /// So many bytes, rounded up to whole words. `None` if the system refuses.
    pub fn new(bytes: usize) -> Option<Memory> {
        if bytes == 0 {
            return Some(Memory::default());
        }
        let (rw, private) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a fresh private mapping; touches nothing that exists.
        let at = unsafe { libc::mmap(null_mut(), bytes, rw, private, -1, 0) };
        (at != libc::MAP_FAILED).then(|| Memory {
            start: at.expose_provenance(),
            bytes,
        })
    }

    /// Its words.
    pub fn words(&self) -> &[AtomicU64] {
        if self.bytes == 0 {
            return &[];
        }
        let start = std::ptr::with_exposed_provenance::<AtomicU64>(self.start);
        // SAFETY: a mapping of this size, zeroed when it was made, that lives as long as `self`; a mapping's last page is whole.
        unsafe { std::slice::from_raw_parts(start, self.bytes.div_ceil(8)) }
    }
}

impl Memory {
    /// Gives its pages back; they are zero when they are next read, but for words that somebody writes meanwhile.
    pub fn discard(&self) {
        if self.bytes != 0 {
            let start = std::ptr::with_exposed_provenance_mut(self.start);
            // SAFETY: mapped by `new`, and its words are atomic, so they may change at any time. A refusal leaves them as they are.
            unsafe { libc::madvise(start, self.bytes, libc::MADV_DONTNEED) };
        }
    }
}

/// A growing array in memory that is no root, of values that may be zero.
pub struct Table<T> {
    memory: Memory,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Copy> Table<T> {
    /// Empty, and without memory.
    pub fn new() -> Table<T> {
        Table {
            memory: Memory::default(),
            len: 0,
            of: PhantomData,
        }
    }

    /// So many zeros. `None` if the system refuses.
    ///
    /// # Safety
    /// 1. A `T` of zeros is valid.
    pub unsafe fn zeroed(len: usize) -> Option<Table<T>> {
        Some(Table {
            memory: Memory::new(len * size_of::<T>())?,
            len,
            of: PhantomData,
        })
    }

    fn start(&self) -> *mut T {
        const { assert!(align_of::<T>() <= 4096 && size_of::<T>() != 0) }
        if self.memory.bytes == 0 {
            return std::ptr::dangling_mut();
        }
        std::ptr::with_exposed_provenance_mut(self.memory.start)
    }

    /// Adds a value at the end. False if the system refuses memory: then nothing was added.
    #[must_use]
    pub fn push(&mut self, value: T) -> bool {
        if (self.len + 1) * size_of::<T>() > self.memory.bytes && !self.grow() {
            return false;
        }
        // SAFETY: there is room for it, which is this value's own.
        unsafe { self.start().add(self.len).write(value) };
        self.len += 1;
        true
    }

    #[cold]
    fn grow(&mut self) -> bool {
        const FIRST: usize = 64 << 10;
        let Some(memory) = Memory::new((2 * self.memory.bytes).max(FIRST)) else {
            return false;
        };
        let larger: Table<T> = Table {
            memory,
            len: self.len,
            of: PhantomData,
        };
        // SAFETY: two mappings, of which the new one is larger; `len` values are initialised.
        unsafe {
            larger
                .start()
                .copy_from_nonoverlapping(self.start(), self.len)
        };
        *self = larger;
        true
    }
}

impl<T: Copy> std::ops::Deref for Table<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` values are initialised.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }
}

impl<T: Copy> std::ops::DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and they are this value's own.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.bytes != 0 {
            // SAFETY: mapped by `new`, and nobody uses it any more.
            unsafe {
                libc::munmap(
                    std::ptr::with_exposed_provenance_mut(self.start),
                    self.bytes,
                )
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_what_was_pushed_as_it_grows() {
        let mut table = Table::new();
        assert!(table.is_empty());
        for n in 0..100_000u64 {
            assert!(table.push((n, !n)));
        }
        assert!((0..100_000).all(|n| table[n as usize] == (n, !n)));
        // SAFETY: numbers.
        let mut zeros = unsafe { Table::<u32>::zeroed(5000) }.unwrap();
        assert_eq!(zeros.len(), 5000);
        zeros[4999] = 1;
        assert_eq!(zeros.iter().sum::<u32>(), 1);
    }
}
