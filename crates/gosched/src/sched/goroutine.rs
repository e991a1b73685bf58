//! A G with what depends on the environment: its context and its scheduler.

use std::cell::{Cell, UnsafeCell};
use std::ptr;

use crate::env::{Engine, Env, StackSpec};
use crate::gmp::g::{GRef, Header};
use crate::sched::Scheduler;
use crate::sched::ops::OpsOf;

/// `header` comes first, so that a pointer to one is a pointer to the other.
#[repr(C)]
pub(crate) struct Goroutine<V: Env> {
    header: Header,
    pub(crate) sched: &'static Scheduler<V>,
    pub(crate) spec: Cell<StackSpec>,
    /// `None` only while pooled, when the context was of an unusual size.
    pub(crate) context: UnsafeCell<Option<<V::Engine as Engine>::Context>>,
}

// SAFETY: as `Header`; `spec` and `context` belong to whoever owns the G, and the engine's contexts
// are `Send`.
unsafe impl<V: Env> Sync for Goroutine<V> {}
// SAFETY: as above.
unsafe impl<V: Env> Send for Goroutine<V> {}

impl<V: Env> Goroutine<V> {
    pub(crate) fn new(sched: &'static Scheduler<V>) -> Goroutine<V> {
        let ops = match sched.simulation() {
            None => OpsOf::<V>::TABLE,
            Some(_) => OpsOf::<V>::SIMULATED,
        };
        Goroutine {
            header: Header::new(ops, ptr::from_ref(sched).cast()),
            sched,
            spec: Cell::new(StackSpec::default()),
            context: UnsafeCell::new(None),
        }
    }

    pub(crate) fn header(&'static self) -> GRef {
        // From the whole, so that `of` may get back from the part to the whole.
        // SAFETY: `header` is the first field of a `repr(C)` struct.
        unsafe { &*ptr::from_ref(self).cast::<Header>() }
    }

    /// The whole of which `header` is the first part.
    ///
    /// # Safety
    /// 1. `header` is that of a goroutine of environment `V`.
    pub(crate) unsafe fn of(header: *const Header) -> &'static Goroutine<V> {
        // SAFETY: obligation 1, and Gs are never freed.
        unsafe { &*header.cast::<Goroutine<V>>() }
    }

    /// Where the context is, for a switch.
    ///
    /// # Safety
    /// 1. The caller owns the G, and it has a context.
    pub(crate) unsafe fn context_ptr(&self) -> *mut <V::Engine as Engine>::Context {
        // SAFETY: obligation 1; the reference ends here.
        match unsafe { &mut *self.context.get() } {
            Some(context) => context,
            None => unreachable!("a goroutine that runs has a context"),
        }
    }
}
