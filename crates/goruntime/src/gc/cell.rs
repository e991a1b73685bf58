//! Fields of collected objects that change: every store goes through the write barrier.
//!
//! The barrier (Go's hybrid: shade what is overwritten and what is written) keeps a concurrent mark correct. It is one
//! load and one branch while no mark is under way.

use super::{Gc, PointerMap, Trace};
use std::cell::UnsafeCell;
use std::fmt;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// A nullable pointer field, atomic, that may be shared between goroutines.
///
/// Loads acquire and stores release, so that an object read through it is seen initialised.
#[repr(transparent)]
pub struct GcPtr<T: 'static>(AtomicPtr<T>);

// SAFETY: the one word that it is.
unsafe impl<T: 'static> Trace for GcPtr<T> {
    const MAP: PointerMap = PointerMap::WORD;
}

// SAFETY: as Gc<T>, which can be taken out and put in from any thread.
unsafe impl<T: Send + Sync> Send for GcPtr<T> {}
// SAFETY: as above; access is atomic.
unsafe impl<T: Send + Sync> Sync for GcPtr<T> {}

fn raw<T>(pointer: Option<Gc<T>>) -> *mut T {
    pointer.map_or(null_mut(), |p| p.as_ptr().cast_mut())
}

fn cooked<T>(raw: *mut T) -> Option<Gc<T>> {
    NonNull::new(raw).map(Gc::from_non_null)
}

impl<T: 'static> GcPtr<T> {
    /// A field that holds `pointer`.
    #[inline]
    pub fn new(pointer: Option<Gc<T>>) -> Self {
        GcPtr(AtomicPtr::new(raw(pointer)))
    }

    /// An empty field.
    #[inline]
    pub const fn null() -> Self {
        GcPtr(AtomicPtr::new(null_mut()))
    }

    /// What it holds.
    #[inline]
    pub fn load(&self) -> Option<Gc<T>> {
        cooked(self.0.load(Acquire))
    }

    /// Puts `pointer` in.
    #[inline]
    pub fn store(&self, pointer: Option<Gc<T>>) {
        if crate::collector::barrier_on() {
            self.swap(pointer);
        } else {
            self.0.store(raw(pointer), Release);
        }
    }

    /// Puts `pointer` in and takes out what was there.
    #[inline]
    pub fn swap(&self, pointer: Option<Gc<T>>) -> Option<Gc<T>> {
        let new = raw(pointer);
        let old = self.0.swap(new, AcqRel);
        crate::collector::barrier(old as usize, new as usize);
        cooked(old)
    }

    /// Puts `new` in if it holds `current`; gives what it held, as `Ok` if it was `current`.
    ///
    /// # Errors
    /// What it holds instead of `current`.
    #[inline]
    pub fn compare_exchange(
        &self,
        current: Option<Gc<T>>,
        new: Option<Gc<T>>,
    ) -> Result<Option<Gc<T>>, Option<Gc<T>>> {
        let (old, new) = (raw(current), raw(new));
        match self.0.compare_exchange(old, new, AcqRel, Acquire) {
            Ok(old) => {
                crate::collector::barrier(old as usize, new as usize);
                Ok(cooked(old))
            }
            Err(found) => Err(cooked(found)),
        }
    }
}

impl<T: 'static> Default for GcPtr<T> {
    fn default() -> Self {
        GcPtr::null()
    }
}

impl<T: 'static> From<Gc<T>> for GcPtr<T> {
    fn from(pointer: Gc<T>) -> Self {
        GcPtr::new(Some(pointer))
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for GcPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

/// A `Cell` for values that hold collected pointers, for use by one goroutine at a time (not `Sync`).
#[repr(transparent)]
pub struct GcCell<T>(UnsafeCell<T>);

// SAFETY: T lies at offset 0 and is all there is.
unsafe impl<T: Trace> Trace for GcCell<T> {
    const MAP: PointerMap = T::MAP;
}

impl<T: Trace> GcCell<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> Self {
        GcCell(UnsafeCell::new(value))
    }

    /// Puts `value` in, and drops what was there.
    #[inline]
    pub fn set(&self, value: T) {
        drop(self.replace(value));
    }

    /// Puts `value` in and takes out what was there.
    #[inline]
    pub fn replace(&self, value: T) -> T {
        let slot = self.0.get();
        if crate::collector::barrier_on() {
            let shade = |word| crate::collector::barrier(word, 0);
            // SAFETY: both are initialised values of T, and the map describes T.
            unsafe {
                T::MAP.for_each_word(slot.cast(), size_of::<T>(), shade);
                T::MAP.for_each_word((&raw const value).cast(), size_of::<T>(), shade);
            }
        }
        // SAFETY: not Sync, and no reference to the inside is ever given out: nobody else is in there.
        unsafe { std::ptr::replace(slot, value) }
    }

    /// Takes the value out and leaves the default.
    pub fn take(&self) -> T
    where
        T: Default,
    {
        self.replace(T::default())
    }
}

impl<T: Trace + Copy> GcCell<T> {
    /// A copy of the value.
    #[inline]
    pub fn get(&self) -> T {
        // SAFETY: as in `replace`.
        unsafe { *self.0.get() }
    }
}

impl<T: Trace + Default> Default for GcCell<T> {
    fn default() -> Self {
        GcCell::new(T::default())
    }
}

impl<T: Trace + Copy + fmt::Debug> fmt::Debug for GcCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
