//! `Weak<T>`: knows an object without keeping it alive.
//!
//! It is a pointer to the object's *handle*, a collected object of one word that holds the address. Handles have no pointers, so nobody who scans looks into
//! one; and addresses are written nowhere else, but for a moment in registers. The collector empties the handle in the stop in which it
//! finds the object dead (`gogc`'s `specials`).
//!
//! Invariant: outside of a stop a handle holds the address of an object that is not freed, or zero.
//!
//! [`upgrade`](Weak::upgrade) reads it in a critical section, at whose end the address is in a register or on the stack. So it comes before the stop, which then finds
//! the object to be reachable, or after it.

use super::cell::keep;
use super::{Gc, PointerMap, Trace, keep_alive};
use crate::collector;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ptr::{NonNull, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicUsize, Ordering::*};

/// Holds the address of an object, or zero if that is dead.
pub(crate) struct Handle(AtomicUsize);

// SAFETY: the word is no pointer to the collector. That is the point.
unsafe impl Trace for Handle {
    const MAP: PointerMap = PointerMap::EMPTY;
}

impl Handle {
    /// Empties the handle at `address`.
    ///
    /// # Safety
    /// 1. A handle is there, which has not been freed.
    /// 2. The world is stopped.
    pub(crate) unsafe fn empty(address: usize) {
        let handle = with_exposed_provenance_mut::<Handle>(address);
        // SAFETY: (1).
        unsafe { &*handle }.0.store(0, Release);
    }
}

/// A pointer that does not keep its object alive, made by [`Gc::downgrade`].
///
/// May be kept wherever a [`Gc`] may, in collected objects too. Two of them are equal just if they were made of the same object, also when that
/// is dead; so they serve as keys of maps. Those of [`Weak::new`] are equal to each other.
///
/// ```
/// # #[global_allocator] static A: goruntime::GoMalloc = goruntime::GoMalloc::new();
/// use goruntime::gc::Gc;
///
/// let object = Gc::new(String::from("something large"));
/// let weak = object.downgrade();
/// assert!(weak.upgrade().unwrap().ptr_eq(object));
/// assert_eq!(weak, object.downgrade());
/// ```
///
/// # When it stops to lead anywhere
/// In the collection that finds the object unreachable, before any of its fields is dropped and before any of its
/// [cleanups](super::add_cleanup) runs, and for all weak pointers to it at once. Nothing brings it back: neither drop glue nor cleanups can make the object
/// reachable again. Until then it can be reached from here at any time, and what has been reached lives on.
pub struct Weak<T: 'static> {
    handle: Option<Gc<Handle>>,
    target: PhantomData<Gc<T>>,
}

// SAFETY: the one word that it is: a pointer to the handle, or null.
unsafe impl<T: 'static> Trace for Weak<T> {
    const MAP: PointerMap = PointerMap::WORD;
}

impl<T: 'static> Weak<T> {
    /// Leads nowhere.
    #[inline]
    pub const fn new() -> Weak<T> {
        Weak {
            handle: None,
            target: PhantomData,
        }
    }

    pub(super) fn of(object: Gc<T>) -> Weak<T> {
        let address = object.as_ptr().expose_provenance();
        let handle = find(address).unwrap_or_else(|| attach(address));
        keep_alive(object);
        Weak {
            handle: Some(handle),
            target: PhantomData,
        }
    }

    /// The object, if it is alive.
    #[inline]
    pub fn upgrade(self) -> Option<Gc<T>> {
        let handle = self.handle?;
        let section = gomem::critical::enter();
        let target = handle.0.load(Acquire);
        // It would be found in the stop that ends marking, but all that it leads to as well.
        if target != 0 && collector::barrier_on() {
            collector::shade(target, 0);
        }
        leave_with(section, target)
    }
}

/// The handle of an object that has one.
fn find(object: usize) -> Option<Gc<Handle>> {
    let section = gomem::critical::enter();
    let handle = collector::specials().handle(object)?;
    leave_with(section, handle)
}

#[cold]
fn attach(object: usize) -> Gc<Handle> {
    let new = Gc::new(Handle(AtomicUsize::new(object)));
    let section = gomem::critical::enter();
    let attached = collector::specials().attach_handle(object, new.as_ptr().expose_provenance());
    // As is required of who attaches something.
    if collector::barrier_on() {
        collector::shade(object, attached);
    }
    leave_with(section, attached).unwrap_or(new)
}

/// Ends the section in which the address of an object was learned. It is in a register, or on the stack, as it is, and not as it was kept elsewhere; so a stop at the end of the
/// section finds it.
#[inline]
fn leave_with<T>(section: gomem::critical::Critical, address: usize) -> Option<Gc<T>> {
    keep(address);
    drop(section);
    keep(address);
    NonNull::new(with_exposed_provenance_mut(address)).map(Gc::from_non_null)
}

impl<T: 'static> Clone for Weak<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for Weak<T> {}

impl<T: 'static> Default for Weak<T> {
    fn default() -> Self {
        Weak::new()
    }
}

impl<T: 'static> Weak<T> {
    fn address(self) -> usize {
        self.handle.map_or(0, |handle| handle.as_ptr().addr())
    }
}

impl<T: 'static> PartialEq for Weak<T> {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl<T: 'static> Eq for Weak<T> {}

impl<T: 'static> Hash for Weak<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

impl<T: 'static> fmt::Debug for Weak<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(Weak)")
    }
}
