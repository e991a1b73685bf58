//! Pages and arenas: the units that the heap deals in.
//!
//! Pages are numbered through all arenas. The numbers of an arena's pages are consecutive, and so are those of arenas that
//! follow one another in memory; between others a number is left out. Hence the invariant that the page allocator builds on:
//! consecutive free pages are contiguous memory.

/// log2 of the bytes in a page, as in Go.
pub(crate) const PAGE_SHIFT: u32 = 13;
/// Bytes in a page of the heap: 8 KiB.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

/// log2 of the bytes in an arena.
pub(crate) const ARENA_SHIFT: u32 = 26;
/// Bytes in an arena, the unit in which the heap grows: 64 MiB, as in Go.
pub const ARENA_SIZE: usize = 1 << ARENA_SHIFT;
/// log2 of the pages in an arena.
pub(crate) const ARENA_PAGES_SHIFT: u32 = ARENA_SHIFT - PAGE_SHIFT;
pub(crate) const ARENA_PAGES: usize = 1 << ARENA_PAGES_SHIFT;
/// Pages of the heap in a huge page of the processor: 2 MiB.
pub(crate) const HUGE_PAGES: usize = (2 << 20) / PAGE_SIZE;
/// How many arenas there can be: 4 TiB of heap.
pub(crate) const MAX_ARENAS: usize = 1 << 16;

/// The most blocks that a span can have: as many as the bitmaps of its record have bits.
pub(crate) const MAX_BLOCKS: u32 = 512;

/// The number of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageId(pub(crate) u32);

impl PageId {
    /// The first page of the arena `number`.
    pub(crate) const fn of_arena(number: u32) -> PageId {
        PageId(number << ARENA_PAGES_SHIFT)
    }

    pub(crate) const fn arena(self) -> u32 {
        self.0 >> ARENA_PAGES_SHIFT
    }

    pub(crate) const fn index_in_arena(self) -> usize {
        self.0 as usize & (ARENA_PAGES - 1)
    }

    pub(crate) const fn plus(self, pages: PageCount) -> PageId {
        PageId(self.0 + pages.0)
    }
}

/// A number of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageCount(pub(crate) u32);

impl PageCount {
    /// As many as hold `bytes`, at least one; `None` if that is more than a heap can have.
    pub(crate) const fn holding(bytes: usize) -> Option<PageCount> {
        let pages = if bytes == 0 {
            1
        } else {
            bytes.div_ceil(PAGE_SIZE)
        };
        if pages <= MAX_ARENAS * ARENA_PAGES / 2 {
            Some(PageCount(pages as u32))
        } else {
            None
        }
    }

    pub(crate) const fn bytes(self) -> usize {
        (self.0 as usize) << PAGE_SHIFT
    }

    pub(crate) const fn arenas(self) -> u32 {
        self.0.div_ceil(ARENA_PAGES as u32)
    }
}
