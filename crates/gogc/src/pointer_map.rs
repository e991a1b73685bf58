//! Which words of a value may hold collected pointers, as a table built at compile time.
//!
//! A map is a pattern of up to [`PRECISE_WORDS`] bits, one per word, and a number of times that the pattern
//! is repeated. That covers a struct (its bits, once), an array of any length (the element's bits, over and
//! over) and memory of which nothing is known (one set bit, over and over: every word may be a pointer) with
//! one representation.
//!
//! Invariant: every word that may hold a pointer has its bit set. The converse may fail: a layout that does
//! not fit the pattern is widened to every word, which costs the marker some checks and may keep an object
//! alive, never loses one.

use std::ops::Range;

use crate::word::{self, WORD};

/// The number of words that a pattern can tell apart.
pub const PRECISE_WORDS: usize = 256;

const CHUNKS: usize = PRECISE_WORDS / 64;

/// The words of a value that may hold collected pointers. Offsets are in bytes from the start of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointerMap {
    /// Bit `i % 64` of chunk `i / 64`: word `i` of the pattern may be a pointer. Bits from `period` on are
    /// clear.
    pattern: [u64; CHUNKS],
    /// Words from the start of one repetition to the next; 1 for the empty map.
    period: usize,
    /// Repetitions of the pattern; 0 for the empty map.
    count: usize,
}

impl PointerMap {
    /// No pointers at all.
    pub const EMPTY: PointerMap = PointerMap {
        pattern: [0; CHUNKS],
        period: 1,
        count: 0,
    };

    /// One word that is a pointer.
    pub const WORD: PointerMap = PointerMap::conservative(WORD);

    /// Every whole word of `size` bytes may be a pointer.
    #[must_use]
    pub const fn conservative(size: usize) -> PointerMap {
        if size < WORD {
            return PointerMap::EMPTY;
        }
        let mut pattern = [0; CHUNKS];
        pattern[0] = 1;
        PointerMap {
            pattern,
            period: 1,
            count: size / WORD,
        }
    }

    /// This map and, from `offset` on, that of a field of `size` bytes.
    ///
    /// # Panics
    /// If the field has pointers but `offset` is not a multiple of the word size, or if `map` reaches beyond
    /// `size`. In a constant this is a compile error.
    #[must_use]
    pub const fn with(self, offset: usize, map: PointerMap, size: usize) -> PointerMap {
        if map.is_empty() {
            return self;
        }
        assert!(
            offset.is_multiple_of(WORD),
            "a field with collected pointers must be aligned to a word: packed layouts cannot be collected"
        );
        assert!(
            map.extent() <= size,
            "the pointer map of a field is larger than the field"
        );
        if self.is_empty() && offset == 0 {
            return map;
        }
        let shift = offset / WORD;
        let end = max(self.extent() / WORD, shift + map.extent() / WORD);
        if end > PRECISE_WORDS {
            return PointerMap::conservative(end * WORD);
        }
        let mut pattern = [0; CHUNKS];
        let mut i = 0;
        while i < end {
            if self.covers(i) || (i >= shift && map.covers(i - shift)) {
                pattern[i / 64] |= 1 << (i % 64);
            }
            i += 1;
        }
        PointerMap {
            pattern,
            period: end,
            count: 1,
        }
    }

    /// The map of `n` values laid out `stride` bytes apart, each having this map.
    ///
    /// Callable at run time too: it is how an array whose length is known only then gets its map.
    ///
    /// # Panics
    /// If there are pointers but `stride` is not a multiple of the word size or smaller than the map.
    #[must_use]
    pub const fn repeat(self, n: usize, stride: usize) -> PointerMap {
        if self.is_empty() || n == 0 {
            return PointerMap::EMPTY;
        }
        if n == 1 {
            return self;
        }
        assert!(
            stride.is_multiple_of(WORD) && stride >= self.extent(),
            "elements with collected pointers must be whole words apart and not overlap"
        );
        let period = stride / WORD;
        if period > PRECISE_WORDS {
            return PointerMap::conservative((n - 1) * stride + self.extent());
        }
        let mut pattern = [0; CHUNKS];
        let mut i = 0;
        while i < period {
            if self.covers(i) {
                pattern[i / 64] |= 1 << (i % 64);
            }
            i += 1;
        }
        PointerMap {
            pattern,
            period,
            count: n,
        }
    }

    /// Whether no word may hold a pointer.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The offset just past the last word that may hold a pointer; 0 if there is none.
    #[must_use]
    pub const fn extent(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut chunk = CHUNKS;
        while chunk > 0 {
            chunk -= 1;
            if self.pattern[chunk] != 0 {
                let last = chunk * 64 + 63 - self.pattern[chunk].leading_zeros() as usize;
                return ((self.count - 1) * self.period + last + 1) * WORD;
            }
        }
        0
    }

    /// Whether word `index` of the value may hold a pointer.
    const fn covers(&self, index: usize) -> bool {
        if index >= self.count * self.period {
            return false;
        }
        let i = index % self.period;
        self.pattern[i / 64] >> (i % 64) & 1 == 1
    }

    /// The words as bits, if there are at most 64 of them: bit `i` for word `i`.
    #[must_use]
    pub const fn bits(&self) -> Option<u64> {
        if self.extent() > 64 * WORD {
            return None;
        }
        let mut bits = 0;
        let mut word = 0;
        while word * WORD < self.extent() {
            if self.covers(word) {
                bits |= 1 << word;
            }
            word += 1;
        }
        Some(bits)
    }

    /// Calls `f` with an offset and bits, for all words in `range` (bytes) that may hold a pointer: bit `i` stands for the word `i` words behind the offset. In
    /// ascending order.
    #[inline]
    pub fn for_each_mask(&self, range: Range<usize>, mut f: impl FnMut(usize, u64)) {
        let low = range.start.div_ceil(WORD);
        let high = (range.end / WORD).min(self.count * self.period);
        if self.period == 1 {
            for first in (low..high).step_by(64) {
                f(first * WORD, !from_bit(high - first));
            }
            return;
        }
        let mut origin = low - low % self.period;
        while origin < high {
            for (i, &chunk) in self.pattern.iter().enumerate() {
                let first = origin + i * 64;
                let mut bits = chunk & from_bit(low.saturating_sub(first));
                bits &= !from_bit(high.saturating_sub(first));
                if bits != 0 {
                    f(first * WORD, bits);
                }
            }
            origin += self.period;
        }
    }

    /// Calls `f` with the offset of each word in `range` (bytes) that may hold a pointer, in ascending order.
    #[inline]
    pub fn for_each_offset(&self, range: Range<usize>, mut f: impl FnMut(usize)) {
        self.for_each_mask(range, |offset, bits| {
            let mut rest = bits;
            while rest != 0 {
                f(offset + rest.trailing_zeros() as usize * WORD);
                rest &= rest - 1;
            }
        });
    }

    /// Calls `f` with the value of each word that may hold a pointer, of the `size` bytes at `base`.
    ///
    /// # Safety
    /// As for [`for_each_word_in`](Self::for_each_word_in) with the range `0..size`.
    #[inline]
    pub unsafe fn for_each_word(&self, base: *const u8, size: usize, f: impl FnMut(usize)) {
        // SAFETY: passed on.
        unsafe { self.for_each_word_in(base, 0..size, f) }
    }

    /// Calls `f` with the value of each word that may hold a pointer, of the bytes `range` from `base`.
    ///
    /// The words may be uninitialised and may be written by others meanwhile: what is passed to `f` is a
    /// guess, to be checked against the heap.
    ///
    /// # Safety
    /// 1. `base` is aligned to a word.
    /// 2. The bytes in `range` from `base` are mapped and readable.
    #[inline]
    pub unsafe fn for_each_word_in(
        &self,
        base: *const u8,
        range: Range<usize>,
        mut f: impl FnMut(usize),
    ) {
        self.for_each_offset(range, |offset| {
            // SAFETY: offsets are multiples of a word from an aligned base (1), and whole words inside the
            // range (2).
            f(unsafe { word::load(base.wrapping_add(offset).cast()) })
        });
    }
}

/// All bits from bit `n` upwards; none for `n >= 64`.
#[inline]
const fn from_bit(n: usize) -> u64 {
    if n >= 64 { 0 } else { !0 << n }
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offsets(map: &PointerMap, range: Range<usize>) -> Vec<usize> {
        let mut found = Vec::new();
        map.for_each_offset(range, |offset| found.push(offset));
        found
    }

    #[test]
    fn a_struct_with_a_nested_one() {
        const INNER: PointerMap =
            PointerMap::EMPTY
                .with(8, PointerMap::WORD, 8)
                .with(24, PointerMap::WORD, 8);
        const OUTER: PointerMap = PointerMap::EMPTY
            .with(0, PointerMap::WORD, 8)
            .with(3, PointerMap::EMPTY, 1)
            .with(16, INNER, 32);
        assert_eq!(offsets(&OUTER, 0..48), [0, 24, 40]);
        assert_eq!(offsets(&OUTER, 24..40), [24]);
        assert_eq!(OUTER.extent(), 48);
    }

    #[test]
    fn a_long_array_stays_precise() {
        let element = PointerMap::EMPTY.with(16, PointerMap::WORD, 8);
        let map = element.repeat(1000, 24);
        assert_eq!(map.extent(), 24_000);
        let expected: Vec<usize> = (0..1000).map(|i| i * 24 + 16).collect();
        assert_eq!(offsets(&map, 0..24_000), expected);
    }

    #[test]
    fn what_does_not_fit_becomes_every_word() {
        let far = PointerMap::EMPTY.with(0, PointerMap::WORD, 8).with(
            PRECISE_WORDS * WORD,
            PointerMap::WORD,
            8,
        );
        assert_eq!(offsets(&far, 0..usize::MAX).len(), PRECISE_WORDS + 1);
        let wide = PointerMap::EMPTY
            .with(8, PointerMap::WORD, 8)
            .repeat(3, 4096);
        assert_eq!(offsets(&wide, 0..usize::MAX).len(), 2 * 512 + 2);
    }

    #[test]
    fn too_small_for_a_word_is_empty() {
        assert!(PointerMap::conservative(7).is_empty());
        assert_eq!(PointerMap::conservative(23).extent(), 16);
    }

    #[test]
    #[should_panic(expected = "aligned to a word")]
    fn unaligned_pointers_are_refused() {
        let _ = PointerMap::EMPTY.with(4, PointerMap::WORD, 8);
    }

    /// A map beside the set of words that it stands for.
    #[derive(Clone, Debug)]
    struct Modelled {
        map: PointerMap,
        words: Vec<bool>,
    }

    impl Modelled {
        fn struct_of(fields: &[(usize, Modelled)]) -> Modelled {
            let mut all = Modelled {
                map: PointerMap::EMPTY,
                words: Vec::new(),
            };
            for (gap, field) in fields {
                let start = all.words.len() + gap;
                all.map = all
                    .map
                    .with(start * WORD, field.map, field.words.len() * WORD);
                all.words.resize(start, false);
                all.words.extend(&field.words);
            }
            all
        }

        fn array(&self, n: usize) -> Modelled {
            Modelled {
                map: self.map.repeat(n, self.words.len() * WORD),
                words: self.words.repeat(n),
            }
        }
    }

    fn modelled() -> impl Strategy<Value = Modelled> {
        let leaf = prop_oneof![
            Just(Modelled {
                map: PointerMap::WORD,
                words: vec![true]
            }),
            (1usize..4).prop_map(|n| Modelled {
                map: PointerMap::EMPTY,
                words: vec![false; n]
            }),
            (1usize..20).prop_map(|n| Modelled {
                map: PointerMap::conservative(n * WORD),
                words: vec![true; n]
            }),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec((0usize..3, inner.clone()), 1..5)
                    .prop_map(|fields| Modelled::struct_of(&fields)),
                (inner, 1usize..40).prop_map(|(element, n)| element.array(n)),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 128 }))]

        #[test]
        fn every_pointer_is_covered_and_small_maps_are_exact(
            value in modelled(), low in 0usize..600, len in 0usize..600
        ) {
            let size = value.words.len() * WORD;
            let found = offsets(&value.map, 0..size);
            let exact: Vec<usize> =
                (0..value.words.len()).filter(|&i| value.words[i]).map(|i| i * WORD).collect();
            if value.words.len() <= PRECISE_WORDS {
                prop_assert_eq!(&found, &exact);
            } else {
                prop_assert!(exact.iter().all(|offset| found.binary_search(offset).is_ok()));
                prop_assert!(found.iter().all(|&offset| offset + WORD <= size));
            }
            match value.map.bits() {
                Some(bits) => {
                    let set: Vec<usize> = (0..64).filter(|i| bits >> i & 1 == 1).map(|i| i * WORD).collect();
                    prop_assert_eq!(&set, &found);
                }
                None => prop_assert!(value.map.extent() > 64 * WORD),
            }
            let part = offsets(&value.map, low..low + len);
            let expected: Vec<usize> = found
                .into_iter()
                .filter(|&offset| offset >= low && offset + WORD <= low + len)
                .collect();
            prop_assert_eq!(part, expected);
        }
    }
}
