//! A second implementation of [`Os`] for tests: it counts calls and refuses the one it is told to.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::env::{Os, OsError};
use crate::os::Linux;

/// Passes calls on to [`Linux`] and refuses the n-th call that can fail.
#[derive(Debug, Default)]
pub struct Refusing {
    inner: Linux,
    calls: AtomicUsize,
    refused: AtomicUsize,
    mapped: AtomicUsize,
}

impl Refusing {
    /// Refuses the `nth` fallible call from now on, counted from 1; 0 refuses none.
    pub fn refuse(&self, nth: usize) {
        self.calls.store(0, Ordering::SeqCst);
        self.refused.store(nth, Ordering::SeqCst);
    }

    /// Fallible calls since the last [`refuse`](Self::refuse).
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Bytes mapped and not unmapped.
    pub fn mapped(&self) -> usize {
        self.mapped.load(Ordering::SeqCst)
    }

    fn admit(&self, operation: &'static str) -> Result<(), OsError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call == self.refused.load(Ordering::SeqCst) {
            return Err(OsError {
                operation,
                errno: libc::ENOMEM,
                advice: "this is a test",
            });
        }
        Ok(())
    }
}

// SAFETY: what is not refused is done by `Linux`, which keeps the promises.
unsafe impl Os for Refusing {
    fn map(&self, len: usize) -> Result<NonNull<u8>, OsError> {
        self.admit("map")?;
        let addr = self.inner.map(len)?;
        self.mapped.fetch_add(len, Ordering::SeqCst);
        Ok(addr)
    }

    unsafe fn unmap(&self, addr: NonNull<u8>, len: usize) {
        self.mapped.fetch_sub(len, Ordering::SeqCst);
        // SAFETY: the caller keeps the obligations of the same method.
        unsafe { self.inner.unmap(addr, len) };
    }

    unsafe fn install_guard(&self, addr: NonNull<u8>, len: usize) -> Result<(), OsError> {
        self.admit("install_guard")?;
        // SAFETY: the caller keeps the obligations of the same method.
        unsafe { self.inner.install_guard(addr, len) }
    }

    unsafe fn release(&self, addr: NonNull<u8>, len: usize) -> Result<(), OsError> {
        self.admit("release")?;
        // SAFETY: the caller keeps the obligations of the same method.
        unsafe { self.inner.release(addr, len) }
    }

    fn prefer_huge_pages(&self, addr: NonNull<u8>, len: usize) {
        self.inner.prefer_huge_pages(addr, len);
    }
}
