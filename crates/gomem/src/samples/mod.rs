//! What the heap profile knows: which blocks are sampled, and what samples there are by place of allocation.
//!
//! # Which blocks
//!
//! Each block of `size` bytes is sampled with the probability `p = min(1, size / rate)`, independently of all others. So a sample stands for `1 / p`
//! blocks, the estimates are unbiased, and a byte is as likely to be seen in a small block as in a large one. (tcmalloc and Go draw the distance to the next
//! sample in bytes over all sizes; that is the same but for blocks of about the rate's size.) For small blocks no coin is thrown: how many of a class
//! come before the next sampled one has a geometric distribution, and that number is counted down ([`Cache`](crate::cache::Cache)). Since that
//! distribution has no memory, a number may be drawn anew at any time.
//!
//! # What is known
//!
//! A *site* is a stack, a size and a rate, with counts of the blocks sampled and of those freed. A sampled block has a span of its own, which holds the
//! site's number, so freeing it finds the site; a small one too, because its page is not in the table of classes and it is at the start of a page, which is what
//! `free` goes by.
//!
//! Sites lie in one mapping that is reserved when the first is made, behind the heads of a hash table of chains. Nothing is taken away again.
//!
//! Invariant: a site never moves and its key never changes; sites are added under the lock, and `used` is raised after one is whole. So counts are changed, and
//! sites are read, without the lock. Nothing here calls the allocator, but for the unwinder, which may: it runs outside of critical sections and under
//! a flag of the context that keeps samples from being taken in it.
//!
//! # The hazard of unwinding inside of `malloc`
//!
//! The caller of `malloc` may be the dynamic linker, with its locks held. The unwinder (libgcc's) looks for the tables of the code that it passes through:
//! from glibc 2.35 on by `_dl_find_object`, which takes no lock, before by `dl_iterate_phdr`, whose lock is one that a thread may take again. No lock
//! of the heap is held then, so nobody waits in a circle. A handler of a signal must not allocate, here as elsewhere.

mod chance;
mod stack;

pub(crate) use chance::{gap, is_chosen};
pub(crate) use stack::{capture, unsampled};

use crate::lock::Lock;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};

/// Mean bytes from one sample to the next; 0 if none are taken.
static RATE: AtomicU64 = AtomicU64::new(0);

/// Words of the mapping: the address space is half a gigabyte, what is touched has memory. Less where that is refused.
const WORDS: usize = 64 << 20;
const WORDS_LEAST: usize = 1 << 20;
/// Heads of chains, in halves of words.
const HEADS: usize = 1 << 16;
const FIRST: usize = HEADS / 2;

static WORDS_AT: AtomicPtr<u64> = AtomicPtr::new(null_mut());
/// Words up to the end of the last site.
static USED: AtomicUsize = AtomicUsize::new(FIRST);
/// How many words there are; `None` before the first site, 0 if the mapping was refused.
static LIMIT: Lock<Option<usize>> = Lock::new(None);
/// Samples for which there was no memory.
static LOST: AtomicU64 = AtomicU64::new(0);

/// A place of allocation. Its stack follows.
#[repr(C)]
pub(crate) struct Site {
    hash: u64,
    /// Bytes of each block.
    pub(crate) size: u64,
    /// The rate at which they were sampled.
    pub(crate) rate: u64,
    allocs: AtomicU64,
    frees: AtomicU64,
    next: u32,
    depth: u32,
}

const SITE_WORDS: usize = size_of::<Site>() / 8;

impl Site {
    /// Addresses of the calls, the innermost first.
    pub(crate) fn stack(&self) -> &[usize] {
        // SAFETY: so many words were written behind the site before it was known.
        unsafe {
            let words = (&raw const *self).add(1).cast();
            std::slice::from_raw_parts(words, self.depth as usize)
        }
    }

    /// Blocks that were sampled, and how many of them were freed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let frees = self.frees.load(Acquire);
        (self.allocs.load(Relaxed), frees)
    }

    /// An estimate from a number of sampled blocks: blocks and bytes.
    pub(crate) fn scale(&self, sampled: u64) -> (u64, u64) {
        let each = (self.rate as f64 / self.size as f64).max(1.0);
        let blocks = sampled as f64 * each;
        (
            blocks.round() as u64,
            (blocks * self.size as f64).round() as u64,
        )
    }
}

pub(crate) fn rate() -> u64 {
    RATE.load(Relaxed)
}

pub(crate) fn set_rate(rate: u64) {
    RATE.store(rate, Relaxed);
}

/// Samples that are missing because there was no memory for them.
pub(crate) fn lost() -> u64 {
    LOST.load(Relaxed)
}

/// Counts a block and returns its site's number, for [`freed`]; 0 if there is no memory. Called in a critical section.
pub(crate) fn allocated(rate: u64, size: usize, stack: &[usize]) -> u32 {
    let number = find_or_add(rate, size as u64, stack);
    match site(number) {
        Some(site) => {
            site.allocs.fetch_add(1, Relaxed);
        }
        None => {
            LOST.fetch_add(1, Relaxed);
        }
    }
    number
}

/// Notes that the block that is known by what is there, if there is one, is freed, and that it is not known any more.
#[inline]
pub(crate) fn forget(sample: &crate::atomic::AtomicU32) {
    if sample.load(Relaxed) != 0 {
        freed(sample.swap(0, Relaxed));
    }
}

/// Counts the freeing of a block, unless the number is 0.
#[inline]
pub(crate) fn freed(number: u32) {
    if let Some(site) = site(number) {
        site.frees.fetch_add(1, Release);
    }
}

fn site(number: u32) -> Option<&'static Site> {
    if number == 0 {
        return None;
    }
    // SAFETY: numbers are only given to sites, which are never unmapped.
    NonNull::new(WORDS_AT.load(Acquire))
        .map(|words| unsafe { words.add(number as usize).cast().as_ref() })
}

/// Calls `visit` with every site.
pub(crate) fn for_each_site(mut visit: impl FnMut(&'static Site)) {
    let used = USED.load(Acquire);
    let mut at = FIRST;
    while at < used
        && let Some(site) = site(at as u32)
    {
        visit(site);
        at += SITE_WORDS + site.depth as usize;
    }
}

fn hash(rate: u64, size: u64, stack: &[usize]) -> u64 {
    let words = stack.iter().map(|&pc| pc as u64);
    [rate, size]
        .into_iter()
        .chain(words)
        .fold(0, |sum: u64, word| {
            (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
}

fn find_or_add(rate: u64, size: u64, stack: &[usize]) -> u32 {
    let hash = hash(rate, size, stack);
    let mut limit = LIMIT.lock();
    let limit = *limit.get_or_insert_with(reserve);
    if limit == 0 {
        return 0;
    }
    let words = WORDS_AT.load(Relaxed);
    // SAFETY: the mapping begins with so many heads, which are used under the lock.
    let head = unsafe { &mut *words.cast::<u32>().add((hash >> 48) as usize % HEADS) };
    let mut number = *head;
    while let Some(known) = site(number) {
        if known.hash == hash && (known.rate, known.size) == (rate, size) && known.stack() == stack
        {
            return number;
        }
        number = known.next;
    }
    let at = USED.load(Relaxed);
    let end = at + SITE_WORDS + stack.len();
    if end > limit {
        return 0;
    }
    // SAFETY: words of the mapping that nobody uses yet.
    unsafe {
        let place = words.add(at).cast::<Site>();
        place.write(Site {
            hash,
            size,
            rate,
            allocs: AtomicU64::new(0),
            frees: AtomicU64::new(0),
            next: *head,
            depth: stack.len() as u32,
        });
        let rest = place.add(1).cast::<usize>();
        rest.copy_from_nonoverlapping(stack.as_ptr(), stack.len());
    }
    *head = at as u32;
    USED.store(end, Release);
    at as u32
}

/// Maps the table. Returns how many words there are.
fn reserve() -> usize {
    let _errno = crate::os::KeepErrno::new();
    let mut words = WORDS;
    while words >= WORDS_LEAST {
        // SAFETY: a mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                null_mut(),
                words * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start != libc::MAP_FAILED {
            WORDS_AT.store(start.cast(), Release);
            return words;
        }
        words /= 4;
    }
    0
}

/// Holds the lock over a `fork`.
pub(crate) fn acquire_lock() {
    LIMIT.acquire();
}

/// Ends what [`acquire_lock`] began.
///
/// # Safety
/// 1. As for [`Lock::release`].
pub(crate) unsafe fn release_lock() {
    // SAFETY: (1).
    unsafe { LIMIT.release() };
}
