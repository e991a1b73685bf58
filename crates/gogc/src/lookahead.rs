//! A short first-in-first-out queue between seeing a pointer and testing its mark.
//!
//! The test reads the mark bit of the object, which is rarely in the cache. A word that is seen is prefetched
//! and put here; by the time it comes out, the memory it needs has had as long to arrive as seven other words
//! took (Cher, Hosking and Vitek, *Software Prefetching for Mark-Sweep Garbage Collection*, ASPLOS 2004).

/// Words in flight. Enough to cover a cache miss with the work on other words, few enough for the processor's
/// own limit of misses in flight (10 to 16 on current x86-64 cores).
const WORDS: usize = 8;

/// The queue. A word is never 0, which no object's address is.
#[derive(Default)]
pub(crate) struct Lookahead {
    ring: [usize; WORDS],
    /// The oldest word is here, if the ring is full.
    at: usize,
}

impl Lookahead {
    /// Puts `word` in and takes out the word that was put in [`WORDS`] steps ago, or 0 if there is none.
    #[inline]
    pub(crate) fn exchange(&mut self, word: usize) -> usize {
        let oldest = std::mem::replace(&mut self.ring[self.at], word);
        self.at = (self.at + 1) % WORDS;
        oldest
    }

    /// Takes out the oldest word.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        (0..WORDS).map(|_| self.exchange(0)).find(|&word| word != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let mut queue = Lookahead::default();
        let mut out: Vec<usize> = (1..=100)
            .map(|word| queue.exchange(word))
            .filter(|&word| word != 0)
            .collect();
        assert_eq!(out.len(), 100 - WORDS);
        while let Some(word) = queue.pop() {
            out.push(word);
        }
        assert_eq!(out, (1..=100).collect::<Vec<_>>());
    }
}
