//! The random numbers of the workloads: the same in each language, so that each contestant does the same work.

/// Xorshift with a multiplied output (xorshift64*).
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each `seed` but 0.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `n`, which fits 32 bits.
    #[inline]
    pub fn below(&mut self, n: usize) -> usize {
        (((self.number() >> 32) * n as u64) >> 32) as usize
    }
}
