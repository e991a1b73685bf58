//! Threads at rest: those of Ms without work, and those that wait as plain threads.
//!
//! They sleep in the kernel, outside of critical sections, and have nothing to do before they wake. Whoever stops threads by a signal may spare them that: the hook is called around each such sleep,
//! knows by it who stands still anyway, and lets none return from it while all have to. (A collector's, say.)

use std::sync::atomic::{AtomicPtr, Ordering};

static HOOK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Registers what is called, on the thread in question, to have it sleep: it calls its argument, which does that, once.
///
/// What it calls waits in the kernel and looks at how the wait has ended; it takes no lock and allocates nothing. One hook per process; the last registered wins.
pub fn set_hook(hook: fn(&mut dyn FnMut())) {
    HOOK.store(hook as *mut (), Ordering::Release);
}

/// Calls `sleep`, through the hook if there is one. Outside of critical sections, on a thread's own stack.
#[inline]
pub(crate) fn at_rest<R>(sleep: impl FnOnce() -> R) -> R {
    let hook = HOOK.load(Ordering::Acquire);
    if hook.is_null() {
        return sleep();
    }
    // SAFETY: only `set_hook` writes the word, from such a function.
    let hook: fn(&mut dyn FnMut()) = unsafe { std::mem::transmute(hook) };
    let (mut sleep, mut result) = (Some(sleep), None);
    hook(&mut || result = sleep.take().map(|sleep| sleep()));
    result.expect("the hook calls its argument")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    #[test]
    fn the_hook_is_around_the_sleep() {
        static WITHIN: AtomicBool = AtomicBool::new(false);
        assert_eq!(at_rest(|| WITHIN.load(Relaxed)), WITHIN.load(Relaxed));
        set_hook(|sleep| {
            // Other tests' threads sleep as well.
            let mine = std::thread::current()
                .name()
                .is_some_and(|name| name.contains("the_hook_is_around"));
            if mine {
                WITHIN.store(true, Relaxed);
            }
            sleep();
            if mine {
                WITHIN.store(false, Relaxed);
            }
        });
        assert!(at_rest(|| WITHIN.load(Relaxed)));
        assert!(!WITHIN.load(Relaxed));
    }
}
