//! Gathering the words of an object that may be pointers: the inner loop of marking.
//!
//! Given up to 64 words, a bit for each that may hold a pointer, and the bounds of the heap, what lies within the bounds is written one after the
//! other. There are two kernels: [`plain`], which is the definition, and one with AVX-512 instructions (load and compress under a mask) where the processor has
//! them. Neither branches on what the words are: whether a pointer is null is as good as random.
//!
//! The vector kernel is a function in assembly, for the reason given in [`word`]: the memory may be uninitialised or be written at the same moment, which
//! the compiler must not know about; and because vector and mask registers belong to nobody across a call.

use crate::word;

/// A way to gather words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    vectors: bool,
}

/// With more candidates the vector kernel is faster. Measured, in ns for the loop and the vectors: 8 words 6.3 and 7.3, 12 words 8.8 and 6.2, 16 words 11.9 and 6.3, 64 words 43 and 15.
const FEW: u32 = 8;

impl Gather {
    /// Words that are looked at by one call, at most.
    pub const MOST: usize = 64;

    /// The fastest way that the processor has.
    pub fn best() -> Gather {
        Gather {
            vectors: Gather::has_vectors(),
        }
    }

    /// The way that every processor has.
    pub fn plain() -> Gather {
        Gather { vectors: false }
    }

    fn has_vectors() -> bool {
        cfg!(not(miri))
            && std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("popcnt")
    }

    /// Writes to `to` those of the words at `base` whose bit in `mask` is set and that lie in the `span` bytes from `low`, in order. Returns how many.
    ///
    /// # Safety
    /// 1. `base` is aligned to a word, and the words whose bits are set are mapped and readable.
    /// 2. [`MOST`](Self::MOST) words from `to` are writable.
    #[inline(always)]
    pub unsafe fn words(
        self,
        base: *const usize,
        mask: u64,
        low: usize,
        span: usize,
        to: *mut usize,
    ) -> usize {
        #[cfg(not(miri))]
        if self.vectors && mask.count_ones() > FEW {
            // SAFETY: (1), (2), and the processor has what it takes.
            return unsafe { gogc_gather_avx512(base, mask, low, span, to) };
        }
        // SAFETY: (1), (2).
        unsafe { plain(base, mask, low, span, to) }
    }
}

/// # Safety
/// 1. As for [`Gather::words`].
#[inline(always)]
unsafe fn plain(base: *const usize, mask: u64, low: usize, span: usize, to: *mut usize) -> usize {
    let mut found = 0;
    let mut rest = mask;
    while rest != 0 {
        // SAFETY: (1): of the words asked for; as many are written as were read before.
        unsafe {
            let word = word::load(base.wrapping_add(rest.trailing_zeros() as usize));
            to.add(found).write(word);
            found += usize::from(word.wrapping_sub(low) < span);
        }
        rest &= rest - 1;
    }
    found
}

#[cfg(not(miri))]
unsafe extern "C" {
    /// As [`plain`]. Needs AVX-512F.
    fn gogc_gather_avx512(
        base: *const usize,
        mask: u64,
        low: usize,
        span: usize,
        to: *mut usize,
    ) -> usize;
}

// Eight words at a time. rdi: where to read; rsi: the mask; zmm1, zmm2: low and span; r8: where to write, r9: where that began. A word that is not asked for is not
// read (a fault in a masked-out lane is suppressed: Intel SDM, volume 1, 15.6.4).
#[cfg(not(miri))]
std::arch::global_asm!(
    ".pushsection .text.gogc_gather_avx512,\"ax\",@progbits",
    ".p2align 4",
    ".globl gogc_gather_avx512",
    ".hidden gogc_gather_avx512",
    ".type gogc_gather_avx512,@function",
    "gogc_gather_avx512:",
    "vpbroadcastq zmm1, rdx",
    "vpbroadcastq zmm2, rcx",
    "mov r9, r8",
    "2:",
    "kmovw k1, esi",
    "vmovdqu64 zmm0{{k1}}{{z}}, zmmword ptr [rdi]",
    "vpsubq zmm3, zmm0, zmm1",
    "vpcmpltuq k2{{k1}}, zmm3, zmm2",
    "vpcompressq zmm0{{k2}}{{z}}, zmm0",
    "vmovdqu64 zmmword ptr [r8], zmm0",
    "kmovw eax, k2",
    "movzx eax, al",
    "popcnt eax, eax",
    "lea r8, [r8 + 8*rax]",
    "add rdi, 64",
    "shr rsi, 8",
    "jnz 2b",
    "mov rax, r8",
    "sub rax, r9",
    "shr rax, 3",
    "vzeroupper",
    "ret",
    ".size gogc_gather_avx512, . - gogc_gather_avx512",
    ".popsection",
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOW: usize = 1000;
    const SPAN: usize = 1000;

    fn gather(how: Gather, words: &[usize; 64], mask: u64) -> Vec<usize> {
        let mut to = [usize::MAX; Gather::MOST];
        // SAFETY: live arrays.
        let found = unsafe { how.words(words.as_ptr(), mask, LOW, SPAN, to.as_mut_ptr()) };
        to[..found].to_vec()
    }

    fn word() -> impl Strategy<Value = usize> {
        prop_oneof![
            Just(0),
            Just(usize::MAX),
            LOW - 2..LOW + 2,
            LOW + SPAN - 2..LOW + SPAN + 2,
            any::<usize>()
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 512 }))]

        /// The vectors find what the loop finds, and the loop what the definition says.
        #[test]
        fn both_ways_find_the_same(
            words in prop::collection::vec(word(), 64),
            mask in prop_oneof![any::<u64>(), Just(u64::MAX), (0u32..64).prop_map(|n| u64::MAX >> n)]
        ) {
            let words: [usize; 64] = words.try_into().unwrap();
            let expected: Vec<usize> = (0..64)
                .filter(|bit| mask >> bit & 1 == 1)
                .map(|bit| words[bit])
                .filter(|word| (LOW..LOW + SPAN).contains(word))
                .collect();
            prop_assert_eq!(&gather(Gather::plain(), &words, mask), &expected);
            prop_assert_eq!(&gather(Gather::best(), &words, mask), &expected);
        }
    }

    /// Words that are not asked for need not be there.
    #[test]
    #[cfg_attr(miri, ignore = "maps pages")]
    fn reads_nothing_that_is_not_asked_for() {
        const PAGE: usize = 4096;
        // SAFETY: two fresh pages, of which the second may not be read; a word in the last eight of the first.
        unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                2 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(at.add(PAGE), PAGE, libc::PROT_NONE), 0);
            let last: *mut usize = at.cast::<usize>().add(PAGE / 8 - 12);
            for n in 0..12 {
                last.add(n).write(LOW + n);
            }
            let mut to = [0; Gather::MOST];
            let found = Gather::best().words(last, 0xfff, LOW, SPAN, to.as_mut_ptr());
            assert_eq!(
                to[..found],
                std::array::from_fn::<usize, 12, _>(|n| LOW + n)
            );
            libc::munmap(at, 2 * PAGE);
        }
    }
}
