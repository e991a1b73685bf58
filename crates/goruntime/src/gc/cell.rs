//! Fields of collected objects that change: every store goes through the write barrier.
//!
//! The barrier (Go's hybrid: shade what is overwritten and what is written) keeps a concurrent mark correct. It is two
//! loads and two branches while no mark is under way.
//!
//! # A store that is interrupted
//!
//! The flag says whether a mark is under way, and changes only while the world is stopped. But a thread may be stopped anywhere, between its look at the flag and its
//! store as well; so one look before the store is not enough: the world may be stopped there, marking begin, and the store then go unreported. Hence
//! the flag is looked at **after** the store, and the value stays on the stack or in a register until then ([`keep`]):
//!
//! - If the flag is off then, marking had not begun when the store was made (or had ended): the object is scanned later.
//! - If it is on, the new value is reported. Should marking end between the store and the report, the value is found in the last stop
//!   where it is kept.
//!
//! The look before the store decides only whether the old value is reported, on which no object's life depends (see `gogc`'s `mark_sweep::concurrent`).

use super::{Field, Gc, PointerMap, Trace};
use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
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

/// The value is on the stack or in a register up to here: where the collector would find it.
#[inline(always)]
pub(super) fn keep(word: usize) {
    // SAFETY: no instruction at all. To the compiler it uses the word, and memory, so it comes after the look at the flag.
    unsafe { std::arch::asm!("/* {0} */", in(reg) word, options(nostack, preserves_flags)) };
}

fn raw<T>(pointer: Option<Gc<T>>) -> *mut T {
    pointer.map_or(null_mut(), |p| p.as_ptr().cast_mut())
}

fn cooked<T>(raw: *mut T) -> Option<Gc<T>> {
    NonNull::new(raw).map(Gc::from_non_null)
}

/// After a store of `new` in the place of `old`.
#[inline(always)]
fn stored(old: usize, new: usize) {
    if crate::collector::barrier_on() {
        crate::collector::shade(old, new);
    }
    keep(new);
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
            return;
        }
        let new = raw(pointer);
        self.0.store(new, Release);
        stored(0, new as usize);
    }

    /// Puts `pointer` in and takes out what was there.
    #[inline]
    pub fn swap(&self, pointer: Option<Gc<T>>) -> Option<Gc<T>> {
        let new = raw(pointer);
        let old = self.0.swap(new, AcqRel);
        stored(old as usize, new as usize);
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
                stored(old as usize, new as usize);
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

/// Reports all pointers in the value at `value`.
///
/// # Safety
/// 1. It is initialised, and can be read.
#[cold]
unsafe fn report<T: Trace>(value: *const T) {
    crate::collector::shade_each(|sink| {
        // SAFETY: (1), and the map describes T.
        unsafe { T::MAP.for_each_word(value.cast(), size_of::<T>(), |word| sink.record(word, 0)) }
    });
}

/// A `Cell` for values that hold collected pointers, for use by one goroutine at a time (not `Sync`).
#[repr(transparent)]
pub struct GcCell<T>(UnsafeCell<T>);

// SAFETY: T lies at offset 0 and is all there is.
unsafe impl<T: Trace> Trace for GcCell<T> {
    const MAP: PointerMap = T::MAP;
    const FIELDS: &'static [Field] = T::FIELDS;
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
        if T::MAP.is_empty() {
            // SAFETY: not Sync, and no reference to the inside is ever given out: nobody else is in there.
            return unsafe { std::ptr::replace(slot, value) };
        }
        if crate::collector::barrier_on() {
            // SAFETY: an initialised value of T, and the map describes T.
            unsafe { report::<T>(slot) };
        }
        let value = ManuallyDrop::new(value);
        // SAFETY: as above; the value is moved into the slot, and what stays here is not used as one.
        let old = unsafe { std::ptr::replace(slot, std::ptr::read(&*value)) };
        if crate::collector::barrier_on() {
            // SAFETY: the bytes of an initialised value of T.
            unsafe { report::<T>((&raw const value).cast()) };
        }
        if size_of::<T>() == size_of::<usize>() && align_of::<T>() == align_of::<usize>() {
            // SAFETY: of the size of a word; it has pointers, so all of it is initialised or nothing is made of it.
            keep(unsafe { gogc::word::load((&raw const value).cast()) });
        } else {
            std::hint::black_box(&raw const value);
        }
        old
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
