//! Numbers that look random, and bytes that can be checked.

/// Marsaglia's xorshift, 64 bits.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}

/// The value of a key at some version: up to four kilobytes.
pub fn value(key: u64, version: u64) -> Vec<u8> {
    let mut random = Random::new(key << 32 ^ version);
    let length = random.below(4096) as usize;
    std::iter::repeat_with(|| random.next() as u8)
        .take(length)
        .collect()
}
