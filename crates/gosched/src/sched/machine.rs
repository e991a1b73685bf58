//! An M with what depends on the environment: the context of its thread.

use crate::atomic::AtomicPtr;
use std::cell::UnsafeCell;
use std::ptr;

use crate::env::{Engine, Env, Readiness};
use crate::gmp::m::M;

/// Reports taken from the poller at a time.
const REPORTS: usize = if cfg!(explore) { 2 } else { 128 };

/// `m` comes first, so that a pointer to one is a pointer to the other.
#[repr(C)]
pub(crate) struct Machine<V: Env> {
    pub(crate) m: M,
    /// The thread's own stack; written before the first goroutine runs.
    pub(crate) context: UnsafeCell<Option<<V::Engine as Engine>::Context>>,
    /// Here rather than on the stack, which may be a goroutine's.
    reports: UnsafeCell<Box<[Readiness]>>,
    /// Next in the list of all Ms, which only grows.
    pub(crate) all_next: AtomicPtr<Machine<V>>,
}

// SAFETY: as `M`; `context` and `reports` belong to the context that runs on it.
unsafe impl<V: Env> Sync for Machine<V> {}
// SAFETY: as above; the engine's contexts are `Send`.
unsafe impl<V: Env> Send for Machine<V> {}

impl<V: Env> Machine<V> {
    pub(crate) fn new(id: u32) -> Machine<V> {
        Machine {
            m: M::new(id),
            context: UnsafeCell::new(None),
            reports: UnsafeCell::new(vec![Readiness::NONE; REPORTS].into_boxed_slice()),
            all_next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The whole of which `m` is the first part.
    ///
    /// # Safety
    /// 1. `m` is that of a machine of environment `V`.
    pub(crate) unsafe fn of(m: *const M) -> &'static Machine<V> {
        // SAFETY: obligation 1, and machines are never freed.
        unsafe { &*m.cast::<Machine<V>>() }
    }

    pub(crate) fn as_m(&'static self) -> &'static M {
        // From the whole, so that `of` may get back from the part to the whole.
        // SAFETY: `m` is the first field of a `repr(C)` struct.
        unsafe { &*ptr::from_ref(self).cast::<M>() }
    }

    /// Where the thread's context is, for a switch.
    ///
    /// # Safety
    /// 1. The caller is the context that runs on this M.
    pub(crate) unsafe fn context_ptr(&self) -> *mut <V::Engine as Engine>::Context {
        // SAFETY: obligation 1; the reference ends here.
        match unsafe { &mut *self.context.get() } {
            Some(context) => context,
            None => unreachable!("a machine adopts its thread before it runs goroutines"),
        }
    }

    /// Room for what the poller reports.
    ///
    /// # Safety
    /// 1. The caller is the context that runs on this M, and has no other reference to it.
    #[allow(
        clippy::mut_from_ref,
        reason = "obligation 1 makes the reference unique"
    )]
    pub(crate) unsafe fn reports(&self) -> &mut [Readiness] {
        // SAFETY: obligation 1.
        unsafe { &mut *self.reports.get() }
    }
}
