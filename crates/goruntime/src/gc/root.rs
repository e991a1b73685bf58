//! `Root<T>`: keeps an object alive whatever the collector can or cannot see.
//!
//! The table of roots is ordinary Rust heap memory, which is searched; so a root is nothing but a place in it.

use super::Gc;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

/// Keeps a collected object alive until dropped.
///
/// For pointers that live where the collector does not look: in memory from `mmap`, in a C library, behind arithmetic. Keep the root for as long as the pointer is there.
///
/// ```
/// # #[global_allocator] static A: goruntime::GoMalloc = goruntime::GoMalloc::new();
/// use goruntime::gc::{Gc, Root};
///
/// unsafe extern "C" fn callback(context: *const u32) -> u32 {
///     // SAFETY: there is a root as long as the library may call.
///     unsafe { *Gc::from_ptr(context) }
/// }
///
/// let root = Root::new(Gc::new(7));
/// let context = root.get().as_ptr(); // handed to a C library, which keeps it in its own memory
/// # // SAFETY: see above.
/// assert_eq!(unsafe { callback(context) }, 7);
/// drop(root);
/// ```
///
/// Nothing else needs one: what the program keeps on stacks, in statics, in the Rust heap or in other collected objects is found there.
pub struct Root<T: ?Sized + 'static> {
    pointer: Gc<T>,
    place: usize,
}

struct Table {
    places: Vec<usize>,
    free: Vec<usize>,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    places: Vec::new(),
    free: Vec::new(),
});

impl<T: ?Sized + 'static> Root<T> {
    /// Roots `pointer`.
    pub fn new(pointer: Gc<T>) -> Self {
        let address = pointer.as_ptr().expose_provenance();
        let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match table.free.pop() {
            Some(place) => {
                table.places[place] = address;
                place
            }
            None => {
                table.places.push(address);
                table.places.len() - 1
            }
        };
        Root { pointer, place }
    }

    /// The pointer.
    pub fn get(&self) -> Gc<T> {
        self.pointer
    }
}

impl<T: ?Sized + 'static> Drop for Root<T> {
    fn drop(&mut self) {
        let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        table.places[self.place] = 0;
        table.free.push(self.place);
    }
}

impl<T: ?Sized + 'static> Clone for Root<T> {
    fn clone(&self) -> Self {
        Root::new(self.pointer)
    }
}

impl<T: ?Sized + 'static> Deref for Root<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.pointer
    }
}

impl<T: ?Sized + std::fmt::Debug + 'static> std::fmt::Debug for Root<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
