//! Waiting until a number of things are done.
//!
//! One word: the count, and a bit that says that somebody waits. While nobody does, counting is one exchange. **The step to zero is taken under the queue's lock if somebody
//! waits**, together with clearing the bit and emptying the queue; who waits sets the bit and queues under the same lock, if the count is not zero. So whoever is in the queue when
//! the count becomes zero is woken, and who queues after that waits for another zero.

use std::fmt;
use std::ptr;

use crate::atomic::{AtomicU64, Ordering};
use crate::critical;
use crate::goroutine::WaitReason;
use crate::lock::Lock;
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::{ClaimedList, Node, WaitList, Waiter};

/// Somebody waits. The count is in the other bits.
const WAITING: u64 = 1;
/// One thing to be done.
const ONE: u64 = 2;

/// A count of things to be done, and those who wait for it to become zero. As Go's
/// `sync.WaitGroup`.
pub struct WaitGroup {
    state: AtomicU64,
    queue: Lock<WaitList>,
}

impl WaitGroup {
    /// Nothing to be done.
    pub const fn new() -> WaitGroup {
        WaitGroup {
            state: AtomicU64::new(0),
            queue: Lock::new(WaitList::new()),
        }
    }

    /// `n` more to be done. Call it before starting what will call [`done`](Self::done).
    ///
    /// # Panics
    /// If the count overflows.
    pub fn add(&self, n: usize) {
        let more = (n as u64)
            .checked_mul(ONE)
            .expect("a WaitGroup's count overflows");
        let counted = self.change(|state| state.checked_add(more));
        assert!(counted.is_ok(), "a WaitGroup's count overflows");
    }

    /// One is done.
    ///
    /// # Panics
    /// If nothing was to be done.
    pub fn done(&self) {
        simulated::point();
        let is_last = ONE | WAITING;
        #[cfg(explore)]
        let is_last = match goexplore::planted("the last one done does not look for who waits") {
            true => 0,
            false => is_last,
        };
        let counted = self.change(|state| (state >= ONE && state != is_last).then(|| state - ONE));
        match counted {
            Ok(_) => {}
            Err(state) if state < ONE => panic!("WaitGroup::done without add"),
            Err(_) => self.done_waited_for(),
        }
    }

    /// As `done`, when that may have to wake somebody.
    #[cold]
    fn done_waited_for(&self) {
        let woken = {
            let inside = critical::enter();
            let mut queue = self.queue.lock(&inside);
            let left = |state: u64| match state.checked_sub(ONE) {
                Some(WAITING) => Some(0),
                left => left,
            };
            match self.change(left) {
                Ok(0) => Some(queue.pop_all()),
                Ok(_) => Some(ClaimedList::new()),
                Err(_) => None,
            }
        };
        woken.expect("WaitGroup::done without add").wake_all();
    }

    /// Waits until all is done; returns at once if nothing is to be done.
    pub fn wait(&self) {
        simulated::point();
        if self.state.load(Ordering::Acquire) < ONE {
            return;
        }
        let waiter = Waiter::new();
        let node = Node::new(&waiter, 1, ptr::null());
        {
            let inside = critical::enter();
            let mut queue = self.queue.lock(&inside);
            let announced = self.change(|state| (state >= ONE).then_some(state | WAITING));
            if announced.is_err() {
                return;
            }
            waiter.prepare(WaitReason::WaitGroupWait, self);
            // SAFETY: the node is popped before the frame is left: nothing else ends the wait.
            unsafe { queue.push_back(&node) };
        }
        waiter.wait(Nanos::NEVER);
    }

    /// Things to be done.
    pub fn count(&self) -> usize {
        (self.state.load(Ordering::Relaxed) / ONE) as usize
    }

    /// Changes the state to `next` of it and returns that, or what it is if there is none. Done things happen before a zero that is seen.
    fn change(&self, next: impl Fn(u64) -> Option<u64>) -> Result<u64, u64> {
        let mut state = self.state.load(Ordering::Acquire);
        while let Some(new) = next(state) {
            match self
                .state
                .compare_exchange_weak(state, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(new),
                Err(now) => state = now,
            }
        }
        Err(state)
    }
}

impl Default for WaitGroup {
    fn default() -> WaitGroup {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup")
            .field("count", &self.count())
            .finish()
    }
}
