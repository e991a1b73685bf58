//! The scheduler's lock: a word, a short spin, a futex.
//!
//! Taken only inside a critical section (the witness asks for one), so a thread stopped by the
//! collector never holds it. It knows nothing of goroutines: a goroutine that waits here blocks its
//! thread, which is right for sections of some dozen instructions and wrong for anything longer.
//! The three-state word is Drepper's ("Futexes are tricky", 2011): free, held, held with sleepers.
//!
//! Who finds it held looks again after a pause that is long beside a section, and longer each time. Each look takes the word's line
//! away from the holder, who is about to lock again as likely as not: a channel between two processors goes three times as fast when
//! each of them has it for many operations in a row.

use crate::atomic::{AtomicU32, Ordering, spin_loop};
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

use crate::critical::Section;
use crate::sys;

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// Spins before each look at a lock that was held; then it sleeps. Some ten nanoseconds each, so less than a sleep costs in all.
const SPINS: &[u32] = if cfg!(explore) {
    &[1]
} else {
    &[32, 64, 128, 128]
};

/// The word without the data.
pub(crate) struct RawLock(AtomicU32);

impl RawLock {
    pub(crate) const fn new() -> RawLock {
        RawLock(AtomicU32::new(FREE))
    }

    #[inline]
    pub(crate) fn lock(&self, _inside: &Section) {
        if self
            .0
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.lock_slow();
        }
    }

    #[cold]
    fn lock_slow(&self) {
        for &spins in SPINS {
            for _ in 0..spins {
                spin_loop();
            }
            if self.0.load(Ordering::Relaxed) == FREE
                && self
                    .0
                    .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
            sys::futex_wait(&self.0, CONTENDED, None);
        }
    }

    /// # Safety
    /// 1. The caller holds the lock.
    #[inline]
    pub(crate) unsafe fn unlock(&self) {
        if self.0.swap(FREE, Ordering::Release) == CONTENDED {
            sys::futex_wake(&self.0, 1);
        }
    }
}

/// Data under a [`RawLock`].
pub(crate) struct Lock<T> {
    raw: RawLock,
    data: UnsafeCell<T>,
}

// SAFETY: the lock gives one thread at a time access to the data, so sharing it only moves `T`
// between threads.
unsafe impl<T: Send> Sync for Lock<T> {}
// SAFETY: a lock that is owned is nothing but its data.
unsafe impl<T: Send> Send for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) const fn new(data: T) -> Lock<T> {
        Lock {
            raw: RawLock::new(),
            data: UnsafeCell::new(data),
        }
    }

    #[inline]
    pub(crate) fn lock<'a>(&'a self, inside: &'a Section) -> Guard<'a, T> {
        self.raw.lock(inside);
        Guard { lock: self }
    }

    /// The word, for code that holds several locks at once.
    #[inline]
    pub(crate) fn raw(&self) -> &RawLock {
        &self.raw
    }

    /// # Safety
    /// 1. The caller holds the lock, and no other reference to the data is alive.
    #[allow(
        clippy::mut_from_ref,
        reason = "obligation 1 makes the reference unique"
    )]
    #[inline]
    pub(crate) unsafe fn data(&self) -> &mut T {
        // SAFETY: obligation 1.
        unsafe { &mut *self.data.get() }
    }

    /// The data's address, for readers that know by other means that nobody writes.
    pub(crate) fn data_ptr(&self) -> *const T {
        self.data.get()
    }
}

/// The held lock.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a guard exists only while the lock is held by its creator.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` makes the reference unique.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard is the proof that the lock is held.
        unsafe { self.lock.raw.unlock() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critical;
    use std::sync::Arc;

    #[test]
    fn increments_are_not_lost() {
        const EACH: u64 = if cfg!(miri) { 50 } else { 20_000 };
        let lock = Arc::new(Lock::new(0u64));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let lock = lock.clone();
                std::thread::spawn(move || {
                    for _ in 0..EACH {
                        let inside = critical::enter();
                        *lock.lock(&inside) += 1;
                    }
                })
            })
            .collect();
        for t in threads {
            t.join().unwrap();
        }
        let inside = critical::enter();
        assert_eq!(*lock.lock(&inside), 4 * EACH);
    }
}
