//! The dynamic thread vector: where each loaded object has its thread-locals in one block.
//!
//! ```text
//!   ┌────────┬────────────┬──────────┬──────────┬─────
//!   │ length │ generation │ object 1 │ object 2 │ ...
//!   └────────┴────────────┴──────────┴──────────┴─────
//!            ▲ what the descriptor points to
//! ```
//!
//! The dynamic loader makes it, on the heap of the libc, for the block that it is told; it makes it longer when an object is
//! opened whose number is beyond its end, and then puts it elsewhere. So one may be moved to another block and cut to the objects that
//! there are, as long as entries and length say the truth.

use core::ffi::c_void;
use core::mem::size_of;
use core::ops::Range;
use core::ptr::null_mut;

/// An object's entry before its first use (`TLS_DTV_UNALLOCATED`).
const UNALLOCATED: usize = usize::MAX;

#[repr(C)]
struct Entry {
    value: usize,
    /// What is to be freed with it: null for static thread-locals.
    allocation: *mut c_void,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// A vector, as the descriptor has it.
#[derive(Clone, Copy)]
pub(super) struct Vector(*mut Entry);

impl Vector {
    /// The one that a descriptor has at `place`.
    ///
    /// # Safety
    ///
    /// 1. A vector was put there, and nothing runs in its block while the value is used.
    pub(super) unsafe fn at(place: *mut u8) -> Self {
        // SAFETY: the obligation.
        Self(unsafe { place.cast::<*mut Entry>().read() })
    }

    /// Puts it into the descriptor of its block.
    ///
    /// # Safety
    ///
    /// 1. `place` is where that descriptor has its vector.
    pub(super) unsafe fn install(self, place: *mut u8) {
        // SAFETY: the obligation.
        unsafe { place.cast::<*mut Entry>().write(self.0) };
    }

    fn len(&mut self) -> &mut usize {
        // SAFETY: by the obligation of `at`; the entry before the first holds the length.
        unsafe { &mut (*self.0.sub(1)).value }
    }

    /// The entries of objects: number 1 comes first.
    fn entries(&mut self) -> &mut [Entry] {
        let len = *self.len();
        // SAFETY: by the obligation of `at`; the first entry is the generation.
        unsafe { core::slice::from_raw_parts_mut(self.0.add(1), len) }
    }

    /// Is now of a block that lies `by` bytes further on than the one with these addresses, and has what that had from `kept` on. The rest has not been used yet.
    pub(super) fn relocate(&mut self, block: &Range<usize>, kept: usize, by: isize) {
        for entry in self.entries() {
            if block.contains(&entry.value) {
                entry.value = match entry.value < kept {
                    true => UNALLOCATED,
                    false => entry.value.wrapping_add_signed(by),
                };
            }
        }
    }

    /// Cuts it behind the last object, for the loader leaves room for fourteen more. The same vector if the libc refuses.
    pub(super) fn shrink(mut self) -> Self {
        let used = |entry: &Entry| entry.value != 0 || !entry.allocation.is_null();
        let Some(last) = self.entries().iter().rposition(used) else {
            return self;
        };
        let (len, bytes) = (last + 1, (last + 3) * size_of::<Entry>());
        // SAFETY: the loader allocated it by the libc's allocator, from the length on.
        let smaller = unsafe { libc::realloc(self.0.sub(1).cast(), bytes) };
        if !smaller.is_null() {
            // SAFETY: it begins with the length, as before.
            self = Self(unsafe { smaller.cast::<Entry>().add(1) });
            *self.len() = len;
        }
        self
    }

    /// Frees what was allocated on first use.
    pub(super) fn reset(&mut self) {
        for entry in self.entries() {
            if !entry.allocation.is_null() {
                // SAFETY: the loader allocated it by the libc's allocator, and the entry is forgotten.
                unsafe { libc::free(entry.allocation) };
                *entry = Entry {
                    value: UNALLOCATED,
                    allocation: null_mut(),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the loader makes them.
    fn vector(len: usize, values: &[usize]) -> Vector {
        // SAFETY: room for length, generation and entries, all zero.
        unsafe {
            let first = libc::calloc(len + 2, size_of::<Entry>()).cast::<Entry>();
            (*first).value = len;
            (*first.add(1)).value = 77;
            for (index, &value) in values.iter().enumerate() {
                (*first.add(2 + index)).value = value;
            }
            Vector(first.add(1))
        }
    }

    fn values(vector: &mut Vector) -> Vec<usize> {
        vector.entries().iter().map(|entry| entry.value).collect()
    }

    #[test]
    fn one_is_moved_with_its_block_and_cut_behind_the_last_object() {
        let mut cut = vector(16, &[1000, 1200, 0, UNALLOCATED, 1999, 2000]);
        cut.relocate(&(1000..2000), 1200, -500);
        let mut cut = cut.shrink();
        let expected = [UNALLOCATED, 700, 0, UNALLOCATED, 1499, 2000];
        assert_eq!(values(&mut cut), expected);
        // SAFETY: the generation is before the entries; the vector is freed as the loader frees it.
        unsafe {
            assert_eq!((*cut.0).value, 77);
            libc::free(cut.0.sub(1).cast());
        }
    }

    #[test]
    fn what_was_allocated_on_first_use_is_freed_and_forgotten() {
        let mut used = vector(2, &[1000, 0]);
        used.entries()[1] = Entry {
            value: 5,
            // SAFETY: an allocation of the libc.
            allocation: unsafe { libc::malloc(10) },
        };
        used.reset();
        assert_eq!(values(&mut used), [1000, UNALLOCATED]);
        assert!(used.entries()[1].allocation.is_null());
        // SAFETY: as the loader frees it.
        unsafe { libc::free(used.0.sub(1).cast()) };
    }
}
