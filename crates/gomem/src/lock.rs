//! The allocator's mutex: spins a little, then sleeps on a futex.
//!
//! Invariant: neither locking nor unlocking allocates, unwinds or touches `errno`, so it may be used under `malloc`. It is never
//! poisoned: the allocator does not panic while it holds one. Locks are taken in the order in which the modules stand in
//! `lib.rs`: a central list's before the heap's.
//!
//! The three states are those of Drepper's "Futexes Are Tricky" (2011).

use crate::atomic::{AtomicU32, Ordering::*, spin_loop};
use crate::os::{futex_wait, futex_wake_one};
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may sleep.
const CONTENDED: u32 = 2;

/// How often a locked word is looked at before sleeping. Sections under these locks are shorter than a system call.
const SPINS: u32 = if cfg!(explore) { 1 } else { 100 };

pub(crate) struct Lock<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time, through the guard.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Lock {
            state: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, T> {
        if self
            .state
            .compare_exchange(FREE, HELD, Acquire, Relaxed)
            .is_err()
        {
            self.lock_contended();
        }
        Locked { lock: self }
    }

    /// Locks until [`release`](Self::release), which may come in a child process.
    pub(crate) fn acquire(&self) {
        std::mem::forget(self.lock());
    }

    /// Ends what [`acquire`](Self::acquire) began.
    ///
    /// # Safety
    /// 1. The calling thread, or in the parent process the one that it is a copy of, has called `acquire`, and not this since.
    pub(crate) unsafe fn release(&self) {
        drop(Locked { lock: self });
    }

    #[cold]
    fn lock_contended(&self) {
        for _ in 0..SPINS {
            spin_loop();
            if self.state.load(Relaxed) == FREE
                && self
                    .state
                    .compare_exchange(FREE, HELD, Acquire, Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        while self.state.swap(CONTENDED, Acquire) != FREE {
            futex_wait(&self.state, CONTENDED);
        }
    }
}

/// Evidence that the lock is held.
pub(crate) struct Locked<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as this value lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and this value is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Locked<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.lock.state.swap(FREE, Release) == CONTENDED {
            futex_wake_one(&self.lock.state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes() {
        const EACH: u64 = if cfg!(miri) { 50 } else { 20_000 };
        let lock = Lock::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for i in 0..EACH {
                        let mut value = lock.lock();
                        let seen = *value;
                        if i % 1000 == 0 {
                            std::thread::yield_now();
                        }
                        *value = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 4 * EACH);
    }
}
