//! What a heap has for [hardened mode](crate::hardened): the switch, a secret, and the quarantine's rings.
//!
//! # Randomness
//!
//! A secret of the kernel's, and numbers made from it and a counter by the mixing function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). That keeps an attacker from
//! knowing the order beforehand. It is no stream cipher: one who sees many addresses could compute the rest.

mod poison;
mod ring;

pub(crate) use poison::{fill, first_change};
pub(crate) use ring::{Entry, Ring, this_thread};

use crate::lock::Lock;
use crate::size_class::{CLASSES, SizeClass};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

/// What a heap has for hardened mode.
pub(crate) struct Hardening {
    is_on: AtomicBool,
    /// Not zero once the mode is on.
    secret: AtomicU64,
    /// How many random numbers there were.
    drawn: AtomicU64,
    /// Blocks in quarantine by class; large ones at index 0.
    pub(crate) quarantine: [Lock<Ring>; CLASSES],
    /// Bytes of the large ones, with their guard pages.
    pub(crate) large: AtomicUsize,
}

impl Hardening {
    pub(crate) const fn new() -> Hardening {
        Hardening {
            is_on: AtomicBool::new(false),
            secret: AtomicU64::new(0),
            drawn: AtomicU64::new(0),
            quarantine: [const { Lock::new(Ring::new()) }; CLASSES],
            large: AtomicUsize::new(0),
        }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Bytes of large blocks that are in quarantine.
    pub(crate) fn large_bytes(&self) -> usize {
        self.large.load(Relaxed)
    }

    /// Blocks of the class that are in quarantine.
    pub(crate) fn blocks(&self, class: SizeClass) -> usize {
        self.quarantine[class.index()].lock().len()
    }

    pub(crate) fn acquire_locks(&self) {
        self.quarantine.iter().for_each(Lock::acquire);
    }

    /// # Safety
    /// 1. As for [`Lock::release`], of `acquire_locks`.
    pub(crate) unsafe fn release_locks(&self) {
        for ring in &self.quarantine {
            // SAFETY: (1).
            unsafe { ring.release() };
        }
    }

    /// Turns the mode on. False if it was.
    pub(crate) fn turn_on(&self) -> bool {
        let secret = kernel_random() | 1;
        let _ = self.secret.compare_exchange(0, secret, Relaxed, Relaxed);
        !self.is_on.swap(true, AcqRel)
    }

    pub(crate) fn random(&self) -> u32 {
        let number = self.drawn.fetch_add(1, Relaxed);
        (self.mix(number) >> 32) as u32
    }

    /// A number that follows from another one and the secret.
    fn mix(&self, number: u64) -> u64 {
        let mut z = self
            .secret
            .load(Relaxed)
            .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Eight bytes from the kernel, or, so early that it has none, what tells processes apart as well as can be.
fn kernel_random() -> u64 {
    let _errno = crate::os::KeepErrno::new();
    let mut word = 0u64;
    // SAFETY: eight bytes to be written.
    let n = unsafe { libc::getrandom((&raw mut word).cast(), 8, libc::GRND_NONBLOCK) };
    if n == 8 {
        word
    } else {
        (&raw const word).addr() as u64 ^ u64::from(std::process::id()) << 48
    }
}
