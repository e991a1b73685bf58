//! `Gc<T>`: a pointer to a collected object.
//!
//! Invariant: it points to an initialised `T` in the collected heap, an object or a part of one, which stays alive while the collector can find this
//! pointer, or any reference made from it, in one of the places that it searches. Its address is one of the object's, never that of its end, where the next
//! one begins: a part that takes no bytes may be there, and is pointed to from within. `Gc` is one whole aligned word, also inside
//! other types (`repr(align(8))` keeps it out of packed structs), so that it is found. A pointer to a slice or a trait object has a second word, the
//! length or the table; no collector cares.

use super::object::{One, allocate};
use super::{PointerMap, Trace, Weak};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem::ManuallyDrop;
use std::num::NonZero;
use std::ops::Deref;
use std::ptr::NonNull;

/// A copyable pointer to a garbage-collected `T`. See the [module](super).
///
/// One word, or two if `T` is a slice, `str`, or a trait object: see [`map`](Gc::map) and [`Array`](super::Array).
///
/// `Send` and `Sync` as `&T` is both: when `T` is `Send + Sync`, like `Arc`.
#[repr(C, align(8))]
pub struct Gc<T: ?Sized + 'static>(NonNull<T>);

// SAFETY: a Gc gives shared access from any thread, and the object is dropped on another thread: T must allow both.
unsafe impl<T: ?Sized + Send + Sync> Send for Gc<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for Gc<T> {}

// SAFETY: every word that it is; of a pointer to a slice or a trait object one is no address of an object.
unsafe impl<T: ?Sized + 'static> Trace for Gc<T> {
    const MAP: PointerMap = PointerMap::conservative(size_of::<Self>());
}

impl<T: Trace> Gc<T> {
    /// Moves `value` into the collected heap.
    ///
    /// Its alignment is 16 bytes at most, and a std cell or lock in it holds no collected pointer. In types with parameters the compiler finds out here:
    ///
    /// ```compile_fail,E0080
    /// # #[global_allocator] static A: goruntime::GoMalloc = goruntime::GoMalloc::new();
    /// use goruntime::gc::{Gc, Trace};
    ///
    /// #[derive(Trace)]
    /// struct Shared<T>(std::sync::Mutex<T>);
    ///
    /// Gc::new(Shared(std::sync::Mutex::new(Gc::new(1))));
    /// ```
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
    /// A pointer to the same object that does not keep it alive.
    pub fn downgrade(self) -> Weak<T> {
        Weak::of(self)
    }
}

impl<T: ?Sized + 'static> Gc<T> {
    /// The address of the value.
    #[inline]
    pub fn as_ptr(self) -> *const T {
        self.0.as_ptr()
    }

    /// Do both point to the same object?
    #[inline]
    pub fn ptr_eq(self, other: Gc<T>) -> bool {
        self.0.addr() == other.0.addr()
    }

    /// A pointer to a part of the object, or to the object as something else. It keeps the whole object alive, also if the part takes no bytes: an empty slice, or a field of
    /// type `()`. (Such a part has no address of its own: the pointer's need not be the one that the reference had.)
    ///
    /// ```
    /// # #[global_allocator] static A: goruntime::GoMalloc = goruntime::GoMalloc::new();
    /// use goruntime::gc::Gc;
    /// use std::fmt::Display;
    ///
    /// let pair = Gc::new((1u8, 2.5f64));
    /// let second: Gc<f64> = Gc::map(pair, |pair| &pair.1);
    /// let shown: Gc<dyn Display> = Gc::map(second, |number| number as &dyn Display);
    /// assert_eq!(shown.to_string(), "2.5");
    /// ```
    ///
    /// # Panics
    /// If what `part` returns does not lie within the object: what the object owns in the Rust heap goes when it does.
    pub fn map<U: ?Sized + 'static>(
        this: Gc<T>,
        part: impl for<'a> FnOnce(&'a T) -> &'a U,
    ) -> Gc<U> {
        let part = part(&*this);
        let mut start = std::ptr::from_ref(part).addr();
        let object = gomem::heap().find(this.0.addr().get());
        let within = object.is_some_and(|object| {
            let base = object.base().addr().get();
            let end = base + object.size();
            if start == end && size_of_val(part) == 0 {
                start -= align_of_val(part);
            }
            start >= base && start + size_of_val(part) <= end
        });
        assert!(
            within,
            "what a collected pointer is mapped to must lie within the object itself"
        );
        Gc(NonNull::from(part).map_addr(|address| NonZero::new(start).unwrap_or(address)))
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

    /// The address of the value.
    pub(super) fn addr(self) -> NonZero<usize> {
        self.0.addr()
    }

    pub(super) fn from_non_null(at: NonNull<T>) -> Gc<T> {
        Gc(at)
    }
}

impl<T: ?Sized + 'static> Clone for Gc<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized + 'static> Copy for Gc<T> {}

impl<T: ?Sized + 'static> Deref for Gc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the invariant at the head of this file; the reference is itself a pointer into the object.
        unsafe { self.0.as_ref() }
    }
}

impl<T: ?Sized + fmt::Debug + 'static> fmt::Debug for Gc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display + 'static> fmt::Display for Gc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + PartialEq + 'static> PartialEq for Gc<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Eq + 'static> Eq for Gc<T> {}

impl<T: ?Sized + Hash + 'static> Hash for Gc<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: ?Sized + PartialOrd + 'static> PartialOrd for Gc<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: ?Sized + Ord + 'static> Ord for Gc<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Gc<str> {
    /// A copy of a string.
    pub fn copy_of(text: &str) -> Gc<str> {
        let bytes: Gc<[u8]> = Gc::bytes(text.as_bytes()).into();
        // SAFETY: the bytes of a string, which nobody changes.
        Gc::map(bytes, |bytes| unsafe {
            std::str::from_utf8_unchecked(bytes)
        })
    }
}

impl From<&str> for Gc<str> {
    fn from(text: &str) -> Self {
        Gc::<str>::copy_of(text)
    }
}
