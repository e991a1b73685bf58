//! Sorts of collected objects: what those have in common that lie in one span.
//!
//! An object of a *kind* begins with whatever its embedder needs to know of it. One of a *sort* begins with nothing: what is to be known is the same for
//! all objects of its span, and is kept there, as a tag that means something to the embedder alone (which words are pointers, say). So the object is
//! smaller, allocating it writes nothing, and who scans a span looks the tag up once.
//!
//! Invariant: objects in one span have one class, one kind and one tag. There is a central list for each sort in use, up to [`TAGS`]; an object of
//! a sort that comes later gets the tag 0, which embedders give a meaning that is true of every object.

use crate::atomic::{AtomicU64, Ordering::*};
use crate::size_class::{SMALL_MAX, SizeClass};
use crate::span::Kind;

/// What the collector has to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CollectedKind {
    /// Holds pointers to collected objects. Handed out zeroed.
    Scan,
    /// Holds none. Not zeroed.
    NoScan,
    /// Needs something done before its memory is freed ([`Heap::for_each_unmarked_finalizable`](crate::Heap::for_each_unmarked_finalizable)); may hold
    /// pointers. Handed out zeroed.
    Finalizable,
    /// Is of a [`Sort`]. Not zeroed. Allocated as a kind, it has the tag 0.
    Tagged,
}

impl CollectedKind {
    #[inline(always)]
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn span_kind(self) -> Kind {
        match self {
            CollectedKind::Scan => Kind::Scan,
            CollectedKind::NoScan => Kind::NoScan,
            CollectedKind::Finalizable => Kind::Finalizable,
            CollectedKind::Tagged => Kind::Tagged,
        }
    }

    /// Whether objects are handed out zeroed.
    pub(crate) fn is_zeroed(self) -> bool {
        matches!(self, CollectedKind::Scan | CollectedKind::Finalizable)
    }
}

/// Bits in a tag.
const TAG_BITS: u32 = 56;

/// How many sorts there are central lists for. A program has tens of layouts of small objects, rarely hundreds.
pub(crate) const TAGS: usize = if cfg!(any(miri, explore)) { 8 } else { 512 };

/// How many sorts a cache has room for.
pub(crate) const CACHED: usize = if cfg!(any(miri, explore)) { 8 } else { 128 };

/// A size and a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort(
    /// The tag below, the class above. Never 0, for no small object has class 0.
    u64,
);

impl Sort {
    /// Objects of at least `size` bytes, aligned to 8 and if `size` is a multiple of 16 to 16, of which `tag` is to be known.
    ///
    /// # Panics
    /// If `size` is more than [`SMALL_MAX`], or `tag` takes more than 56 bits.
    #[inline]
    pub const fn new(size: usize, tag: u64) -> Sort {
        assert!(size <= SMALL_MAX, "objects this large have no sorts");
        assert!(tag >> TAG_BITS == 0, "a tag has 56 bits");
        let class = SizeClass::index_of(if size < 16 { 16 } else { size });
        Sort(tag | (class as u64) << TAG_BITS)
    }

    /// Bytes in an object.
    #[inline]
    pub const fn size(self) -> usize {
        SizeClass::size_at(self.class_index())
    }

    const fn class_index(self) -> usize {
        (self.0 >> TAG_BITS) as usize
    }

    #[inline(always)]
    pub(crate) fn class(self) -> SizeClass {
        SizeClass::from_index(self.class_index())
    }

    #[inline(always)]
    pub(crate) const fn key(self) -> u64 {
        self.0
    }

    pub(crate) const fn tag(self) -> u64 {
        self.0 & ((1 << TAG_BITS) - 1)
    }

    /// A number below `n`, a power of two, that is rarely the same for two sorts (Fibonacci hashing: Knuth, *TAOCP* 3, 6.4).
    #[inline(always)]
    pub(crate) const fn place(self, n: usize) -> usize {
        (self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & (n - 1)
    }
}

/// Which sorts have central lists.
pub(crate) struct Tags([AtomicU64; TAGS]);

impl Tags {
    pub(crate) const fn new() -> Tags {
        Tags([const { AtomicU64::new(0) }; TAGS])
    }

    /// The number of the sort, which it gets now if there is one left. A sort keeps its number.
    pub(crate) fn number(&self, sort: Sort) -> Option<usize> {
        let first = sort.place(TAGS);
        for number in (first..TAGS).chain(0..first) {
            let found = match self.0[number].load(Relaxed) {
                0 => {
                    let entry = &self.0[number];
                    match entry.compare_exchange(0, sort.key(), Relaxed, Relaxed) {
                        Ok(_) => sort.key(),
                        Err(other) => other,
                    }
                }
                key => key,
            };
            if found == sort.key() {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sort_knows_its_size_and_tag() {
        for (size, tag) in [(0, 0), (24, 0b011), (1024, (1 << 56) - 1), (SMALL_MAX, 7)] {
            let sort = Sort::new(size, tag);
            assert_eq!(sort.tag(), tag);
            assert!(sort.size() >= size.max(16));
            assert_eq!(sort.size(), sort.class().size());
        }
    }

    #[test]
    fn sorts_are_numbered_until_numbers_run_out() {
        let tags = Tags::new();
        let sorts = (1..=TAGS as u64).map(|tag| Sort::new(16, tag));
        let numbers: Vec<_> = sorts.clone().map(|sort| tags.number(sort)).collect();
        let mut sorted: Vec<_> = numbers.iter().copied().flatten().collect();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..TAGS).collect::<Vec<_>>());
        assert_eq!(tags.number(Sort::new(32, 1)), None);
        for (sort, number) in sorts.zip(numbers) {
            assert_eq!(tags.number(sort), number, "a number changed");
        }
    }
}
