//! What a program may ask of its heap, and what it may ask it to do.
//!
//! The figures have names from the C library's allocator, which is built otherwise. What has no counterpart here is zero; the sums that programs
//! make of them hold: `arena` is `uordblks` and `fordblks` together.

use gomem::heap;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

/// `malloc_usable_size(3)`.
///
/// # Safety
/// 1. `block` is null or a live block of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    NonNull::new(block).map_or(0, |block| heap().usable_size(block.cast()))
}

/// `malloc_trim(3)`: gives all free memory back to the system. 1 if there was any. Nothing is kept for later, whatever `pad` says.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(_pad: usize) -> c_int {
    c_int::from(heap().release_all() > 0)
}

/// `mallopt(3)`: every parameter is accepted, none has an effect. They are about arenas, bins and `mmap` thresholds, which are not here.
#[unsafe(no_mangle)]
pub extern "C" fn mallopt(_parameter: c_int, _value: c_int) -> c_int {
    1
}

/// How much memory the heap has of the system, and what of it is in use.
pub(crate) struct Figures {
    /// Address space that was obtained and not only reserved.
    pub(crate) obtained: usize,
    /// That which has, or may have, physical memory.
    pub(crate) mapped: usize,
    /// The part of `mapped` that the program's blocks take.
    pub(crate) used: usize,
    /// The part of `mapped` that `malloc_trim` would give back.
    pub(crate) idle: usize,
    /// The blocks by size class, the large ones first.
    pub(crate) by_size: gomem::BySize,
}

impl Figures {
    pub(crate) fn now() -> Figures {
        let (stats, by_size) = (heap().stats(), heap().stats_by_size());
        let mapped = stats.heap_sys.saturating_sub(stats.heap_released);
        Figures {
            obtained: stats.heap_sys,
            mapped,
            // Read at different moments where other threads allocate meanwhile.
            used: stats.heap_alloc.min(mapped),
            idle: stats.heap_idle.saturating_sub(stats.heap_released),
            by_size,
        }
    }

    /// Large blocks, and their bytes. They are to this heap what blocks with a mapping of their own are to the C library's.
    pub(crate) fn large(&self) -> (usize, usize) {
        let large = &self.by_size[0];
        (large.live as usize, large.live_bytes.min(self.used))
    }

    /// Free blocks of the size classes.
    pub(crate) fn free_blocks(&self) -> usize {
        let blocks = self.by_size[1..].iter();
        blocks
            .map(|class| (class.free + class.cached) as usize)
            .sum()
    }
}

/// `mallinfo2(3)`. What a program has allocated is `uordblks` and `hblkhd` together, as in the C library; exact where no other thread allocates meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo2() -> libc::mallinfo2 {
    let figures = Figures::now();
    let (large, large_bytes) = figures.large();
    let (arena, used) = (figures.mapped - large_bytes, figures.used - large_bytes);
    libc::mallinfo2 {
        arena,
        ordblks: figures.free_blocks(),
        smblks: 0,
        hblks: large,
        hblkhd: large_bytes,
        usmblks: 0,
        fsmblks: 0,
        uordblks: used,
        fordblks: arena - used,
        keepcost: figures.idle,
    }
}

/// `mallinfo(3)`: the same in fields that are too narrow; what does not fit is the most that does.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo() -> libc::mallinfo {
    let wide = mallinfo2();
    let narrow = |figure: usize| c_int::try_from(figure).unwrap_or(c_int::MAX);
    libc::mallinfo {
        arena: narrow(wide.arena),
        ordblks: narrow(wide.ordblks),
        smblks: narrow(wide.smblks),
        hblks: narrow(wide.hblks),
        hblkhd: narrow(wide.hblkhd),
        usmblks: narrow(wide.usmblks),
        fsmblks: narrow(wide.fsmblks),
        uordblks: narrow(wide.uordblks),
        fordblks: narrow(wide.fordblks),
        keepcost: narrow(wide.keepcost),
    }
}
