//! Doing something once.

use crate::atomic::{AtomicBool, Ordering};
use std::fmt;

use crate::goroutine::WaitReason;
use crate::simulated;
use crate::sync::raw::RawMutex;
use crate::time::Nanos;

/// Runs a closure once, however many call it; the others wait until it has ended.
pub struct Once {
    done: AtomicBool,
    mutex: RawMutex,
}

impl Once {
    /// Not done yet.
    pub const fn new() -> Once {
        Once {
            done: AtomicBool::new(false),
            mutex: RawMutex::new(),
        }
    }

    /// Calls `f` if no call on this value has completed before. A call that panics does not count:
    /// the next one tries again.
    pub fn call_once(&self, f: impl FnOnce()) {
        simulated::point();
        if self.is_completed() {
            return;
        }
        self.mutex.lock(WaitReason::MutexLock, Nanos::NEVER);
        let _unlock = Unlock(&self.mutex);
        if !self.is_completed() {
            f();
            self.done.store(true, Ordering::Release);
        }
    }

    /// Whether a call has completed.
    pub fn is_completed(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }
}

struct Unlock<'a>(&'a RawMutex);

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `call_once` after locking.
        unsafe { self.0.unlock() }
    }
}

impl Default for Once {
    fn default() -> Once {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("completed", &self.is_completed())
            .finish()
    }
}
