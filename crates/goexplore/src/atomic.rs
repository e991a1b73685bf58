//! The atomics of `std::sync::atomic`, under the explorer's eyes.
//!
//! Each type has the layout of its counterpart, so memory that is cast to the one can be cast to the other, and a `const fn new`. Outside of an
//! exploration every operation is that of the counterpart.

use crate::execution::{State, operate};
use crate::plant::Damage;
use crate::trace::What;
use std::panic::Location;
use std::sync::atomic as real;

pub use std::sync::atomic::{Ordering, compiler_fence};

/// A value as the explorer keeps it.
trait Word: Copy {
    fn bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

impl Word for bool {
    fn bits(self) -> u64 {
        u64::from(self)
    }
    fn from_bits(bits: u64) -> bool {
        bits != 0
    }
}

impl<T> Word for *mut T {
    fn bits(self) -> u64 {
        self.expose_provenance() as u64
    }
    fn from_bits(bits: u64) -> *mut T {
        std::ptr::with_exposed_provenance_mut(bits as usize)
    }
}

/// The real word behind an atomic.
trait Cell {
    type Value: Word;
    fn get(&self) -> Self::Value;
    fn set(&self, value: Self::Value);
    fn address(&self) -> usize {
        std::ptr::from_ref(self).cast::<()>().addr()
    }
}

fn locate<C: Cell>(state: &mut State, cell: &C) -> usize {
    state.memory.location(cell.address(), cell.get().bits())
}

fn weakened(state: &mut State, order: Ordering, at: &Location<'_>) -> (Ordering, bool) {
    match state.damage(at) {
        None => (order, false),
        Some(Damage::Weaken) => (Ordering::Relaxed, false),
        Some(Damage::Remove) => (order, true),
    }
}

fn load<C: Cell>(cell: &C, order: Ordering, at: &'static Location<'static>) -> Option<C::Value> {
    operate(at, |state, me| {
        let (order, _) = weakened(state, order, at);
        let location = locate(state, cell);
        let choices = state.memory.choices(me, location, order);
        let age = state.choose_age(choices);
        let value = state.memory.load(me, location, age, order);
        state.trace.note(me, at, What::Load { value, age });
        C::Value::from_bits(value)
    })
}

fn store<C: Cell>(
    cell: &C,
    value: C::Value,
    order: Ordering,
    at: &'static Location<'static>,
) -> Option<()> {
    operate(at, |state, me| {
        let (order, removed) = weakened(state, order, at);
        if removed {
            return;
        }
        let location = locate(state, cell);
        state.memory.store(me, location, value.bits(), order);
        cell.set(value);
        state.trace.note(me, at, What::Store(value.bits()));
    })
}

/// A read-modify-write: `change` says what is to be stored, or `None` if nothing is.
fn modify<C: Cell>(
    cell: &C,
    success: Ordering,
    failure: Ordering,
    at: &'static Location<'static>,
    change: impl FnOnce(C::Value) -> Option<C::Value>,
) -> Option<Result<C::Value, C::Value>> {
    operate(at, |state, me| {
        let location = locate(state, cell);
        let old = cell.get();
        let Some(new) = change(old) else {
            let (failure, _) = weakened(state, failure, at);
            state.memory.load(me, location, 0, failure);
            state.trace.note(me, at, What::Failed(old.bits()));
            return Err(old);
        };
        let (order, removed) = weakened(state, success, at);
        state.memory.load(me, location, 0, order);
        if !removed {
            state.memory.modify(me, location, new.bits(), order);
            cell.set(new);
        }
        let (from, to) = (old.bits(), new.bits());
        state.trace.note(me, at, What::Modify { from, to });
        Ok(old)
    })
}

/// Of the one ordering that is given for success, the part that a failure has.
fn of_failure(order: Ordering) -> Ordering {
    match order {
        Ordering::Release => Ordering::Relaxed,
        Ordering::AcqRel => Ordering::Acquire,
        other => other,
    }
}

/// As [`std::sync::atomic::fence`].
#[track_caller]
pub fn fence(order: Ordering) {
    let at = Location::caller();
    let explored = operate(at, |state, me| {
        if state.damage(at).is_none() {
            state.memory.fence(me, order);
            state.trace.note(me, at, What::Fence("a"));
        }
    });
    if explored.is_none() {
        real::fence(order);
    }
}

/// What is common to all types of atomics.
macro_rules! atomic {
    ($name:ident, $real:ty, $value:ty, [$($generic:tt)*], [$($argument:tt)*]) => {
        #[doc = concat!("As `std::sync::atomic::", stringify!($name), "`.")]
        #[repr(transparent)]
        pub struct $name $($generic)* ($real);

        impl $($generic)* Cell for $name $($argument)* {
            type Value = $value;
            fn get(&self) -> $value {
                self.0.load(Ordering::Relaxed)
            }
            fn set(&self, value: $value) {
                self.0.store(value, Ordering::Relaxed);
            }
        }

        #[allow(missing_docs, reason = "the documentation is that of the standard library")]
        impl $($generic)* $name $($argument)* {
            #[must_use]
            pub const fn new(value: $value) -> Self {
                Self(<$real>::new(value))
            }

            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            #[must_use]
            pub fn into_inner(self) -> $value {
                self.0.into_inner()
            }

            pub const fn as_ptr(&self) -> *mut $value {
                self.0.as_ptr()
            }

            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                load(self, order, Location::caller()).unwrap_or_else(|| self.0.load(order))
            }

            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                store(self, value, order, Location::caller())
                    .unwrap_or_else(|| self.0.store(value, order));
            }

            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                modify(self, order, order, Location::caller(), |_| Some(value))
                    .map_or_else(|| self.0.swap(value, order), |r| r.unwrap_or_else(|old| old))
            }

            /// # Errors
            /// The value found.
            #[track_caller]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let change = |old| (old == current).then_some(new);
                modify(self, success, failure, Location::caller(), change)
                    .unwrap_or_else(|| self.0.compare_exchange(current, new, success, failure))
            }

            /// # Errors
            /// The value found.
            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let change = |old| (old == current).then_some(new);
                modify(self, success, failure, Location::caller(), change)
                    .unwrap_or_else(|| self.0.compare_exchange_weak(current, new, success, failure))
            }

            /// # Errors
            /// The value found, if `f` returned `None`.
            #[track_caller]
            pub fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut f: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                modify(self, success, failure, Location::caller(), &mut f)
                    .unwrap_or_else(|| self.0.fetch_update(success, failure, f))
            }
        }

        impl $($generic)* Default for $name $($argument)* where $real: Default {
            fn default() -> Self {
                Self(<$real>::default())
            }
        }

        impl $($generic)* std::fmt::Debug for $name $($argument)* {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// The read-modify-writes of one type.
macro_rules! fetch {
    ($name:ident, $value:ty, $($method:ident => $change:expr),+) => {
        #[allow(missing_docs, reason = "the documentation is that of the standard library")]
        impl $name {
            $(#[track_caller]
            pub fn $method(&self, value: $value, order: Ordering) -> $value {
                let change: fn($value, $value) -> $value = $change;
                modify(self, order, of_failure(order), Location::caller(), |old| Some(change(old, value)))
                    .map_or_else(|| self.0.$method(value, order), |r| r.unwrap_or_else(|old| old))
            })+
        }
    };
}

macro_rules! integer {
    ($name:ident, $value:ty) => {
        impl Word for $value {
            fn bits(self) -> u64 {
                self as u64
            }
            fn from_bits(bits: u64) -> $value {
                bits as $value
            }
        }
        atomic!($name, real::$name, $value, [], []);
        fetch!(
            $name, $value,
            fetch_add => <$value>::wrapping_add, fetch_sub => <$value>::wrapping_sub,
            fetch_and => |a, b| a & b, fetch_or => |a, b| a | b, fetch_xor => |a, b| a ^ b,
            fetch_max => Ord::max, fetch_min => Ord::min
        );
        impl From<$value> for $name {
            fn from(value: $value) -> Self {
                Self::new(value)
            }
        }
    };
}

integer!(AtomicU8, u8);
integer!(AtomicU16, u16);
integer!(AtomicU32, u32);
integer!(AtomicU64, u64);
integer!(AtomicUsize, usize);
integer!(AtomicI32, i32);
integer!(AtomicI64, i64);
integer!(AtomicIsize, isize);
atomic!(AtomicBool, real::AtomicBool, bool, [], []);
fetch!(AtomicBool, bool, fetch_and => |a, b| a & b, fetch_or => |a, b| a | b, fetch_xor => |a, b| a ^ b);
atomic!(AtomicPtr, real::AtomicPtr<T>, *mut T, [<T>], [<T>]);
