//! What a goroutine is to run: a closure, kept inside the G when it is small.
//!
//! The closure is called once and leaves behind the means to announce its end, because that must
//! happen after the goroutine's thread-local destructors have run, as `std::thread` does it.

use std::mem::{self, MaybeUninit};
use std::ptr;

/// Room in the G: the closure's captures and the result packet's pointer.
const INLINE_BYTES: usize = 64;

#[repr(C, align(16))]
struct Storage(MaybeUninit<[u8; INLINE_BYTES]>);

/// How to announce the end: `announce(packet)`.
pub(crate) struct Completion {
    packet: *const (),
    announce: unsafe fn(*const ()),
}

impl Completion {
    /// # Safety
    /// 1. `announce(packet)` may be called once, from any thread.
    #[inline]
    pub(crate) unsafe fn new(packet: *const (), announce: unsafe fn(*const ())) -> Completion {
        Completion { packet, announce }
    }

    /// Announces it.
    #[inline]
    pub(crate) fn announce(self) {
        // SAFETY: obligation of `new`; `self` is consumed, so once.
        unsafe { (self.announce)(self.packet) }
    }
}

/// A closure of any type, or none.
pub(crate) struct Body {
    call: Option<unsafe fn(*mut u8) -> Completion>,
    storage: Storage,
}

impl Body {
    pub(crate) fn empty() -> Body {
        Body {
            call: None,
            storage: Storage(MaybeUninit::uninit()),
        }
    }

    /// Puts `f` in, which must not unwind when called.
    #[inline]
    pub(crate) fn set<F: FnOnce() -> Completion + Send + 'static>(&mut self, f: F) {
        debug_assert!(self.call.is_none());
        let place = self.storage.0.as_mut_ptr().cast::<u8>();
        if mem::size_of::<F>() <= INLINE_BYTES && mem::align_of::<F>() <= mem::align_of::<Storage>()
        {
            // SAFETY: the place is large and aligned enough, and empty.
            unsafe { place.cast::<F>().write(f) };
            self.call = Some(call_inline::<F>);
        } else {
            // SAFETY: a `Box` is one word.
            unsafe { place.cast::<Box<F>>().write(Box::new(f)) };
            self.call = Some(call_boxed::<F>);
        }
    }

    /// Takes the closure out and calls it.
    ///
    /// # Safety
    /// 1. `body` is valid and holds a closure; nobody else uses it until the closure has begun.
    #[inline]
    pub(crate) unsafe fn call(body: *mut Body) -> Completion {
        // SAFETY: obligation 1. No reference to the body is alive while the closure runs.
        let (call, place) = unsafe {
            let body = &mut *body;
            (body.call.take(), body.storage.0.as_mut_ptr().cast::<u8>())
        };
        let call = call.expect("a goroutine has a body");
        // SAFETY: `set` paired this function with what it wrote at the place.
        unsafe { call(place) }
    }
}

unsafe fn call_inline<F: FnOnce() -> Completion>(place: *mut u8) -> Completion {
    // SAFETY: `set` wrote an `F` here, and `call` runs once.
    let f = unsafe { take::<F>(place) };
    f()
}

unsafe fn call_boxed<F: FnOnce() -> Completion>(place: *mut u8) -> Completion {
    // SAFETY: `set` wrote a `Box<F>` here, and `call` runs once.
    let f = unsafe { take::<Box<F>>(place) };
    f()
}

/// Moves a value out, and leaves nothing behind: what it leads to must not seem to be in use for as long as there is the G.
///
/// # Safety
/// 1. There is one at `place`.
unsafe fn take<T>(place: *mut u8) -> T {
    // SAFETY: obligation 1; what is left is not read.
    unsafe {
        let value = ptr::read(place.cast::<T>());
        place.write_bytes(0, size_of::<T>());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn run<const N: usize>() -> u64 {
        let sum = Arc::new(AtomicU64::new(0));
        let payload = [1u8; N];
        let target = sum.clone();
        let mut body = Body::empty();
        body.set(move || {
            target.fetch_add(
                payload.iter().map(|&b| u64::from(b)).sum(),
                Ordering::Relaxed,
            );
            // SAFETY: the pointer is not used.
            unsafe { Completion::new(ptr::null(), |_| ()) }
        });
        // SAFETY: it was set just now.
        unsafe { Body::call(&mut body) }.announce();
        assert_eq!(Arc::strong_count(&sum), 1, "captures are dropped");
        sum.load(Ordering::Relaxed)
    }

    #[test]
    fn nothing_is_left_of_a_closure_that_was_called() {
        let captured = [0x5555_5555_5555_5555_u64; 4];
        let mut body = Body::empty();
        body.set(move || {
            assert_eq!(std::hint::black_box(captured)[3], 0x5555_5555_5555_5555);
            // SAFETY: the pointer is not used.
            unsafe { Completion::new(ptr::null(), |_| ()) }
        });
        // SAFETY: it was set just now.
        unsafe { Body::call(&mut body) }.announce();
        // SAFETY: the closure's bytes were written, by `set` and when it was taken out.
        let left = unsafe { body.storage.0.as_ptr().cast::<[u64; 4]>().read() };
        assert_eq!(left, [0; 4]);
    }

    #[test]
    fn closures_of_every_size_run_once() {
        assert_eq!(run::<0>(), 0);
        assert_eq!(run::<56>(), 56);
        assert_eq!(run::<57>(), 57);
        assert_eq!(run::<5000>(), 5000);
    }
}
