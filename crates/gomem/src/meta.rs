//! Memory for the heap's own records, apart from the memory that it hands out.
//!
//! Invariant: what is carved here is zeroed, never moves and is never unmapped while the operating system value lives; a slab's records keep their type
//! for good, free or not. So a pointer to a record may be stale but never dangling, and the tables may be read without locks.

use crate::env::{Os, Refused};
use std::alloc::Layout;
use std::ptr::{NonNull, with_exposed_provenance_mut};

/// Records that may start out as zero bytes.
///
/// # Safety
/// 1. All-zero bytes are a valid value.
/// 2. The value may be shared between threads: it consists of atomics, or is only used under a lock.
pub(crate) unsafe trait Zeroed {}

// SAFETY: an atomic.
unsafe impl Zeroed for crate::atomic::AtomicU8 {}
// SAFETY: an atomic, for which zero is null.
unsafe impl<T> Zeroed for crate::atomic::AtomicPtr<T> {}

/// Bytes asked of the system at a time.
const BLOCK: usize = 256 << 10;

/// Carves records from blocks of zeroed memory; gives nothing back.
pub(crate) struct Meta {
    next: usize,
    end: usize,
    /// Reserved address space for further blocks.
    reserved: usize,
    reserved_end: usize,
    total: usize,
}

impl Meta {
    pub(crate) const fn new() -> Meta {
        Meta {
            next: 0,
            end: 0,
            reserved: 0,
            reserved_end: 0,
            total: 0,
        }
    }

    /// Has it take its blocks from reserved address space, as long as that lasts: so what the heap can hand out of its own reservation does not hang on
    /// whether the system reserves any more.
    ///
    /// # Safety
    /// 1. The range was reserved from the `os` of the other methods, and is used for nothing else.
    /// 2. `start` and `bytes` are multiples of 256 KiB.
    pub(crate) unsafe fn lend(&mut self, start: NonNull<u8>, bytes: usize) {
        self.reserved = start.as_ptr().expose_provenance();
        self.reserved_end = self.reserved + bytes;
    }

    /// Address space for a block.
    fn reserve(&mut self, os: &impl Os, bytes: usize) -> Result<NonNull<u8>, Refused> {
        if bytes > self.reserved_end - self.reserved {
            return os.reserve(bytes, BLOCK);
        }
        NonNull::new(with_exposed_provenance_mut(self.reserved)).ok_or(Refused)
    }

    /// Bytes obtained from the system.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// A zeroed `T` that lives as long as `os`.
    pub(crate) fn carve<T: Zeroed>(&mut self, os: &impl Os) -> Result<NonNull<T>, Refused> {
        self.carve_bytes(os, Layout::new::<T>()).map(NonNull::cast)
    }

    /// `n` zeroed `T`s that live as long as `os`.
    pub(crate) fn carve_slice<T: Zeroed>(
        &mut self,
        n: usize,
        os: &impl Os,
    ) -> Result<NonNull<[T]>, Refused> {
        let layout = Layout::array::<T>(n).map_err(|_| Refused)?;
        let first = self.carve_bytes(os, layout)?.cast();
        Ok(NonNull::slice_from_raw_parts(first, n))
    }

    fn carve_bytes(&mut self, os: &impl Os, layout: Layout) -> Result<NonNull<u8>, Refused> {
        let start = self.next.next_multiple_of(layout.align());
        if start + layout.size() <= self.end {
            self.next = start + layout.size();
            return NonNull::new(with_exposed_provenance_mut(start)).ok_or(Refused);
        }
        let bytes = layout.size().next_multiple_of(BLOCK);
        let block = self.reserve(os, bytes)?;
        // SAFETY: reserved, and not used yet; `bytes` is a multiple of 256 KiB.
        unsafe { os.commit(block, bytes)? };
        self.total += bytes;
        let start = block.as_ptr().expose_provenance();
        if start == self.reserved {
            self.reserved += bytes;
        }
        if bytes - layout.size() > self.end - self.next {
            self.next = start + layout.size();
            self.end = start + bytes;
        }
        Ok(block)
    }
}

/// Records per block of a slab.
pub(crate) const SLAB_BLOCK: usize = 128;

/// Part of a slab, linked to the parts made before it.
#[repr(C)]
pub(crate) struct SlabBlock<T> {
    pub(crate) records: [T; SLAB_BLOCK],
    pub(crate) next: Option<NonNull<SlabBlock<T>>>,
}

// SAFETY: 1: records are by T's obligation, the link is None. 2: by T's; the link is written before the block is known.
unsafe impl<T: Zeroed> Zeroed for SlabBlock<T> {}

/// Hands out new records. Who gives one back keeps it in a list of its own.
pub(crate) struct Slab<T> {
    block: Option<NonNull<SlabBlock<T>>>,
    used: usize,
}

impl<T: Zeroed> Slab<T> {
    pub(crate) const fn new() -> Slab<T> {
        Slab {
            block: None,
            used: SLAB_BLOCK,
        }
    }

    /// The block filled last; the others are linked behind it.
    pub(crate) fn newest(&self) -> Option<NonNull<SlabBlock<T>>> {
        self.block
    }

    /// A zeroed record. Publishing a new block to readers without the lock is the caller's business.
    pub(crate) fn carve(&mut self, meta: &mut Meta, os: &impl Os) -> Result<NonNull<T>, Refused> {
        if self.used == SLAB_BLOCK {
            let mut block = meta.carve::<SlabBlock<T>>(os)?;
            // SAFETY: just carved, known to nobody else.
            unsafe { block.as_mut().next = self.block };
            self.block = Some(block);
            self.used = 0;
        }
        let block = self.block.ok_or(Refused)?;
        self.used += 1;
        // SAFETY: the index is below SLAB_BLOCK.
        Ok(unsafe {
            NonNull::new_unchecked(
                (&raw mut (*block.as_ptr()).records)
                    .cast::<T>()
                    .add(self.used - 1),
            )
        })
    }
}
