//! A system that refuses: for tests of what the heap does then.

use crate::atomic::{AtomicU32, Ordering::*};
use crate::env::{Os, Refused};
use crate::os::LinuxOs;
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
    /// Address and length of what was reserved.
    reserved: Mutex<Vec<(usize, usize)>>,
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
        for &(start, bytes) in self.reserved.get_mut().into_iter().flat_map(|r| r.iter()) {
            if let Some(start) = NonNull::new(with_exposed_provenance_mut(start)) {
                // SAFETY: reserved by this value, whose users are gone.
                unsafe { LinuxOs.unreserve(start, bytes) };
            }
        }
    }
}

// SAFETY: the memory is LinuxOs's, which keeps the obligations; refusing is allowed.
unsafe impl Os for SimOs {
    fn reserve(&self, bytes: usize, align: usize) -> Result<NonNull<u8>, Refused> {
        self.reserve.call()?;
        if self.largest != 0 && bytes > self.largest {
            return Err(Refused);
        }
        let start = LinuxOs.reserve(bytes, align)?;
        let mut reserved = self.reserved.lock().map_err(|_| Refused)?;
        reserved.push((start.as_ptr().expose_provenance(), bytes));
        Ok(start)
    }

    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        self.commit.call()?;
        // SAFETY: the caller's obligations.
        unsafe { LinuxOs.commit(start, bytes) }
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) -> Result<(), Refused> {
        self.release.call()?;
        // SAFETY: the caller's obligations.
        unsafe { LinuxOs.release(start, bytes) }
    }
}
