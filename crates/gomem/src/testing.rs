//! A system that refuses: for tests of what the heap does then.

use crate::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use crate::env::{Os, Refused, Unmoved};
#[cfg(not(miri))]
use crate::os::LinuxOs as Memory;
use std::ptr::{NonNull, with_exposed_provenance_mut};
use std::sync::Mutex;

/// Real memory, with refusals on demand, all of which is unmapped when the value is dropped.
#[derive(Debug, Default)]
pub struct SimOs {
    /// Refusals of `reserve`.
    pub reserve: Refusal,
    /// Refusals of `commit`.
    pub commit: Refusal,
    /// Refusals of `release`.
    pub release: Refusal,
    /// Refusals of `move_memory`.
    pub moves: Refusal,
    /// Refusals of `renew`.
    pub renew: Refusal,
    /// Refusals of `guard`.
    pub guard: Refusal,
    /// Refusals of `unguard`.
    pub unguard: Refusal,
    /// Says [`Unmoved::Lost`] of refused moves.
    pub lose: AtomicBool,
    /// What [`Os::prefers_huge`] says.
    pub huge: AtomicBool,
    /// Bytes that [`Os::populate`] was asked for.
    pub populated: AtomicUsize,
    /// What [`Os::limit`] says; 0 for none.
    pub limit: AtomicUsize,
    /// Address and length of what was reserved, and how it is aligned.
    reserved: Mutex<Vec<(usize, usize, usize)>>,
    /// Reservations longer than this are refused; 0 for no limit.
    largest: usize,
}

/// Which calls of one kind to refuse.
#[derive(Debug, Default)]
pub struct Refusal {
    calls: AtomicU32,
    from: AtomicU32,
    until: AtomicU32,
}

impl Refusal {
    /// How many calls there were.
    pub fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    /// Refuses `n` calls, from the one on that comes after `after` more.
    pub fn set(&self, after: u32, n: u32) {
        let from = self.calls() + after;
        self.from.store(from, Relaxed);
        self.until.store(from.saturating_add(n), Relaxed);
    }

    /// Refuses no more.
    pub fn clear(&self) {
        self.until.store(0, Relaxed);
    }

    fn call(&self) -> Result<(), Refused> {
        let call = self.calls.fetch_add(1, Relaxed);
        if (self.from.load(Relaxed)..self.until.load(Relaxed)).contains(&call) {
            Err(Refused)
        } else {
            Ok(())
        }
    }
}

impl SimOs {
    /// Refuses reservations of more than `bytes` bytes, as a system with a limit on address space would.
    pub fn with_limit(bytes: usize) -> SimOs {
        let mut os = SimOs::default();
        os.largest = bytes;
        os
    }
}

impl Drop for SimOs {
    fn drop(&mut self) {
        for &(start, bytes, align) in self.reserved.get_mut().into_iter().flat_map(|r| r.iter()) {
            if let Some(start) = NonNull::new(with_exposed_provenance_mut(start)) {
                // SAFETY: reserved by this value, whose users are gone.
                unsafe { give_back(start, bytes, align) };
            }
        }
    }
}

// SAFETY: the memory is that of an implementation which keeps the obligations; refusing is allowed.
unsafe impl Os for SimOs {
    fn reserve(&self, bytes: usize, align: usize) -> Result<NonNull<u8>, Refused> {
        self.reserve.call()?;
        if self.largest != 0 && bytes > self.largest {
            return Err(Refused);
        }
        let start = Memory.reserve(bytes, align)?;
        let mut reserved = self.reserved.lock().map_err(|_| Refused)?;
        reserved.push((start.as_ptr().expose_provenance(), bytes, align));
        Ok(start)
    }

    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        self.commit.call()?;
        // SAFETY: the caller's obligations.
        unsafe { Memory.commit(start, bytes) }
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        self.release.call()?;
        // SAFETY: the caller's obligations.
        unsafe { Memory.release(start, bytes) }
    }

    unsafe fn populate(&self, start: NonNull<u8>, bytes: usize) {
        self.populated.fetch_add(bytes, Relaxed);
        // SAFETY: the caller's obligations.
        unsafe { Memory.populate(start, bytes) }
    }

    unsafe fn move_memory(
        &self,
        from: NonNull<u8>,
        to: NonNull<u8>,
        bytes: usize,
    ) -> Result<(), Unmoved> {
        if self.moves.call().is_err() {
            let lost = self.lose.load(Relaxed);
            return Err(if lost { Unmoved::Lost } else { Unmoved::Kept });
        }
        // SAFETY: the caller's obligations: both ranges are committed, apart, and used by nobody else.
        unsafe {
            to.copy_from_nonoverlapping(from, bytes);
            from.write_bytes(0, bytes);
        }
        Ok(())
    }

    unsafe fn renew(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        self.renew.call()?;
        // SAFETY: the caller's obligations.
        unsafe { Memory.release(start, bytes) }
    }

    unsafe fn guard(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        self.guard.call()?;
        // SAFETY: the caller's obligations.
        unsafe { Memory.guard(start, bytes) }
    }

    unsafe fn unguard(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        self.unguard.call()?;
        // SAFETY: the caller's obligations.
        unsafe { Memory.unguard(start, bytes) }
    }

    fn limit(&self) -> usize {
        match self.limit.load(Relaxed) {
            0 => usize::MAX,
            limit => limit,
        }
    }

    fn prefers_huge(&self) -> bool {
        self.huge.load(Relaxed)
    }
}

/// Gives back what `Memory` reserved.
///
/// # Safety
/// 1. The arguments are those and the result of a `reserve`, and nobody uses the range any more.
#[cfg(not(miri))]
unsafe fn give_back(start: NonNull<u8>, bytes: usize, _: usize) {
    // SAFETY: (1).
    unsafe { Memory.unreserve(start, bytes) }
}

/// As above.
///
/// # Safety
/// 1. As above.
#[cfg(miri)]
unsafe fn give_back(start: NonNull<u8>, bytes: usize, align: usize) {
    if let Ok(layout) = Memory::layout(bytes, align) {
        // SAFETY: (1): it was allocated with this layout.
        unsafe { std::alloc::dealloc(start.as_ptr(), layout) }
    }
}

/// Memory for Miri, which has no mappings without access rights: the system allocator's, all of it usable from the start.
#[cfg(miri)]
struct Memory;

#[cfg(miri)]
impl Memory {
    fn layout(bytes: usize, align: usize) -> Result<std::alloc::Layout, Refused> {
        // Reservations made with foresight are too large to be interpreted; the heap then asks for what it needs.
        if bytes > crate::page::ARENA_SIZE {
            return Err(Refused);
        }
        std::alloc::Layout::from_size_align(bytes, align.max(4096)).map_err(|_| Refused)
    }
}

// SAFETY: 1: fresh memory with that alignment. 2: zeroed when it was made. 3: overwritten with zeros. 6: the system allocator is not a heap of ours.
#[cfg(miri)]
unsafe impl Os for Memory {
    fn reserve(&self, bytes: usize, align: usize) -> Result<NonNull<u8>, Refused> {
        // SAFETY: reservations are not empty.
        NonNull::new(unsafe { std::alloc::alloc_zeroed(Memory::layout(bytes, align)?) })
            .ok_or(Refused)
    }

    unsafe fn commit(&self, _: NonNull<u8>, _: usize) -> Result<(), Refused> {
        Ok(())
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        // SAFETY: the range is reserved, and nobody uses its contents.
        unsafe { start.write_bytes(0, bytes) };
        Ok(())
    }
}
