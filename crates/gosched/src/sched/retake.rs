//! Taking a P from an M that runs user code with it.
//!
//! No code is ever stopped for this. The M goes on as a plain thread, and finds out when it next enters the runtime.
//!
//! ```text
//! monitor                                      M, on entry to the runtime
//! 1. owner: Owned(m) -> Taking(m)              a. in_runtime = true
//! 2. heavy fence                               b. light fence
//! 3. in_runtime?                               c. owner == Owned(m)?        yes: it has the P
//!    no:  owner: Taking(m) -> Free, hand on       no: Taking(m) -> Owned(m)?  won: it has the P
//!    yes: owner: Taking(m) -> Owned(m)                                        lost: it has none
//! ```
//!
//! If 3 sees `in_runtime` clear, then a had not happened before 2, so c comes after 1 and does not see `Owned(m)`: the two exchanges from
//! `Taking(m)` decide. If 3 sees it set, the P is given back, unless the M has already taken it back, or has given it up in the
//! runtime (then the word is something else, and the exchange fails, which is right too). An M clears `in_runtime` with release, and
//! 3 reads it with acquire, so the next owner sees everything that M did to the P.
//!
//! The heavy fence is `membarrier(PRIVATE_EXPEDITED)`. Where that is refused, both fences are full ones ([`AsymmetricFence`](crate::sys::AsymmetricFence)).

use std::sync::atomic::Ordering;

use crate::critical;
use crate::env::{Env, Event, Hooks};
use crate::gmp::p::Owner;
use crate::sched::Scheduler;

/// What became of an attempt to take a P.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retake {
    /// It was taken, and is now idle or with another M.
    Taken,
    /// No M has it.
    Idle,
    /// Its M is in the scheduler at the moment, so the P is not stuck. Or another attempt is under way.
    Busy,
}

impl<V: Env> Scheduler<V> {
    /// Takes the P with this index from the M that runs user code with it, and lets another M go on with its queue.
    ///
    /// Meant for a monitor, when the P's `tick` has not changed for long. Harmless at any time. Called from a plain thread.
    ///
    /// # Panics
    /// If there is no such P.
    pub fn retake(&'static self, index: usize) -> Retake {
        let p = &self.ps[index];
        if self.retaking.swap(true, Ordering::Acquire) {
            return Retake::Busy;
        }
        let inside = critical::enter();
        let owner = p.owner();
        let result = match owner.m() {
            None => Retake::Idle,
            Some(m) => {
                let taking = Owner::taking(m);
                if !p.change_owner(Owner::owned(m), taking) {
                    Retake::Busy
                } else if self.fence.heavy()
                    && !m.in_runtime.load(Ordering::Acquire)
                    && p.change_owner(taking, Owner::FREE)
                {
                    Retake::Taken
                } else {
                    p.change_owner(taking, Owner::owned(m));
                    Retake::Busy
                }
            }
        };
        self.retaking.store(false, Ordering::Release);
        if result == Retake::Taken {
            p.current.store(0, Ordering::Relaxed);
            self.hooks.event(Event::Retaken(p.index));
            self.hand_off(p, &inside);
        }
        result
    }
}
