//! Waiting until a number of things are done.

use std::fmt;
use std::ptr;

use crate::critical;
use crate::goroutine::WaitReason;
use crate::lock::Lock;
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::{Node, WaitList, Waiter};

/// A count of things to be done, and those who wait for it to become zero. As Go's
/// `sync.WaitGroup`.
pub struct WaitGroup {
    state: Lock<State>,
}

struct State {
    count: usize,
    queue: WaitList,
}

impl WaitGroup {
    /// Nothing to be done.
    pub const fn new() -> WaitGroup {
        WaitGroup {
            state: Lock::new(State {
                count: 0,
                queue: WaitList::new(),
            }),
        }
    }

    /// `n` more to be done. Call it before starting what will call [`done`](Self::done).
    ///
    /// # Panics
    /// If the count overflows.
    pub fn add(&self, n: usize) {
        let counted = {
            let inside = critical::enter();
            let mut state = self.state.lock(&inside);
            match state.count.checked_add(n) {
                Some(count) => {
                    state.count = count;
                    true
                }
                None => false,
            }
        };
        assert!(counted, "a WaitGroup's count overflows");
    }

    /// One is done.
    ///
    /// # Panics
    /// If nothing was to be done.
    pub fn done(&self) {
        simulated::point();
        let woken = {
            let inside = critical::enter();
            let mut state = self.state.lock(&inside);
            match state.count {
                0 => None,
                1 => {
                    state.count = 0;
                    Some(state.queue.pop_all())
                }
                n => {
                    state.count = n - 1;
                    return;
                }
            }
        };
        woken.expect("WaitGroup::done without add").wake_all();
    }

    /// Waits until all is done; returns at once if nothing is to be done.
    pub fn wait(&self) {
        simulated::point();
        let waiter = Waiter::new();
        let node = Node::new(&waiter, 1, ptr::null());
        {
            let inside = critical::enter();
            let mut state = self.state.lock(&inside);
            if state.count == 0 {
                return;
            }
            waiter.prepare(WaitReason::WaitGroupWait, self);
            // SAFETY: the node is popped before the frame is left: nothing else ends the wait.
            unsafe { state.queue.push_back(&node) };
        }
        waiter.wait(Nanos::NEVER);
    }

    /// Things to be done.
    pub fn count(&self) -> usize {
        let inside = critical::enter();
        self.state.lock(&inside).count
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
