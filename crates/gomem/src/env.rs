//! The port: what the allocator needs from the operating system.
//!
//! Three verbs are enough. Address space is *reserved* once and never given back, so that an address keeps its meaning for the
//! life of the heap; it is *committed* before its first use, and its physical memory is *released* when idle and faulted in again
//! by the next touch. Memory that was committed and not yet touched, or released and not touched since, reads as zero: the heap
//! relies on that to hand out zeroed memory without writing it.

use std::fmt;
use std::ptr::NonNull;

/// The system refused memory or address space: a limit (`ulimit -v`, a cgroup, strict overcommit), or there is none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operating system refused memory; raise the limit on address space or memory (ulimit -v, memory.max, vm.overcommit_memory)")
    }
}

impl std::error::Error for Refused {}

/// Virtual memory, as the heap sees it.
///
/// # Safety
/// The heap's memory safety rests on an implementation that keeps these:
///
/// 1. `reserve` returns the start of `bytes` bytes of address space, a multiple of `align`, that nothing else uses as long as the
///    implementation lives.
/// 2. After `commit` returned `Ok` the range is readable and writable and, if it was never committed before, reads as zero.
///    Committing twice is allowed and changes nothing.
/// 3. After `release` returned `Ok` the range is still committed and reads as zero. If it returned `Err` the contents are
///    either unchanged or zero, page by page.
/// 4. No method allocates from a heap that uses this implementation, unwinds, or changes `errno`.
pub unsafe trait Os: Sync {
    /// Reserves `bytes` bytes of address space that cannot be touched yet, aligned to `align`, a power of two.
    ///
    /// # Errors
    /// If there is not that much address space to be had.
    fn reserve(&self, bytes: usize, align: usize) -> Result<NonNull<u8>, Refused>;

    /// Makes `bytes` bytes from `start` usable.
    ///
    /// # Errors
    /// If the system does not promise that much memory.
    ///
    /// # Safety
    /// 1. The range lies within one that `reserve` of the same value returned.
    /// 2. `start` and `bytes` are multiples of 8 KiB.
    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused>;

    /// Gives the physical memory of the range back. The range stays usable and reads as zero.
    ///
    /// # Errors
    /// If the system would not, for instance because the memory is locked.
    ///
    /// # Safety
    /// 1. The range was committed.
    /// 2. `start` and `bytes` are multiples of 8 KiB.
    /// 3. Nobody uses the contents.
    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused>;
}
