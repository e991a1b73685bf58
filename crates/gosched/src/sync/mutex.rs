//! Mutual exclusion.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use crate::goroutine::WaitReason;
use crate::simulated;
use crate::sync::raw::RawMutex;
use crate::time::Nanos;

/// A mutual exclusion lock for goroutines and plain threads. A goroutine that waits parks; its
/// thread goes on.
///
/// There is no poisoning: a panic unlocks and leaves the data as they are. The lock has no notion
/// of an owner, so a guard may be sent to and dropped by another goroutine or thread.
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    data: UnsafeCell<T>,
}

// SAFETY: the lock gives one party at a time access, so sharing the mutex only moves `T` between
// threads.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// SAFETY: an owned mutex is nothing but its data; while a waiter is queued it is borrowed.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    /// Unlocked.
    pub const fn new(data: T) -> Mutex<T> {
        Mutex {
            raw: RawMutex::new(),
            data: UnsafeCell::new(data),
        }
    }

    /// The data.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// For who has just taken the lock.
    #[inline]
    fn guard(&self) -> MutexGuard<'_, T> {
        self.raw.note_holder();
        MutexGuard {
            mutex: self,
            _data: PhantomData,
        }
    }

    /// Waits until the lock is free and takes it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        simulated::point();
        self.raw.lock(WaitReason::MutexLock, Nanos::NEVER);
        self.guard()
    }

    /// Takes the lock if it is free now.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        simulated::point();
        self.raw.try_lock().then(|| self.guard())
    }

    /// Takes the lock if it becomes free before the deadline.
    pub fn lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        simulated::point();
        self.raw
            .lock(WaitReason::MutexLock, simulated::point_in_time(deadline))
            .then(|| self.guard())
    }

    /// The data, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(guard) => f.debug_tuple("Mutex").field(&&*guard).finish(),
            None => f.write_str("Mutex(<locked>)"),
        }
    }
}

/// The lock, held until drop.
#[must_use = "the mutex is unlocked at once if the guard is not kept"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// `Sync` only if `T` is: a shared guard gives out `&T`.
    _data: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    pub(crate) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: a guard exists only while its lock is held.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` makes the reference unique.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard is the proof that the lock is held.
        unsafe { self.mutex.raw.unlock() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
