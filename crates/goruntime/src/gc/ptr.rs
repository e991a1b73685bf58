//! `Gc<T>`: a pointer to a collected object.
//!
//! Invariant: it points to an initialised `T` in the collected heap, which stays alive while the collector can find this
//! pointer, or any reference made from it, in one of the places that it searches. `Gc` is one whole aligned word, also inside
//! other types (`repr(align(8))` keeps it out of packed structs), so that it is found.

use super::object::{One, allocate};
use super::{PointerMap, Trace};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

/// A copyable pointer to a garbage-collected `T`. See the [module](super).
///
/// `Send` and `Sync` as `&T` is both: when `T` is `Send + Sync`, like `Arc`.
#[repr(C, align(8))]
pub struct Gc<T: 'static>(NonNull<T>);

// SAFETY: a Gc gives shared access from any thread, and the object is dropped on another thread: T must allow both.
unsafe impl<T: Send + Sync> Send for Gc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Gc<T> {}

// SAFETY: the one word that it is.
unsafe impl<T: 'static> Trace for Gc<T> {
    const MAP: PointerMap = PointerMap::WORD;
}

impl<T: Trace> Gc<T> {
    /// Moves `value` into the collected heap.
    ///
    /// # Panics
    /// When `goruntime::GoMalloc` is not the global allocator.
    #[inline]
    pub fn new(value: T) -> Gc<T> {
        let value = ManuallyDrop::new(value);
        let at = allocate::<One<T>, T>(size_of::<T>(), |to| {
            // SAFETY: `to` has room for a T, aligned: the shape says so. The value is moved there, once.
            unsafe {
                to.cast::<T>()
                    .copy_from_nonoverlapping(&raw const *value, 1)
            }
        });
        Gc(at)
    }
}

impl<T: 'static> Gc<T> {
    /// The address of the value.
    #[inline]
    pub fn as_ptr(self) -> *const T {
        self.0.as_ptr()
    }

    /// Do both point to the same object?
    #[inline]
    pub fn ptr_eq(self, other: Gc<T>) -> bool {
        self.0 == other.0
    }

    /// A pointer from the address that [`as_ptr`](Gc::as_ptr) gave.
    ///
    /// # Safety
    /// 1. `at` came from `as_ptr` of a `Gc<T>`, and the object is still alive.
    #[inline]
    pub unsafe fn from_ptr(at: *const T) -> Gc<T> {
        // SAFETY: (1): never null.
        Gc(unsafe { NonNull::new_unchecked(at.cast_mut()) })
    }

    pub(super) fn from_non_null(at: NonNull<T>) -> Gc<T> {
        Gc(at)
    }
}

impl<T: 'static> Clone for Gc<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for Gc<T> {}

impl<T: 'static> Deref for Gc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the invariant at the head of this file; the reference is itself a pointer into the object.
        unsafe { self.0.as_ref() }
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for Gc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Display + 'static> fmt::Display for Gc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq + 'static> PartialEq for Gc<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq + 'static> Eq for Gc<T> {}

impl<T: Hash + 'static> Hash for Gc<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: PartialOrd + 'static> PartialOrd for Gc<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Ord + 'static> Ord for Gc<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}
