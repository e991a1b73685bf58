//! Values made once: std's `OnceLock` and `LazyLock`, where who waits for the maker parks.
//!
//! The value lies in std's `OnceLock`, which is only ever filled by who holds the mutex beside it; so std's never blocks a thread, and reading is one load.

use gosched::sync::Mutex;
use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock as Cell;

/// A value that is written once. As [`std::sync::OnceLock`], but a goroutine that waits for another to make the value parks.
///
/// ```
/// use goruntime::sync::OnceLock;
///
/// static CONFIG: OnceLock<String> = OnceLock::new();
/// assert_eq!(CONFIG.get(), None);
/// assert_eq!(CONFIG.get_or_init(|| "read from a file".to_owned()), "read from a file");
/// assert_eq!(CONFIG.set("another".to_owned()), Err("another".to_owned()));
/// ```
pub struct OnceLock<T> {
    cell: Cell<T>,
    making: Mutex<()>,
}

impl<T> OnceLock<T> {
    /// Without a value.
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            cell: Cell::new(),
            making: Mutex::new(()),
        }
    }

    /// The value, if there is one.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.cell.get()
    }

    /// The same, for who alone has it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.cell.get_mut()
    }

    /// Makes this the value. Waits for who is making one.
    ///
    /// # Errors
    /// If there is one; this comes back.
    pub fn set(&self, value: T) -> Result<(), T> {
        let _making = self.making.lock();
        self.cell.set(value)
    }

    /// The value, made by `f` if there is none. Of several calls one makes it, and the others wait. If `f` panics there is none, and the next call tries.
    ///
    /// In `f` itself this waits for ever.
    #[inline]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        match self.get_or_try_init(|| Ok::<T, std::convert::Infallible>(f())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// As [`get_or_init`](Self::get_or_init), for an `f` that may fail.
    ///
    /// # Errors
    /// Those of `f`. Then there is no value, and the next call tries.
    #[inline]
    pub fn get_or_try_init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        match self.get() {
            Some(value) => Ok(value),
            None => self.make(f),
        }
    }

    #[cold]
    fn make<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let _making = self.making.lock();
        match self.get() {
            Some(value) => Ok(value),
            None => {
                let value = f()?;
                Ok(self.cell.get_or_init(|| value))
            }
        }
    }

    /// The value, if there is one.
    pub fn into_inner(self) -> Option<T> {
        self.cell.into_inner()
    }

    /// The value, if there is one; there is none behind.
    pub fn take(&mut self) -> Option<T> {
        self.cell.take()
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> OnceLock<T> {
        OnceLock {
            cell: value.into(),
            making: Mutex::new(()),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.fmt(f)
    }
}

/// A value that is made when it is first used. As [`std::sync::LazyLock`], but a goroutine that waits for another to make the value parks. Go's `sync.OnceValue`.
///
/// ```
/// use goruntime::sync::LazyLock;
///
/// static PRIMES: LazyLock<Vec<u32>> = LazyLock::new(|| vec![2, 3, 5, 7]);
/// assert_eq!(PRIMES.len(), 4);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    value: OnceLock<T>,
    /// Until it is called.
    make: Mutex<Option<F>>,
}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// What `f` returns.
    pub const fn new(f: F) -> LazyLock<T, F> {
        LazyLock {
            value: OnceLock::new(),
            make: Mutex::new(Some(f)),
        }
    }

    /// The value, made now if it has not been. The same as `*lazy`.
    ///
    /// # Panics
    /// If the function panics, and ever after: it is called once.
    #[inline]
    pub fn force(lazy: &LazyLock<T, F>) -> &T {
        lazy.value.get_or_init(|| {
            let make = lazy.make.lock().take();
            make.expect("the function of a LazyLock has panicked before")()
        })
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.get() {
            Some(value) => f.debug_tuple("LazyLock").field(value).finish(),
            None => f.write_str("LazyLock(<not made>)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{go, simulation, time, yield_now};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    #[test]
    fn a_value_is_made_once_and_all_see_it() {
        simulation::check(200, || {
            let cell = Arc::new(OnceLock::new());
            let made = Arc::new(AtomicUsize::new(0));
            let askers: Vec<_> = (0..4)
                .map(|n| {
                    let (cell, made) = (cell.clone(), made.clone());
                    go(move || {
                        *cell.get_or_init(|| {
                            made.fetch_add(1, Relaxed);
                            // Waits while it makes the value: the others park.
                            time::sleep(Duration::from_millis(n));
                            7
                        })
                    })
                })
                .collect();
            yield_now();
            let set = cell.set(7).is_ok();
            assert!(askers.into_iter().all(|asker| asker.join().unwrap() == 7));
            assert_eq!(made.load(Relaxed) + usize::from(set), 1);
        });
    }

    #[test]
    fn who_fails_leaves_it_to_the_next() {
        let cell = OnceLock::new();
        assert_eq!(cell.get_or_try_init(|| Err("no")), Err("no"));
        let panic = catch_unwind(AssertUnwindSafe(|| cell.get_or_init(|| panic!("no"))));
        assert!(panic.is_err());
        assert_eq!(cell.get_or_init(|| 1), &1);
        assert_eq!(cell.get_or_try_init(|| Err("late")), Ok(&1));
        assert_eq!(cell.set(2), Err(2));
        assert_eq!(cell.into_inner(), Some(1));
    }

    #[test]
    fn a_lazy_value_is_made_by_the_first_who_looks() {
        simulation::check(100, || {
            let lazy = Arc::new(LazyLock::new(|| {
                time::sleep(Duration::from_millis(1));
                vec![1, 2, 3]
            }));
            let lookers: Vec<_> = (0..3)
                .map(|_| {
                    let lazy = lazy.clone();
                    go(move || lazy.len())
                })
                .collect();
            assert!(
                lookers
                    .into_iter()
                    .all(|looker| looker.join().unwrap() == 3)
            );
        });
    }

    #[test]
    fn a_lazy_value_whose_function_panics_stays_without() {
        let lazy: LazyLock<u32> = LazyLock::new(|| panic!("at first"));
        for message in ["at first", "the function of a LazyLock has panicked before"] {
            let why = catch_unwind(AssertUnwindSafe(|| *lazy)).unwrap_err();
            let text = why.downcast_ref::<&str>().copied();
            let text = text.or(why.downcast_ref::<String>().map(String::as_str));
            assert_eq!(text, Some(message));
        }
    }
}
