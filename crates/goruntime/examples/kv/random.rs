//! Random numbers for picking members and heights: fast, and good enough where an adversary gains nothing by guessing them.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The increment of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): 2^64 over the golden
/// ratio, odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// 64 random bits.
pub fn bits() -> u64 {
    static STATE: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(GAMMA)));
    let mut z = STATE.fetch_add(GAMMA, Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random number below `bound`, which must not be 0.
pub fn below(bound: usize) -> usize {
    // The high half of a product maps 64 bits to 0..bound more evenly than a remainder, and without a division.
    ((u128::from(bits()) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_the_bound_comes_up() {
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[below(10)] += 1;
        }
        assert!(
            seen.iter().all(|&count| (700..1300).contains(&count)),
            "{seen:?}"
        );
    }
}
