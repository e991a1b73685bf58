//! The port: what the allocator needs from the operating system.
//!
//! Three verbs are enough. Address space is *reserved* once and never given back, so that an address keeps its meaning for the
//! life of the heap; it is *committed* before its first use, and its physical memory is *released* when idle and faulted in again
//! by the next touch. Memory that was committed and not yet touched, or released and not touched since, reads as zero: the heap
//! relies on that to hand out zeroed memory without writing it. The other methods make things cheaper where the system can;
//! an implementation may leave them out.

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

/// Why memory was not moved, see [`Os::move_memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmoved {
    /// The range that it was to be moved to is still there; its contents are as before or zero.
    Kept,
    /// That range cannot be used any more.
    Lost,
}

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
/// 4. After `move_memory` returned `Ok` the second range is committed and has the first one's contents, and the first is committed and reads as zero;
///    if it returned `Err` the first is unchanged. After `renew` returned `Ok` the range is as after `release`.
/// 5. After `guard` returned `Ok` every access to the range ends the process; if it returned `Err` the range is usable, its contents unchanged or
///    zero page by page. After `unguard` returned `Ok` the range is committed, and what was guarded of it reads as zero.
/// 6. No method allocates from a heap that uses this implementation, unwinds, or changes `errno`.
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

    /// Moves the memory of the first range, contents and all, to the second, whose own memory is dropped. The first then reads as zero and has no
    /// physical memory. Only worth while for large ranges; the other range may cost the system some bookkeeping until it is [renewed](Self::renew).
    ///
    /// # Errors
    /// What became of the second range. The first is as before. An implementation that cannot do this says so by [`Unmoved::Kept`], as does
    /// the one provided.
    ///
    /// # Safety
    /// 1. Both ranges were committed and do not overlap.
    /// 2. `from`, `to` and `bytes` are multiples of 8 KiB.
    /// 3. Nobody uses the first range meanwhile, and nobody the contents of the second.
    unsafe fn move_memory(
        &self,
        _from: NonNull<u8>,
        _to: NonNull<u8>,
        _bytes: usize,
    ) -> Result<(), Unmoved> {
        Err(Unmoved::Kept)
    }

    /// Gives the physical memory of a range to which some was [moved](Self::move_memory) back, as [`release`](Self::release) does, and what
    /// bookkeeping that cost. Called for no other ranges.
    ///
    /// # Errors
    /// If the system would not. The range cannot be used any more then.
    ///
    /// # Safety
    /// 1. As for [`release`](Self::release).
    unsafe fn renew(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        // SAFETY: (1).
        unsafe { self.release(start, bytes) }
    }

    /// Has the processor fault on every access to the range, and gives its physical memory back.
    ///
    /// # Errors
    /// If the system would not, or cannot: an implementation may leave it at that, as the one provided does.
    ///
    /// # Safety
    /// 1. As for [`release`](Self::release).
    unsafe fn guard(&self, _start: NonNull<u8>, _bytes: usize) -> Result<(), Refused> {
        Err(Refused)
    }

    /// Makes a range usable again of which parts, or all, were [guarded](Self::guard). What was guarded of it reads as zero, the rest is as it was.
    ///
    /// # Errors
    /// If the system would not. The range cannot be used any more then.
    ///
    /// # Safety
    /// 1. The range was committed.
    /// 2. `start` and `bytes` are multiples of 8 KiB.
    unsafe fn unguard(&self, _start: NonNull<u8>, _bytes: usize) -> Result<(), Refused> {
        Err(Refused)
    }

    /// Bytes of the range that have physical memory; `None` if that is not known, or not cheaply. What is swapped out counts as not having any.
    ///
    /// # Safety
    /// 1. The range was committed.
    /// 2. `start` and `bytes` are multiples of 8 KiB.
    unsafe fn resident(&self, _start: NonNull<u8>, _bytes: usize) -> Option<usize> {
        None
    }

    /// Has the physical memory of the range there at once, which is cheaper than a fault for each page. Where that cannot be done, nothing is.
    ///
    /// # Safety
    /// 1. The range was committed.
    /// 2. `start` and `bytes` are multiples of 8 KiB.
    unsafe fn populate(&self, _start: NonNull<u8>, _bytes: usize) {}

    /// Asks for huge pages in the range.
    ///
    /// # Errors
    /// If the system has none.
    ///
    /// # Safety
    /// 1. The range was committed.
    /// 2. `start` and `bytes` are multiples of 2 MiB.
    unsafe fn advise_huge(&self, _start: NonNull<u8>, _bytes: usize) -> Result<(), Refused> {
        Err(Refused)
    }

    /// The most bytes that the heap may have committed for its arenas. May change.
    fn limit(&self) -> usize {
        usize::MAX
    }

    /// Whether the system makes huge pages of any memory, without being asked. Then to give back part of one is to split it, and the system may
    /// put it together again, and take back what was given.
    fn prefers_huge(&self) -> bool {
        false
    }
}
