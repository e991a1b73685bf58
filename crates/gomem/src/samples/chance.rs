//! Which blocks are sampled: chances by numbers.

use crate::cache::NEVER;
use std::sync::atomic::{AtomicU64, Ordering::*};

/// How many blocks of `size` bytes come before the next one that is sampled.
pub(crate) fn gap(rate: u64, size: usize) -> u64 {
    if rate == 0 {
        return NEVER;
    }
    gap_for(uniform(), rate, size)
}

/// Whether a block of `size` bytes is sampled.
pub(crate) fn is_chosen(rate: u64, size: usize) -> bool {
    size as u64 >= rate || uniform() * (rate as f64) < size as f64
}

/// The gap to which a number between 0 and 1 leads: the least `n` for which `(1 - p)^(n + 1) < uniform`.
fn gap_for(uniform: f64, rate: u64, size: usize) -> u64 {
    if size as u64 >= rate {
        return 0;
    }
    let p = size as f64 / rate as f64;
    if p < f64::EPSILON {
        return NEVER;
    }
    let gap = ln(uniform) / ln(1.0 - p);
    (gap as u64).min(NEVER)
}

/// A number in the open interval from 0 to 1: Steele's splitmix64, begun at the processor's clock.
fn uniform() -> f64 {
    static STATE: AtomicU64 = AtomicU64::new(0);
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = STATE.fetch_add(STEP, Relaxed);
    if state == 0 && !cfg!(miri) {
        // SAFETY: there on every x86-64.
        state = unsafe { std::arch::x86_64::_rdtsc() } | 1;
        STATE.store(state, Relaxed);
    }
    let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let bits = (mixed ^ mixed >> 31) >> 11;
    (bits as f64 + 0.5) / (1u64 << 53) as f64
}

/// The natural logarithm of a number between 0 and 1. The C library's is in a library of its own, which this one is not to need.
///
/// With `x = m * 2^e` and `m` near 1, `ln m = 2 atanh((m - 1) / (m + 1))`, whose series has terms that fall by a factor of 30 and more.
fn ln(x: f64) -> f64 {
    const SQRT_2: u64 = std::f64::consts::SQRT_2.to_bits();
    let bits = x.to_bits();
    // The fraction is put between 1/sqrt(2) and sqrt(2).
    let e = (bits.wrapping_sub(SQRT_2) as i64 >> 52) + 1;
    let m = f64::from_bits(bits.wrapping_sub((e << 52) as u64));
    let t = (m - 1.0) / (m + 1.0);
    let (square, mut power, mut sum) = (t * t, t, 0.0);
    for n in 0..12 {
        sum += power / f64::from(2 * n + 1);
        power *= square;
    }
    e as f64 * std::f64::consts::LN_2 + 2.0 * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_logarithm_is_the_library_s(x in 1e-18f64..1.0) {
            let (ours, theirs) = (ln(x), x.ln());
            prop_assert!((ours - theirs).abs() <= 1e-13 * theirs.abs().max(1e-3), "{ours} {theirs}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "slow")]
    fn gaps_have_the_right_mean() {
        for (rate, size) in [(512 << 10, 64), (512 << 10, 32 << 10), (4096, 3072), (1, 8)] {
            let n = 200_000;
            let sum: u64 = (0..n).map(|_| gap(rate, size)).sum();
            let mean = sum as f64 / f64::from(n);
            let wanted = (rate as f64 / size as f64).max(1.0) - 1.0;
            assert!((mean - wanted).abs() <= 0.02 * wanted, "{mean} {wanted}");
        }
    }

    #[test]
    fn large_blocks_are_chosen_by_size() {
        let chosen = (0..100_000)
            .filter(|_| is_chosen(1 << 20, 256 << 10))
            .count();
        assert!((24_000..26_000).contains(&chosen), "{chosen}");
        assert!(is_chosen(1, 1) && is_chosen(4096, 4096));
        assert_eq!(gap(0, 8), NEVER);
    }
}
