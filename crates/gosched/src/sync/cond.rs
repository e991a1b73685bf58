//! Waiting for a condition on data under a mutex.

use std::fmt;
use std::ptr;
use std::time::Instant;

use crate::critical;
use crate::goroutine::WaitReason;
use crate::lock::Lock;
use crate::simulated;
use crate::sync::mutex::MutexGuard;
use crate::time::Nanos;
use crate::waiter::{Node, TIMED_OUT, WaitList, Waiter};

/// A condition variable. There are no spurious wake-ups, but others may change the data before a
/// woken waiter has the mutex again.
pub struct Cond {
    queue: Lock<WaitList>,
}

impl Cond {
    /// Nobody waits.
    pub const fn new() -> Cond {
        Cond {
            queue: Lock::new(WaitList::new()),
        }
    }

    /// Unlocks, waits to be notified, locks again.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_deadline(guard, Nanos::NEVER).0
    }

    /// As [`wait`](Self::wait), but not beyond the deadline. Also returns whether it was notified.
    pub fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> (MutexGuard<'a, T>, bool) {
        self.wait_deadline(guard, simulated::point_in_time(deadline))
    }

    /// Wakes the one that has waited longest.
    pub fn notify_one(&self) {
        simulated::point();
        let inside = critical::enter();
        let claimed = self.queue.lock(&inside).pop();
        if let Some(claimed) = claimed {
            claimed.wake(&inside);
        }
    }

    /// Wakes all that wait now.
    pub fn notify_all(&self) {
        simulated::point();
        let claimed = {
            let inside = critical::enter();
            self.queue.lock(&inside).pop_all()
        };
        claimed.wake_all();
    }

    fn wait_deadline<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Nanos,
    ) -> (MutexGuard<'a, T>, bool) {
        let mutex = guard.mutex();
        // Unlocking wakes others and may itself be a wait's end, so it comes before this waiter is
        // announced. A notification between the two would be lost; hence the node is queued first,
        // and a thread-like party that is notified early is noticed by `wait`.
        let waiter = Waiter::new();
        let node = Node::new(&waiter, 1, ptr::null());
        {
            let inside = critical::enter();
            let mut queue = self.queue.lock(&inside);
            waiter.prepare(WaitReason::CondWait, self);
            // SAFETY: the node is popped or removed before the frame is left.
            unsafe { queue.push_back(&node) };
        }
        drop(guard);
        let notified = waiter.wait(deadline) != TIMED_OUT;
        if !notified {
            let inside = critical::enter();
            // SAFETY: it is in this list or none.
            unsafe { self.queue.lock(&inside).remove(&node) };
        }
        (mutex.lock(), notified)
    }
}

impl Default for Cond {
    fn default() -> Cond {
        Cond::new()
    }
}

impl fmt::Debug for Cond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cond(..)")
    }
}
