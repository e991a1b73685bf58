//! A small generator for choices that only need to be fair: which P to steal from, which ready case
//! to take.
//!
//! Marsaglia's xorshift64* ("An experimental exploration of Marsaglia's xorshift generators", Vigna
//! 2016).

use std::cell::Cell;

/// Not for secrets.
pub(crate) struct Rng(Cell<u64>);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Rng {
        Rng(Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1))
    }

    /// Begins anew.
    pub(crate) fn reseed(&self, seed: u64) {
        self.0.set(Rng::new(seed).0.get());
    }

    #[inline]
    pub(crate) fn next(&self) -> u32 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    /// Uniform below `n`, to within 2^-32 (Lemire's multiplication).
    #[inline]
    pub(crate) fn below(&self, n: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(n)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_reaches_every_value_and_no_other() {
        let rng = Rng::new(3);
        let mut seen = [0; 7];
        for _ in 0..7000 {
            seen[rng.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| n > 700), "{seen:?}");
    }
}
