//! `Mutex` and `Condvar` of std, under the explorer's eyes, and plain data whose accesses are checked.

use crate::execution::{Limit, On, Status, operate, part};
use crate::plant::Damage;
use crate::trace::What;
use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::{LockResult, PoisonError};

/// As [`std::sync::Mutex`]. Never poisoned in an exploration, which ends with the first panic.
#[derive(Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

/// As [`std::sync::MutexGuard`].
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    real: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// An unlocked one.
    #[must_use]
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(std::sync::Mutex::new(value))
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// As [`std::sync::Mutex::lock`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let at = Location::caller();
        while operate(at, |state, me| {
            let (holder, view) = state.mutexes.entry(self.address()).or_default();
            if holder.is_some() {
                return false;
            }
            *holder = Some(me);
            let view = view.clone();
            state.memory.acquire(me, &view);
            state.trace.note(me, at, What::Wait("locks"));
            true
        }) == Some(false)
        {
            let (execution, me) = part().expect("an operation was made");
            let blocked = Status::Blocked(On::Mutex(self.address()), Limit::None);
            drop(execution.wait(execution.lock(), me, blocked));
        }
        match self.0.lock() {
            Ok(real) => Ok(MutexGuard {
                mutex: self,
                real: Some(real),
            }),
            Err(poisoned) => Err(PoisonError::new(MutexGuard {
                mutex: self,
                real: Some(poisoned.into_inner()),
            })),
        }
    }

    /// As [`std::sync::Mutex::get_mut`].
    ///
    /// # Errors
    /// As there.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.0.get_mut()
    }

    /// As [`std::sync::Mutex::into_inner`].
    ///
    /// # Errors
    /// As there.
    pub fn into_inner(self) -> LockResult<T> {
        self.0.into_inner()
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.real.as_ref().expect("held until dropped")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.real.as_mut().expect("held until dropped")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.real = None;
        let Some((execution, me)) = part() else {
            return;
        };
        // Not an operation of its own: what follows is one.
        let mut state = execution.lock();
        let view = state.memory.release(me);
        state.mutexes.insert(self.mutex.address(), (None, view));
        state.unblock(On::Mutex(self.mutex.address()), usize::MAX);
    }
}

/// As [`std::sync::Condvar`].
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Condvar {
        Condvar(std::sync::Condvar::new())
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// As [`std::sync::Condvar::wait`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let mutex = guard.mutex;
        let Some((execution, me)) = part() else {
            let wrap = |real| MutexGuard {
                mutex,
                real: Some(real),
            };
            let real = guard.real.take().expect("held until dropped");
            return match self.0.wait(real) {
                Ok(real) => Ok(wrap(real)),
                Err(poisoned) => Err(PoisonError::new(wrap(poisoned.into_inner()))),
            };
        };
        drop(guard);
        let blocked = Status::Blocked(On::Condvar(self.address()), Limit::None);
        drop(execution.wait(execution.lock(), me, blocked));
        mutex.lock()
    }

    /// As [`std::sync::Condvar::wait_while`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    #[track_caller]
    fn notify(&self, n: usize) -> bool {
        let at = Location::caller();
        operate(at, |state, me| {
            if state.damage(at) != Some(Damage::Remove) {
                let woken = state.unblock(On::Condvar(self.address()), n);
                state.trace.note(me, at, What::Wake(woken));
            }
        })
        .is_some()
    }

    /// As [`std::sync::Condvar::notify_one`].
    #[track_caller]
    pub fn notify_one(&self) {
        if !self.notify(1) {
            self.0.notify_one();
        }
    }

    /// As [`std::sync::Condvar::notify_all`].
    #[track_caller]
    pub fn notify_all(&self) {
        if !self.notify(usize::MAX) {
            self.0.notify_all();
        }
    }
}

/// Plain data that a protocol is to guard. In an exploration an access that races with another one, by what the orderings promise and not by
/// what happened to happen, is a failure.
#[derive(Debug, Default)]
pub struct Guarded<T>(UnsafeCell<T>);

// SAFETY: the accessors are unsafe, and pass this obligation on.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// Holds `value`.
    #[must_use]
    pub const fn new(value: T) -> Guarded<T> {
        Guarded(UnsafeCell::new(value))
    }

    #[track_caller]
    fn check(&self, writes: bool) {
        let at = Location::caller();
        let address = self.0.get().addr();
        let raced = operate(at, |state, me| {
            state.memory.plain(me, address, writes).err()
        });
        if let Some(Some(other)) = raced {
            panic!(
                "a data race with thread {other} at {}:{}",
                at.file(),
                at.line()
            );
        }
    }

    /// Reads it.
    ///
    /// # Safety
    /// 1. Outside of explorations nobody writes meanwhile.
    #[track_caller]
    pub unsafe fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        self.check(false);
        // SAFETY: (1); in an exploration one thread runs at a time, and `f` makes no operation on what it borrows.
        f(unsafe { &*self.0.get() })
    }

    /// Changes it.
    ///
    /// # Safety
    /// 1. Outside of explorations nobody reads or writes meanwhile.
    /// 2. `f` does not come here again for the same value.
    #[track_caller]
    pub unsafe fn with_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.check(true);
        // SAFETY: (1) and (2), as above.
        f(unsafe { &mut *self.0.get() })
    }
}
