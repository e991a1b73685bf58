//! A number inside a collected object.
//!
//! Collected objects are shared, so what changes in them is atomic; and as the lock of the keyspace orders all access, relaxed
//! is enough: a load and a store are plain moves.

use goruntime::gc::Trace;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A number that changes in place. Updates are not atomic: whoever changes it holds the lock.
#[derive(Debug, Default, Trace)]
pub struct Count(AtomicUsize);

impl Count {
    /// A count that starts at `value`.
    pub const fn new(value: usize) -> Count {
        Count(AtomicUsize::new(value))
    }

    /// The number.
    #[inline]
    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Makes it `value`.
    #[inline]
    pub fn set(&self, value: usize) {
        self.0.store(value, Relaxed);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: usize) {
        self.set(self.get() + n);
    }

    /// Takes `n` away.
    #[inline]
    pub fn sub(&self, n: usize) {
        self.set(self.get() - n);
    }
}
