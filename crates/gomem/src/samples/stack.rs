//! The stack of calls at an allocation. The hazards are at the head of [`samples`](super).

use crate::local::Local;
use crate::os::KeepErrno;

/// Calls that are kept of a stack, the innermost ones.
const DEPTH: usize = 64;

/// Calls `then` with the stack of calls; `None` in the middle of another call of this. Called outside of critical sections.
#[inline(never)]
pub(crate) fn capture<R>(then: impl FnOnce(&[usize]) -> R) -> Option<R> {
    if Local::with(|local| local.set_sampling(true)) {
        return None;
    }
    let _errno = KeepErrno::new();
    let mut stack = [0; DEPTH];
    let depth = walk(&mut stack);
    // The first is a call in here.
    let result = then(stack[..depth].get(1..).unwrap_or(&[]));
    Local::with(|local| local.set_sampling(false));
    Some(result)
}

/// Calls `f` with no samples taken in it.
pub(crate) fn unsampled<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            Local::with(|local| local.set_sampling(self.0));
        }
    }
    let _restore = Restore(Local::with(|local| local.set_sampling(true)));
    f()
}

/// Miri and the explorer have no stack to walk.
#[cfg(any(miri, explore))]
fn walk(_: &mut [usize]) -> usize {
    0
}

#[cfg(not(any(miri, explore)))]
fn walk(stack: &mut [usize]) -> usize {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        fn _Unwind_Backtrace(
            visit: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
            argument: *mut c_void,
        ) -> c_int;
        fn _Unwind_GetIP(context: *mut c_void) -> usize;
    }
    const GO_ON: c_int = 0;
    const END: c_int = 5;

    struct Walk<'a> {
        stack: &'a mut [usize],
        depth: usize,
    }

    extern "C" fn visit(context: *mut c_void, walk: *mut c_void) -> c_int {
        // SAFETY: what is passed to `_Unwind_Backtrace` below, and used by nobody else meanwhile.
        let walk = unsafe { &mut *walk.cast::<Walk<'_>>() };
        // SAFETY: the unwinder's own context.
        let pc = unsafe { _Unwind_GetIP(context) };
        match walk.stack.get_mut(walk.depth) {
            Some(place) if pc != 0 => {
                *place = pc;
                walk.depth += 1;
                GO_ON
            }
            _ => END,
        }
    }

    let mut walk = Walk { stack, depth: 0 };
    // SAFETY: a function that does not unwind, and its argument.
    unsafe { _Unwind_Backtrace(visit, (&raw mut walk).cast()) };
    walk.depth
}
