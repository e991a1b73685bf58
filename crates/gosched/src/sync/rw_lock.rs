//! Many readers or one writer.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::simulated;
use crate::sync::raw_rw::RawRwLock;

/// A readers-writer lock. A writer that waits makes later readers wait; when a writer leaves, all readers that wait get in before the
/// next writer. No poisoning. A reader that locks again while a writer waits deadlocks, as in Go.
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    data: UnsafeCell<T>,
}

// SAFETY: readers share `&T`, a writer moves it between threads.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
// SAFETY: an owned lock is nothing but its data.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}

impl<T> RwLock<T> {
    /// Unlocked.
    pub const fn new(data: T) -> RwLock<T> {
        RwLock {
            raw: RawRwLock::new(),
            data: UnsafeCell::new(data),
        }
    }

    /// The data.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until no writer has it or waits before.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        simulated::point();
        self.raw.read();
        RwLockReadGuard(self)
    }

    /// Waits until nobody has it.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        simulated::point();
        self.raw.write();
        RwLockWriteGuard(self, PhantomData)
    }

    /// Reads if that is possible now.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        simulated::point();
        self.raw.try_read().then(|| RwLockReadGuard(self))
    }

    /// Writes if that is possible now.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        simulated::point();
        self.raw
            .try_write()
            .then(|| RwLockWriteGuard(self, PhantomData))
    }

    /// The data, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_read() {
            Some(guard) => f.debug_tuple("RwLock").field(&&*guard).finish(),
            None => f.write_str("RwLock(<locked>)"),
        }
    }
}

/// Shared access until drop.
#[must_use = "the lock is left at once if the guard is not kept"]
pub struct RwLockReadGuard<'a, T: ?Sized>(&'a RwLock<T>);

/// Exclusive access until drop.
#[must_use = "the lock is left at once if the guard is not kept"]
pub struct RwLockWriteGuard<'a, T: ?Sized>(&'a RwLock<T>, PhantomData<&'a mut T>);

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: while a reader is in, nobody writes.
        unsafe { &*self.0.data.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: while a writer is in, nobody else is.
        unsafe { &*self.0.data.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` makes the reference unique.
        unsafe { &mut *self.0.data.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: a guard exists only while its reader is in.
        unsafe { self.0.raw.end_read() }
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: a guard exists only while its writer is in.
        unsafe { self.0.raw.end_write() }
    }
}
