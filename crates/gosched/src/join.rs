//! The result of a goroutine, and waiting for it.

use crate::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use crate::critical;
use crate::goroutine::WaitReason;
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::Waiter;

/// What a goroutine panicked with.
pub struct Panic(Box<dyn Any + Send + 'static>);

impl Panic {
    #[inline]
    pub(crate) fn new(payload: Box<dyn Any + Send + 'static>) -> Panic {
        Panic(payload)
    }

    /// The message, if `panic!` was called with one.
    pub fn message(&self) -> Option<&str> {
        let payload = &*self.0;
        payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }

    /// The payload, as `std::thread::JoinHandle::join` returns it.
    pub fn into_payload(self) -> Box<dyn Any + Send + 'static> {
        self.0
    }

    /// Runs `f`, and lets no panic out of it: the panic hook has told of it, and the caller has other things to do.
    ///
    /// What it panicked with is dropped here, and may panic while it is; that goes no further either. What such a panic is raised with is leaked instead of
    /// dropped, since it could go on like this for ever.
    pub fn contain(f: impl FnOnce()) {
        let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
            return;
        };
        if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(next);
        }
    }

    /// Goes on panicking here.
    ///
    /// # Panics
    /// Always; the panic hook is not called again.
    pub fn resume(self) -> ! {
        std::panic::resume_unwind(self.0)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message()).finish()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the goroutine panicked: {}",
            self.message().unwrap_or("(no message)")
        )
    }
}

impl std::error::Error for Panic {}

/// Where a goroutine leaves its result.
///
/// `state` is null at first, then either the address of the one waiter, or `DONE`. Whoever
/// exchanges it second acts: a waiter that finds `DONE` does not wait, a goroutine that finds a
/// waiter wakes it.
pub(crate) struct Packet<T> {
    state: AtomicPtr<Waiter>,
    result: UnsafeCell<Option<Result<T, Panic>>>,
    /// Somebody has asked for the result.
    joined: AtomicBool,
}

const DONE: *mut Waiter = ptr::without_provenance_mut(1);

// SAFETY: the goroutine writes `result` before `DONE` is published, the one handle reads it after.
unsafe impl<T: Send> Sync for Packet<T> {}
// SAFETY: as above; a waiter may be woken from any thread.
unsafe impl<T: Send> Send for Packet<T> {}

impl<T> Packet<T> {
    #[inline]
    pub(crate) fn new() -> Packet<T> {
        Packet {
            state: AtomicPtr::new(ptr::null_mut()),
            result: UnsafeCell::new(None),
            joined: AtomicBool::new(false),
        }
    }

    /// # Safety
    /// 1. Called once, before `announce`, by the goroutine.
    pub(crate) unsafe fn put(&self, result: Result<T, Panic>) {
        // SAFETY: nobody reads before `DONE`.
        unsafe { *self.result.get() = Some(result) };
    }

    /// Publishes the result and gives up the goroutine's reference.
    ///
    /// # Safety
    /// 1. `packet` is from `Arc::<Packet<T>>::into_raw`, and `put` has been called.
    pub(crate) unsafe fn announce(packet: *const ()) {
        // SAFETY: obligation 1.
        let packet = unsafe { Arc::from_raw(packet.cast::<Packet<T>>()) };
        let waiter = packet.state.swap(DONE, Ordering::AcqRel);
        // SAFETY: a waiter in the state waits for exactly this, so it is alive; the exchange was
        // the only claim to it.
        if let Some(alive) = unsafe { waiter.as_ref() } {
            let claimed = alive.claim(1);
            debug_assert!(claimed);
            // SAFETY: claimed.
            unsafe { Waiter::wake(waiter, &critical::enter()) };
        }
        // Without a handle this drops the result, which may panic; nobody is left to be told, other
        // than by the panic hook.
        Panic::contain(|| drop(packet));
    }

    /// Whether somebody has asked for the result.
    #[inline]
    pub(crate) fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    #[inline]
    fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }
}

/// The right to wait for a goroutine and take its result. Dropping it lets the goroutine run on
/// unobserved.
pub struct JoinHandle<T> {
    packet: Arc<Packet<T>>,
}

impl<T> JoinHandle<T> {
    #[inline]
    pub(crate) fn new(packet: Arc<Packet<T>>) -> JoinHandle<T> {
        JoinHandle { packet }
    }

    /// Whether the goroutine has ended.
    pub fn is_finished(&self) -> bool {
        self.packet.is_done()
    }

    /// Waits for the goroutine's end, thread-local destructors included. From goroutines and
    /// threads.
    ///
    /// # Errors
    /// If the goroutine panicked.
    pub fn join(self) -> Result<T, Panic> {
        simulated::point();
        let packet = &*self.packet;
        packet.joined.store(true, Ordering::Relaxed);
        if !packet.is_done() {
            let waiter = Waiter::new();
            waiter.prepare(WaitReason::Semacquire, packet);
            let address = ptr::from_ref(&waiter).cast_mut();
            match packet.state.compare_exchange(
                ptr::null_mut(),
                address,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    waiter.wait(Nanos::NEVER);
                }
                Err(_) => waiter.cancel(),
            }
        }
        self.take()
    }

    /// The result, if the goroutine has ended; the handle, if it has not.
    ///
    /// # Errors
    /// With the handle, if the goroutine has not ended. Inside, if it panicked.
    ///
    /// ```no_run
    /// # fn f(mut handle: gosched::JoinHandle<u32>) {
    /// let result = loop {
    ///     match handle.try_join() {
    ///         Ok(result) => break result,
    ///         Err(not_yet) => handle = not_yet,
    ///     }
    ///     println!("still waiting");
    ///     gosched::yield_now();
    /// };
    /// println!("{result:?}");
    /// # }
    /// ```
    pub fn try_join(self) -> Result<Result<T, Panic>, JoinHandle<T>> {
        simulated::point();
        if !self.packet.is_done() {
            return Err(self);
        }
        self.packet.joined.store(true, Ordering::Relaxed);
        Ok(self.take())
    }

    fn take(self) -> Result<T, Panic> {
        debug_assert!(self.packet.is_done());
        // SAFETY: `DONE` is published after the result, and this is the only handle.
        unsafe { (*self.packet.result.get()).take() }
            .expect("a goroutine that is done has left its result")
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}
