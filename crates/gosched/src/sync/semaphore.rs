//! Counting.

use std::fmt;
use std::time::Instant;

use crate::critical;
use crate::goroutine::WaitReason;
use crate::lock::Lock;
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::{ClaimedList, Node, TIMED_OUT, WaitList, Waiter};
use std::ptr;

/// A number of permits, to be taken and given back. Strictly first come, first served: one that
/// needs many is not overtaken by those that need few.
pub struct Semaphore {
    state: Lock<State>,
}

struct State {
    permits: usize,
    /// `slot` is how many the waiter needs.
    queue: WaitList,
}

impl State {
    /// Serves those at the front for whom there are enough.
    fn serve(&mut self) -> ClaimedList {
        let mut served = ClaimedList::new();
        while let Some(need) = self.queue.front().map(|node| node.slot.addr()) {
            if need > self.permits {
                break;
            }
            // The waiter at the front may have timed out a moment ago, and the next one may need
            // more.
            if let Some(claimed) = self.queue.pop_front() {
                self.permits -= need;
                served.push(claimed);
            }
        }
        served
    }
}

impl Semaphore {
    /// With so many permits to begin with.
    pub const fn new(permits: usize) -> Semaphore {
        Semaphore {
            state: Lock::new(State {
                permits,
                queue: WaitList::new(),
            }),
        }
    }

    /// Waits for `n` permits and takes them.
    pub fn acquire(&self, n: usize) {
        self.acquire_deadline(n, Nanos::NEVER);
    }

    /// Takes `n` permits if they are there now and nobody waits.
    pub fn try_acquire(&self, n: usize) -> bool {
        simulated::point();
        let inside = critical::enter();
        let mut state = self.state.lock(&inside);
        let free = state.queue.is_empty() && state.permits >= n;
        if free {
            state.permits -= n;
        }
        free
    }

    /// Takes `n` permits if it gets them before the deadline.
    pub fn acquire_until(&self, n: usize, deadline: Instant) -> bool {
        self.acquire_deadline(n, simulated::point_in_time(deadline))
    }

    /// Gives `n` permits, taken before or new.
    ///
    /// # Panics
    /// If there would be more than `usize::MAX`.
    pub fn release(&self, n: usize) {
        simulated::point();
        let served = {
            let inside = critical::enter();
            let mut state = self.state.lock(&inside);
            match state.permits.checked_add(n) {
                Some(permits) => {
                    state.permits = permits;
                    Some(state.serve())
                }
                None => None,
            }
        };
        served.expect("a semaphore's permits overflow").wake_all();
    }

    /// Permits that nobody has.
    pub fn permits(&self) -> usize {
        let inside = critical::enter();
        self.state.lock(&inside).permits
    }

    fn acquire_deadline(&self, n: usize, deadline: Nanos) -> bool {
        simulated::point();
        let waiter = Waiter::new();
        let node = Node::new(&waiter, 1, ptr::without_provenance(n));
        {
            let inside = critical::enter();
            let mut state = self.state.lock(&inside);
            if state.queue.is_empty() && state.permits >= n {
                state.permits -= n;
                return true;
            }
            waiter.prepare(WaitReason::Semacquire, self);
            // SAFETY: the node is popped or removed before the frame is left.
            unsafe { state.queue.push_back(&node) };
        }
        if waiter.wait(deadline) != TIMED_OUT {
            return true;
        }
        let served = {
            let inside = critical::enter();
            let mut state = self.state.lock(&inside);
            // SAFETY: it is in this list or none.
            unsafe { state.queue.remove(&node) };
            // Those behind may need less.
            state.serve()
        };
        served.wake_all();
        false
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.permits())
            .finish()
    }
}
