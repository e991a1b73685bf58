//! Collected arrays whose length is known at run time, behind a thin pointer.

use super::Gc;
use super::Trace;
use super::object::{Many, allocate};
use std::ops::Index;
use std::ptr::NonNull;

/// A collected array: `Gc<Array<T>>` is one word, so that it fits a [`GcPtr`](super::GcPtr).
///
/// `Gc<[T]>` is its elements without the detour by the length, in a pointer of two words. Its length is fixed. Elements that change are atomics, [`GcPtr`](super::GcPtr) or [`GcCell`](super::GcCell).
#[repr(C)]
pub struct Array<T> {
    len: usize,
    elements: [T; 0],
}

impl<T: Trace> Gc<Array<T>> {
    /// An array of `len` elements, each made by `element` from its index.
    ///
    /// # Panics
    /// As [`Gc::new`]; when `len` elements exceed the address space; when `element` panics (those made until then are dropped).
    pub fn array(len: usize, element: impl FnMut(usize) -> T) -> Self {
        // The elements are made first: `element` may allocate, park or panic, which an object half initialised would not survive.
        Self::from_vec((0..len).map(element).collect())
    }

    /// An array of the elements of a vector.
    pub fn from_vec(mut elements: Vec<T>) -> Self {
        let len = elements.len();
        let bytes = size_of_val(elements.as_slice()) + size_of::<Array<T>>();
        let from = elements.as_ptr();
        let at = allocate::<Many<T>, Array<T>>(bytes, |to| {
            // SAFETY: `to` has room for the length and the elements, aligned: the shape says so.
            unsafe {
                to.cast::<usize>().write(len);
                let first = to.add(size_of::<Array<T>>()).cast::<T>();
                first.copy_from_nonoverlapping(from, len);
            }
        });
        // SAFETY: they were moved out.
        unsafe { elements.set_len(0) };
        Gc::from_non_null(at)
    }
}

impl<T: Trace + Copy> Gc<Array<T>> {
    /// A copy of a slice.
    pub fn copy_of(elements: &[T]) -> Self {
        let bytes = size_of_val(elements) + size_of::<Array<T>>();
        let at = allocate::<Many<T>, Array<T>>(bytes, |to| {
            // SAFETY: as in `from_vec`; T is Copy.
            unsafe {
                to.cast::<usize>().write(elements.len());
                let first = to.add(size_of::<Array<T>>()).cast::<T>();
                first.copy_from_nonoverlapping(elements.as_ptr(), elements.len());
            }
        });
        Gc::from_non_null(at)
    }
}

impl Gc<Array<u8>> {
    /// A byte string.
    #[inline]
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::copy_of(bytes)
    }
}

impl<T: 'static> Gc<Array<T>> {
    /// The number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Has it no elements?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        let array = self.as_ptr();
        // SAFETY: `len` initialised elements follow the array's head, in the same object, for as long as it lives.
        unsafe {
            let first = array.cast::<u8>().add(size_of::<Array<T>>()).cast::<T>();
            std::slice::from_raw_parts(first, (*array).len)
        }
    }
}

impl<T: 'static> Index<usize> for Gc<Array<T>> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        &self.as_slice()[index]
    }
}

impl<T: 'static> From<Gc<Array<T>>> for Gc<[T]> {
    /// The elements, behind a pointer of two words.
    fn from(array: Gc<Array<T>>) -> Self {
        let mut elements = NonNull::from(array.as_slice());
        if size_of_val(array.as_slice()) == 0 {
            // The object may end behind the head, and its end is none of its addresses. The head's is as good: it is aligned for a T.
            elements = elements.map_addr(|_| array.addr());
        }
        Gc::from_non_null(elements)
    }
}

impl<T: Trace> From<Vec<T>> for Gc<[T]> {
    fn from(elements: Vec<T>) -> Self {
        Gc::from_vec(elements).into()
    }
}

impl<T: Trace> FromIterator<T> for Gc<[T]> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        elements.into_iter().collect::<Vec<_>>().into()
    }
}
