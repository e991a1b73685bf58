//! Size classes: the 67 sizes in which small objects come, and class 0, which stands for a span of one large object.
//!
//! Invariant: a size of 128 bytes and more is rounded up to the next class at a loss of about an eighth, and never of a sixth
//! (`cargo xtask lesson classes`); and a span of a class loses at most an eighth of its pages to the tail. Every power of two from 8 to 32 KiB is a class, so each alignment up to a page is met by a class whose size is a
//! multiple of it.
//!
//! The classes are computed here from the rules of Go's `mksizeclasses.go`; Go's printed table is the test.

use crate::page::{MAX_BLOCKS, PAGE_SHIFT, PAGE_SIZE};

/// The number of classes, with class 0.
pub(crate) const CLASSES: usize = 68;
/// The largest size that has a class: 32 KiB. Larger objects get a span of their own.
pub const SMALL_MAX: usize = 32 << 10;

#[derive(Clone, Copy)]
struct Entry {
    size: u32,
    /// For a block of the class, `offset * reciprocal >> 32` is `offset / size` (Lemire, Kaser and Kurz, arXiv:1902.01961).
    reciprocal: u32,
    pages: u8,
}

/// A size class from 1 to 67.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct SizeClass(u8);

impl SizeClass {
    /// The smallest class for `size`.
    ///
    /// Zero gets the smallest block.
    ///
    /// # Panics
    /// If `size` is more than [`SMALL_MAX`]; where the caller has compared, the check is compiled away.
    #[inline(always)]
    pub(crate) fn of(size: usize) -> SizeClass {
        SizeClass(CLASS_OF[size.div_ceil(8)])
    }

    /// The index of the smallest class for `size`, at compile time, too.
    pub(crate) const fn index_of(size: usize) -> usize {
        CLASS_OF_WORDS[size.div_ceil(8)] as usize
    }

    /// The smallest class for `size` whose blocks are aligned to 16; otherwise as [`of`](Self::of).
    #[inline(always)]
    pub(crate) fn of_aligned_16(size: usize) -> SizeClass {
        SizeClass(CLASS_OF_16[size.div_ceil(16)])
    }

    /// The smallest class for `size` whose blocks are aligned to `align`, a power of two; `None` if that takes pages of its own.
    #[inline]
    pub(crate) fn aligned(size: usize, align: usize) -> Option<SizeClass> {
        if size > SMALL_MAX || align > PAGE_SIZE {
            return None;
        }
        if align <= 16 {
            return Some(match align {
                16 => Self::of_aligned_16(size),
                _ => Self::of(size),
            });
        }
        let rounded = (size + align - 1) & !(align - 1);
        if rounded > SMALL_MAX {
            return None;
        }
        let mut class = Self::of(rounded);
        while class.size() & (align - 1) != 0 {
            class.0 += 1;
        }
        Some(class)
    }

    /// All classes, ascending.
    pub(crate) fn all() -> impl Iterator<Item = SizeClass> {
        (1..CLASSES as u8).map(SizeClass)
    }

    #[inline(always)]
    pub(crate) fn index(self) -> usize {
        // SAFETY: every constructor takes the index from a table of classes or from `index`.
        unsafe { std::hint::assert_unchecked((self.0 as usize) < CLASSES) };
        self.0 as usize
    }

    /// The class with this index.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn from_index(index: usize) -> SizeClass {
        assert!((1..CLASSES).contains(&index));
        SizeClass(index as u8)
    }

    /// The class with this index, which is that of one or 0.
    #[inline(always)]
    pub(crate) fn from_nonzero(index: u8) -> Option<SizeClass> {
        debug_assert!((index as usize) < CLASSES);
        (index != 0).then_some(SizeClass(index))
    }

    /// The block that byte `offset` of a span of one page falls into, if it is one.
    #[inline(always)]
    pub(crate) fn index_in_page(self, offset: usize) -> Option<u32> {
        let OnePage { reciprocal, count } = ONE_PAGE[self.index()];
        let index = ((offset as u64 * u64::from(reciprocal)) >> 32) as u32;
        (index < count).then_some(index)
    }

    #[inline(always)]
    fn entry(self) -> Entry {
        TABLE[self.index()]
    }

    /// Bytes in a block of the class with this index.
    #[inline(always)]
    pub(crate) const fn size_at(index: usize) -> usize {
        ENTRIES[index].size as usize
    }

    /// Bytes in a block.
    #[inline]
    pub(crate) fn size(self) -> usize {
        self.entry().size as usize
    }

    /// Pages in a span.
    pub(crate) fn pages(self) -> u32 {
        self.entry().pages as u32
    }

    /// Pages in a span for `malloc`: two where one would do and two hold no more blocks than a span can have. A span's record
    /// then weighs half as much.
    pub(crate) fn malloc_pages(self) -> u32 {
        let one = self.pages() == 1;
        if one && self.size() * MAX_BLOCKS as usize >= 2 * PAGE_SIZE {
            2
        } else {
            self.pages()
        }
    }

    /// See `Entry::reciprocal`.
    pub(crate) fn reciprocal(self) -> u32 {
        self.entry().reciprocal
    }
}

const ENTRIES: [Entry; CLASSES] = entries();
static TABLE: [Entry; CLASSES] = ENTRIES;

/// What it takes to find a block in a span of one page.
#[derive(Clone, Copy)]
struct OnePage {
    reciprocal: u32,
    count: u32,
}
static ONE_PAGE: [OnePage; CLASSES] = {
    let none = OnePage {
        reciprocal: 0,
        count: 0,
    };
    let mut table = [none; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        let Entry {
            size, reciprocal, ..
        } = ENTRIES[class];
        let count = PAGE_SIZE as u32 / size;
        let most = MAX_BLOCKS;
        table[class] = OnePage {
            reciprocal,
            count: if count < most { count } else { most },
        };
        class += 1;
    }
    table
};
/// The class by the size in words, rounded up.
static CLASS_OF: [u8; SMALL_MAX / 8 + 1] = CLASS_OF_WORDS;
const CLASS_OF_WORDS: [u8; SMALL_MAX / 8 + 1] = class_of();
/// The same for sizes in pairs of words: classes of such sizes are aligned to 16.
static CLASS_OF_16: [u8; SMALL_MAX / 16 + 1] = {
    let all = class_of();
    let mut classes = [all[2]; SMALL_MAX / 16 + 1];
    let mut pairs = 1;
    while pairs < classes.len() {
        classes[pairs] = all[2 * pairs];
        pairs += 1;
    }
    classes
};

const fn entries() -> [Entry; CLASSES] {
    let zero = Entry {
        size: 0,
        reciprocal: 0,
        pages: 0,
    };
    let mut sizes = [0usize; CLASSES];
    let mut pages = [0usize; CLASSES];
    let mut classes = 1;
    let mut step = 8;
    let mut size = 8;
    while size <= SMALL_MAX {
        if size.is_power_of_two() {
            if size >= 2048 {
                step = 256;
            } else if size >= 128 {
                step = size / 8;
            } else if size >= 32 {
                step = 16;
            }
        }
        // As few pages as waste no more than an eighth.
        let mut n = 1;
        while (n * PAGE_SIZE) % size > n * PAGE_SIZE / 8 {
            n += 1;
        }
        let before = classes - 1;
        if before > 0 && pages[before] == n && n * PAGE_SIZE / sizes[before] == n * PAGE_SIZE / size
        {
            // The previous class holds no more blocks in the same pages: this one serves both.
            sizes[before] = size;
        } else {
            sizes[classes] = size;
            pages[classes] = n;
            classes += 1;
        }
        size += step;
    }
    assert!(classes == CLASSES);

    let mut table = [zero; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        // Spread the tail over the blocks, as far as the table of sizes can tell them apart.
        let bytes = pages[class] << PAGE_SHIFT;
        let spread = bytes / (bytes / sizes[class]) / 128 * 128;
        let size = if spread > sizes[class] {
            spread
        } else {
            sizes[class]
        };
        table[class] = Entry {
            size: size as u32,
            reciprocal: u32::MAX / size as u32 + 1,
            pages: pages[class] as u8,
        };
        class += 1;
    }
    table
}

const fn class_of() -> [u8; SMALL_MAX / 8 + 1] {
    let table = ENTRIES;
    let mut classes = [1; SMALL_MAX / 8 + 1];
    let mut class = 1;
    let mut words = 1;
    while words < classes.len() {
        if words * 8 > table[class].size as usize {
            class += 1;
        }
        classes[words] = class as u8;
        words += 1;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Go's `sizeclasses.go`.
    const GO_SIZES: [usize; CLASSES] = [
        0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288,
        320, 352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536,
        1792, 2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192,
        9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576,
        27264, 28672, 32768,
    ];
    const GO_PAGES: [u32; CLASSES] = [
        0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 2, 1, 2, 1, 2, 1, 3, 2, 3, 1, 3, 2, 3, 4, 5, 6, 1, 7, 6, 5, 4, 3, 5, 7, 2,
        9, 7, 5, 8, 3, 10, 7, 4,
    ];

    #[test]
    fn agrees_with_go() {
        for class in SizeClass::all() {
            assert_eq!(class.size(), GO_SIZES[class.index()]);
            assert_eq!(class.pages(), GO_PAGES[class.index()]);
        }
    }

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        for size in 0..=SMALL_MAX {
            let class = SizeClass::of(size);
            assert!(class.size() >= size);
            assert!(class.index() == 1 || SizeClass::from_index(class.index() - 1).size() < size);
        }
    }

    #[test]
    fn sizes_of_pairs_get_the_smallest_aligned_classes() {
        for size in 0..=SMALL_MAX {
            let class = SizeClass::of_aligned_16(size);
            let fits = |class: &SizeClass| class.size() >= size && class.size().is_multiple_of(16);
            assert_eq!(SizeClass::all().find(fits), Some(class), "{size}");
        }
    }

    #[test]
    fn wastes_at_most_an_eighth_of_a_span() {
        for class in SizeClass::all() {
            let span = class.pages() as usize * PAGE_SIZE;
            let tail = span % class.size();
            assert!(tail * 8 <= span, "{class:?}");
        }
    }

    #[test]
    fn alignments_are_met() {
        for shift in 0..=PAGE_SHIFT {
            let align = 1 << shift;
            for size in (1..=SMALL_MAX).step_by(if cfg!(miri) { 997 } else { 7 }) {
                let class = SizeClass::aligned(size, align).unwrap();
                assert!(class.size() >= size && class.size().is_multiple_of(align));
            }
        }
        assert_eq!(SizeClass::aligned(8, 2 * PAGE_SIZE), None);
        assert_eq!(SizeClass::aligned(SMALL_MAX + 1, 1), None);
    }

    #[test]
    fn reciprocal_divides_every_offset_of_a_span() {
        for class in SizeClass::all() {
            let step = if cfg!(miri) { 991 } else { 1 };
            for offset in (0..class.malloc_pages() as usize * PAGE_SIZE).step_by(step) {
                let quotient = (offset as u64 * class.reciprocal() as u64) >> 32;
                assert_eq!(
                    quotient as usize,
                    offset / class.size(),
                    "{class:?} {offset}"
                );
            }
        }
    }
}
