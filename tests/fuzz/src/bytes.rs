//! Reading an input as a sequence of choices.
//!
//! Every reader answers `None` at the end, so that a target does what the bytes say and stops: no choice is made up, and a
//! longer input begins with what a shorter one does. Sizes are read with their magnitude first, for what is small
//! should be as likely as what is large.

/// The rest of an input.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// The next two bytes.
    pub fn pair(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> Option<usize> {
        let number = match limit {
            0..=256 => self.byte()?.into(),
            _ => usize::from(self.pair()?),
        };
        Some(number % limit)
    }

    /// A number of at most `bits` bits, how many being the first choice.
    pub fn magnitude(&mut self, bits: u32) -> Option<u64> {
        let bits = u32::from(self.byte()?) % (bits + 1);
        let mut number = 0;
        for shift in (0..bits).step_by(8) {
            number |= u64::from(self.byte()?) << shift;
        }
        Some(number & 1u64.checked_shl(bits).map_or(u64::MAX, |limit| limit - 1))
    }
}
