//! A set of Ps by number, that is put into and taken from without a lock: a bit for each.
//!
//! Every operation on a bit is one read-modify-write of its word, so a P that is in the set is taken by one. What was done to a P before it was put in is seen by whoever takes it out.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bits of a word.
const BITS: u32 = u64::BITS;

/// The bits of a word of the numbers below `limit`.
#[inline]
fn bits_below(limit: u32) -> u64 {
    match limit {
        n if n < BITS => (1 << n) - 1,
        _ => u64::MAX,
    }
}

pub(super) struct Set {
    words: Box<[AtomicU64]>,
    /// Numbers from here on are not taken by who will have any.
    limit: AtomicU32,
}

impl Set {
    /// Empty, with room for the numbers below `most`.
    pub(super) fn new(most: usize, limit: u32) -> Set {
        let words = most.div_ceil(BITS as usize);
        Set {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            limit: AtomicU32::new(limit),
        }
    }

    pub(super) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::SeqCst);
    }

    /// The words of numbers below the limit, each with the bits that are.
    #[inline]
    fn below_limit(&self) -> impl Iterator<Item = (u32, &AtomicU64, u64)> {
        let limit = self.limit.load(Ordering::SeqCst);
        (0..limit).step_by(BITS as usize).map(move |first| {
            let word = &self.words[(first / BITS) as usize];
            (first, word, bits_below(limit - first))
        })
    }

    /// How many numbers below the limit are in.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.below_limit()
            .map(|(_, word, below)| (word.load(Ordering::SeqCst) & below).count_ones())
            .sum()
    }

    /// Whether no number below the limit is in. Asked at each submission, so the first word is looked at alone where that is all.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        let limit = self.limit.load(Ordering::SeqCst);
        let first = self.words[0].load(Ordering::SeqCst) & bits_below(limit);
        first == 0 && (limit <= BITS || self.len() == 0)
    }

    /// Puts a number in, which is not in.
    #[inline]
    pub(super) fn put(&self, number: u32) {
        let bit = 1 << (number % BITS);
        let before = self.words[(number / BITS) as usize].fetch_or(bit, Ordering::SeqCst);
        debug_assert_eq!(before & bit, 0, "it is in already");
    }

    /// Whether it is below the limit and, at the moment, in.
    #[inline]
    pub(super) fn may_be_taken(&self, number: u32) -> bool {
        let word = self.words[(number / BITS) as usize].load(Ordering::SeqCst);
        number < self.limit.load(Ordering::SeqCst) && word & (1 << (number % BITS)) != 0
    }

    /// Takes this number out, if it is in.
    #[inline]
    pub(super) fn take(&self, number: u32) -> bool {
        let bit = 1 << (number % BITS);
        self.words[(number / BITS) as usize].fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    /// Takes out the lowest number below the limit.
    #[inline]
    pub(super) fn take_any(&self) -> Option<u32> {
        for (first, word, below) in self.below_limit() {
            loop {
                let there = word.load(Ordering::SeqCst) & below;
                if there == 0 {
                    break;
                }
                let number = first + there.trailing_zeros();
                if self.take(number) {
                    return Some(number);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 64 }))]

        #[test]
        fn is_a_set_of_numbers_of_which_the_limit_hides_some(
            ops in proptest::collection::vec((0..4u8, 0..150u32), 1..if cfg!(miri) { 40 } else { 200 })
        ) {
            let (set, mut model, mut limit) = (Set::new(150, 150), BTreeSet::new(), 150);
            for (op, number) in ops {
                match op {
                    0 if model.insert(number) => set.put(number),
                    0 | 1 => prop_assert_eq!(set.take(number), model.remove(&number)),
                    2 => {
                        let lowest = model.first().copied().filter(|&n| n < limit);
                        prop_assert_eq!(set.take_any(), lowest);
                        lowest.map(|n| model.remove(&n));
                    }
                    _ => {
                        limit = number;
                        set.set_limit(number);
                    }
                }
                let count = model.range(..limit).count();
                prop_assert_eq!((set.len() as usize, set.is_empty()), (count, count == 0));
            }
        }
    }
}
