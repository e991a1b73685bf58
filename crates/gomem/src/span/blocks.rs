//! The blocks of a malloc span: taking free ones out and putting them back.
//!
//! Invariant: everything here but [`Span::visit_live`] is called by who holds the lock of the class's central list, or has the span to
//! itself. See the head of [`span`](super).

use super::{Bits, Shape, Span, WORDS, valid};
use crate::atomic::{AtomicPtr, Ordering::*};
use std::ops::Range;
use std::ptr::with_exposed_provenance_mut;

/// A place for a free block.
pub(crate) type Slot = AtomicPtr<u8>;

/// Copies blocks to the first slots of `to`, the first one first: so `to` may lie before `from` in the same slots.
pub(crate) fn copy_blocks(from: &[Slot], to: &[Slot]) {
    for (from, to) in from.iter().zip(to) {
        to.store(from.load(Relaxed), Relaxed);
    }
}

impl Span {
    /// Blocks in the span that are not out.
    pub(crate) fn available(&self) -> u32 {
        self.available.load(Relaxed) as u32
    }

    /// Takes the lowest free blocks out, as many as there are and `slots` has room for, and writes them there with the highest last. Returns how many.
    ///
    /// So the first to be handed out of a new span is not the one at its start, which has the same place in a page in every span: the caches of the
    /// processor would have room for a dozen of those only.
    pub(crate) fn take_blocks(&self, slots: &[Slot]) -> usize {
        let n = slots.len().min(self.available() as usize);
        let (base, size) = (self.base(), self.size());
        let mut places = slots[..n].iter();
        let mut end = 0;
        for (number, word) in self.bits.iter().enumerate() {
            let mut bits = word.free.load(Relaxed);
            if bits == 0 {
                continue;
            }
            while bits != 0
                && let Some(place) = places.next()
            {
                let index = number * 64 + bits.trailing_zeros() as usize;
                place.store(with_exposed_provenance_mut(base + index * size), Relaxed);
                end = index as u16 + 1;
                bits &= bits - 1;
            }
            word.free.store(bits, Relaxed);
            if places.len() == 0 {
                break;
            }
        }
        self.available
            .store((self.available() - n as u32) as u16, Relaxed);
        if end > self.fresh.load(Relaxed) {
            self.fresh.store(end, Relaxed);
        }
        n
    }

    /// Takes one of the free blocks out, of which there are some: the one that `random` says, all being equally likely. Returns its address.
    pub(crate) fn take_one_of(&self, random: u32) -> usize {
        let available = self.available();
        let mut nth = ((u64::from(random) * u64::from(available)) >> 32) as u32;
        for (number, word) in self.bits.iter().enumerate() {
            let word = &word.free;
            let bits = word.load(Relaxed);
            if nth >= bits.count_ones() {
                nth -= bits.count_ones();
                continue;
            }
            let bit = (0..nth)
                .fold(bits, |rest, _| rest & (rest - 1))
                .trailing_zeros();
            word.store(bits & !(1 << bit), Relaxed);
            self.available.store((available - 1) as u16, Relaxed);
            let index = number * 64 + bit as usize;
            self.fresh.fetch_max(index as u16 + 1, Relaxed);
            return self.base() + index * self.size();
        }
        unreachable!("a span with free blocks has bits set")
    }

    /// Whether the block is in the span. Reliable for who owns the block, or believes to.
    pub(crate) fn has_block(&self, index: u32) -> bool {
        self.bits[index as usize / 64 % WORDS].free.load(Relaxed) & (1 << (index % 64)) != 0
    }

    /// Puts those blocks back that `slots` begins with and that lie in the span. Returns how many.
    ///
    /// # Errors
    /// The address of a block that is there already, or of what is none; blocks before it may have been put back.
    pub(crate) fn put_blocks(&self, slots: &[Slot]) -> Result<usize, usize> {
        let (base, bytes, count) = (self.base(), self.pages().bytes(), self.count());
        let reciprocal = self.reciprocal.load(Relaxed);
        let mut n = 0;
        for slot in slots {
            let addr = slot.load(Relaxed).addr();
            let offset = addr.wrapping_sub(base);
            if offset >= bytes {
                break;
            }
            let product = offset as u64 * reciprocal as u64;
            let index = (product >> 32) as u32;
            // As in `index_of` and `starts_block`.
            if index >= count || product as u32 >= reciprocal {
                return Err(addr);
            }
            let word = &self.bits[index as usize / 64 % WORDS].free;
            let bit = 1 << (index % 64);
            let bits = word.load(Relaxed);
            if bits & bit != 0 {
                return Err(addr);
            }
            word.store(bits | bit, Relaxed);
            n += 1;
        }
        self.available
            .store((self.available() + n as u32) as u16, Relaxed);
        Ok(n)
    }

    /// Notes nothing any more.
    pub(crate) fn forget_all(&self) {
        for word in &self.bits {
            if word.marks.load(Relaxed) != 0 {
                word.marks.store(0, Relaxed);
            }
        }
    }

    /// Notes that a block lies in a cache, or in quarantine. Called, like the next two, by who may change the notes: see the head of [`span`](super).
    pub(crate) fn note(&self, index: u32) {
        let word = &self.bits[index as usize / 64 % WORDS].marks;
        word.store(word.load(Relaxed) | 1 << (index % 64), Relaxed);
    }

    /// Takes the note back.
    pub(crate) fn forget(&self, index: u32) {
        let word = &self.bits[index as usize / 64 % WORDS].marks;
        word.store(word.load(Relaxed) & !(1 << (index % 64)), Relaxed);
    }

    /// Whether it is noted.
    pub(crate) fn is_noted(&self, index: u32) -> bool {
        self.bits[index as usize / 64 % WORDS].marks.load(Relaxed) & (1 << (index % 64)) != 0
    }

    /// Whether the block is in the program's hands, as [`visit_live`](Self::visit_live) has it. Any index may be asked for.
    pub(crate) fn is_live(&self, index: u32) -> bool {
        let fresh = u32::from(self.fresh.load(Relaxed));
        let Bits { free, marks } = &self.bits[index as usize / 64 % WORDS];
        let idle = free.load(Relaxed) | marks.load(Relaxed);
        index < fresh.min(self.count()) && idle >> (index % 64) & 1 == 0
    }

    /// Calls `visit` with the addresses of the blocks in the program's hands, neighbours joined: those that were ever handed out, and are neither in the span
    /// nor noted as being elsewhere. Addresses are those that the shape says, whatever becomes of the record.
    pub(crate) fn visit_live(&self, shape: Shape, mut visit: impl FnMut(Range<usize>)) {
        let fresh = (self.fresh.load(Relaxed) as u32).min(shape.count);
        let address = |index: u32| shape.base + index as usize * shape.size;
        let mut run: Option<u32> = None;
        for (number, Bits { free, marks }) in self.bits.iter().enumerate() {
            let first = number as u32 * 64;
            if first >= fresh {
                break;
            }
            let live = !(free.load(Relaxed) | marks.load(Relaxed)) & valid(number, fresh);
            let mut at = 0;
            while at < 64 {
                let rest = live >> at;
                match run {
                    None => {
                        at += rest.trailing_zeros();
                        run = (at < 64).then_some(first + at);
                    }
                    Some(start) => {
                        // Zeroes were shifted in, so a run that reaches the end of the word is one of exactly the bits left.
                        at += rest.trailing_ones();
                        if at < 64 {
                            visit(address(start)..address(first + at));
                            run = None;
                        }
                    }
                }
            }
        }
        if let Some(start) = run {
            visit(address(start)..address(fresh));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{PAGE_SIZE, PageCount, PageId};
    use crate::size_class::SizeClass;
    use crate::span::{Kind, SpanInit};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn span(class: SizeClass, base: usize) -> Span {
        // SAFETY: atomics, for which zero is valid.
        let span: Span = unsafe { std::mem::zeroed() };
        let pages = PageCount(class.malloc_pages());
        span.init(SpanInit {
            kind: Kind::Malloc,
            class: Some(class),
            page: PageId(0),
            pages,
            base,
            dirty: false,
        });
        span
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 5 } else { 300 }))]

        /// The span against sets: what is in it, what is in a cache, what the program has.
        #[test]
        fn agrees_with_sets(
            class in 2usize..60,
            ops in prop::collection::vec((0u8..5, 0usize..200), 1..60),
        ) {
            let class = SizeClass::from_index(class);
            let base = 64 * PAGE_SIZE;
            let span = span(class, base);
            let all = (0..span.count()).map(|i| base + i as usize * class.size());
            let mut inside: BTreeSet<usize> = all.collect();
            let (mut cached, mut live) = (BTreeSet::new(), BTreeSet::new());
            let mut ever = BTreeSet::new();
            for (op, n) in ops {
                match op {
                    0 => {
                        let slots: Vec<Slot> = (0..n).map(|_| Slot::default()).collect();
                        let taken = span.take_blocks(&slots);
                        prop_assert_eq!(taken, n.min(inside.len()));
                        for slot in &slots[..taken] {
                            let addr = slot.load(Relaxed).addr();
                            prop_assert_eq!(inside.pop_first(), Some(addr));
                            cached.insert(addr);
                            ever.insert(addr);
                        }
                    }
                    1 => live.extend(std::mem::take(&mut cached)),
                    4 => if !inside.is_empty() {
                        let random = (n as u32).wrapping_mul(0x9e37_79b9);
                        let nth = ((u64::from(random) * inside.len() as u64) >> 32) as usize;
                        let expected = *inside.iter().nth(nth).unwrap();
                        prop_assert!(span.has_block(span.index_of(expected)));
                        prop_assert_eq!(span.take_one_of(random), expected);
                        prop_assert!(!span.has_block(span.index_of(expected)));
                        inside.remove(&expected);
                        cached.insert(expected);
                        ever.insert(expected);
                    },
                    2 => if let Some(&addr) = live.iter().nth(n % live.len().max(1)) {
                        live.remove(&addr);
                        cached.insert(addr);
                    },
                    _ => if let Some(addr) = cached.pop_last() {
                        let slot = |addr: usize| Slot::new(with_exposed_provenance_mut(addr));
                        let elsewhere = slot(base + span.pages().bytes());
                        prop_assert_eq!(span.put_blocks(&[slot(addr), elsewhere]), Ok(1));
                        prop_assert_eq!(span.put_blocks(&[slot(addr)]), Err(addr));
                        prop_assert_eq!(span.put_blocks(&[slot(addr + 1)]), Err(addr + 1));
                        inside.insert(addr);
                    },
                }
                prop_assert_eq!(span.available() as usize, inside.len());
                span.forget_all();
                for &addr in &cached {
                    span.note(span.index_of(addr));
                    span.note(span.index_of(addr));
                }
                if let Some(&addr) = cached.iter().nth(n % cached.len().max(1)) {
                    let index = span.index_of(addr);
                    prop_assert!(span.is_noted(index));
                    span.forget(index);
                    prop_assert!(!span.is_noted(index));
                    span.note(index);
                }
                let mut seen = BTreeSet::new();
                let mut last = 0;
                span.visit_live(span.shape(), |range| {
                    assert!(range.start > last || last == 0, "neighbours are joined");
                    last = range.end;
                    seen.extend(range.step_by(class.size()));
                });
                // What lies below one that was handed out was too.
                prop_assert_eq!(&seen, &live);
                prop_assert!(ever.len() <= span.fresh.load(Relaxed) as usize);
            }
        }
    }
}
