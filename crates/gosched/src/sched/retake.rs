//! Taking a P from an M that runs user code with it.
//!
//! No code is ever stopped for this. The M goes on as a plain thread, and finds out when it next
//! enters the runtime.
//!
//! ```text
//! monitor                                      M, on entry to the runtime
//! 1. owner: Owned(m) -> Taking(m)              a. in_runtime = true
//! 2. heavy fence                               b. light fence
//! 3. in_runtime?                               c. owner?
//!    no:  owner: Taking(m) -> Free, hand on       Owned(m):  it has the P
//!    yes: owner: Taking(m) -> Owned(m)            Taking(m): -> Owned(m); if that fails, c again
//!                                                 else:      it has lost the P
//! ```
//!
//! If 3 sees `in_runtime` clear, then a had not happened before 2, so c comes after 1 and does not
//! see `Owned(m)`: the two exchanges from `Taking(m)` decide. If 3 sees it set, the P is given
//! back, unless the M has already taken it back, or has given it up in the runtime (then the word
//! is something else, and the exchange fails, which is right too). An M whose exchange fails may
//! have been given the P back a moment ago, so it must look again: to conclude that it was lost
//! would leave the P with nobody. An M clears `in_runtime` with release, and 3 reads it with
//! acquire, so the next owner sees everything that M did to the P.
//!
//! The heavy fence is `membarrier(PRIVATE_EXPEDITED)`. Where that is refused, both fences are full
//! ones ([`AsymmetricFence`](crate::sys::AsymmetricFence)).

use crate::atomic::Ordering;

use crate::critical;
use crate::env::{Env, Event};
use crate::gmp::p::{Owner, P};
use crate::sched::Scheduler;

/// What became of an attempt to take a P.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retake {
    /// It was taken, and is now idle or with another M.
    Taken,
    /// No M has it.
    Idle,
    /// Its M is in the scheduler at the moment, so the P is not stuck. Or another attempt is under
    /// way.
    Busy,
}

impl<V: Env> Scheduler<V> {
    /// Takes the P with this index from the M that runs user code with it, and lets another M go on
    /// with its queue.
    ///
    /// Meant for a monitor, when the P's `tick` has not changed for long. Harmless at any time.
    /// Called from a plain thread.
    ///
    /// # Panics
    /// If there is no such P.
    pub fn retake(&'static self, index: usize) -> Retake {
        let p = self.ps.get(index);
        if self.retaking.swap(true, Ordering::Acquire) {
            return Retake::Busy;
        }
        let inside = critical::enter();
        let result = take(p, || self.fence.heavy());
        self.retaking.store(false, Ordering::Release);
        #[cfg(explore)]
        if result == Retake::Taken && goexplore::planted("a P that was taken is not handed on") {
            self.idle.put_p(p, &inside);
            return result;
        }
        if result == Retake::Taken {
            p.current.store(0, Ordering::Relaxed);
            self.tell(None, || Event::Retaken(p.index));
            self.hand_off(p, &inside);
        }
        result
    }
}

/// The monitor's half of the protocol. One at a time. `fence` is the heavy one, and says whether it
/// could be made.
pub(crate) fn take(p: &P, fence: impl FnOnce() -> bool) -> Retake {
    let Some(m) = p.owner().m() else {
        return Retake::Idle;
    };
    let (owned, taking) = (Owner::owned(m), Owner::taking(m));
    if p.exchange_owner(owned, taking).is_err() {
        return Retake::Busy;
    }
    let outside = fence() && !m.in_runtime.load(Ordering::Acquire);
    if outside && p.exchange_owner(taking, Owner::FREE).is_ok() {
        return Retake::Taken;
    }
    // If this fails the M has changed the word itself, which settles it.
    let _ = p.exchange_owner(taking, owned);
    Retake::Busy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gmp::forever;
    use crate::gmp::m::M;
    use crate::sys::AsymmetricFence;
    use std::cell::UnsafeCell;
    use std::sync::atomic::{AtomicBool, AtomicU32};
    use std::time::{Duration, Instant};

    const FENCE: AsymmetricFence = AsymmetricFence::Symmetric;

    /// An M in user code with its P.
    fn pair() -> (&'static M, &'static P) {
        let p: &'static P = forever(P::new(0));
        let m: &'static M = forever(M::new(0));
        // SAFETY: nobody else uses them yet.
        unsafe {
            m.acquire(p);
            m.leave();
        }
        (m, p)
    }

    /// What the M does between the monitor's steps 1 and 3, and what comes of it.
    #[test]
    fn every_order_of_steps_leaves_the_p_with_one() {
        let (m, p) = pair();
        assert_eq!(take(p, || true), Retake::Taken);
        assert_eq!(take(p, || true), Retake::Idle);
        // SAFETY: here and below one thread plays both parts, each in its own order.
        unsafe {
            assert!(m.enter(FENCE).is_none(), "it was taken");
            m.acquire(p);
            assert_eq!(take(p, || true), Retake::Busy, "the M is inside");
            assert!(m.p().is_some());
            m.leave();
        }
        assert_eq!(
            take(p, || false),
            Retake::Busy,
            "without a fence nothing is known"
        );
        let enters = || {
            // SAFETY: as above.
            unsafe { assert!(m.enter(FENCE).is_some()) };
            true
        };
        assert_eq!(take(p, enters), Retake::Busy);
        assert_eq!(p.owner(), Owner::owned(m));
        // SAFETY: as above.
        unsafe { m.leave() };
        let passes = || {
            // SAFETY: as above.
            unsafe {
                assert!(m.enter(FENCE).is_some());
                m.leave();
            }
            true
        };
        assert_eq!(take(p, passes), Retake::Busy);
        assert_eq!(p.owner(), Owner::owned(m));
        let gives_up = || {
            // SAFETY: as above.
            unsafe {
                assert!(m.enter(FENCE).is_some());
                m.release();
            }
            true
        };
        assert_eq!(take(p, gives_up), Retake::Busy);
        assert_eq!(p.owner(), Owner::FREE);
    }

    /// The M has looked at the word while it said `Taking`, and comes to exchange it too late.
    #[test]
    fn an_exchange_that_fails_is_not_a_p_that_is_lost() {
        let (m, p) = pair();
        m.in_runtime.store(true, Ordering::Relaxed);
        let mut seen = Owner::FREE;
        let looks = || {
            seen = p.owner();
            true
        };
        assert_eq!(take(p, looks), Retake::Busy);
        assert_eq!(seen, Owner::taking(m));
        assert!(
            p.keep_seen(m, seen),
            "the P was given back, and would be nobody's"
        );

        p.set_owner(Owner::FREE);
        assert!(!p.keep_seen(m, seen), "the P is gone");
    }

    /// Counted without atomics by whoever has the P.
    struct Counted(UnsafeCell<u64>);

    // SAFETY: that is what the test is to show.
    unsafe impl Sync for Counted {}

    impl Counted {
        fn one_more(&self) {
            // SAFETY: the caller has the P.
            unsafe { *self.0.get() += 1 };
        }
    }

    /// An M goes in and out, a monitor takes its P, uses it, and hands it back. If ever both had
    /// it, counts would be lost; if ever neither, the two would wait for each other.
    fn contend(fence: AsymmetricFence) {
        const TIME: Duration = Duration::from_millis(400);
        let (m, p) = pair();
        let counted = Counted(UnsafeCell::new(0));
        let (handed_back, over) = (AtomicU32::new(0), AtomicBool::new(false));
        let total = std::thread::scope(|scope| {
            let monitor = scope.spawn(|| {
                let mut taken = 0;
                while !over.load(Ordering::Acquire) {
                    if take(p, || fence.heavy()) == Retake::Taken {
                        counted.one_more();
                        taken += 1;
                        handed_back.store(1, Ordering::Release);
                    }
                    std::hint::spin_loop();
                }
                taken
            });
            let began = Instant::now();
            let mut rounds = 0;
            while rounds % 64 != 0 || began.elapsed() < TIME {
                rounds += 1;
                // SAFETY: this thread is the M; what the monitor has handed back is in its hands.
                unsafe {
                    if m.enter(fence).is_none() {
                        let start = Instant::now();
                        while handed_back.swap(0, Ordering::Acquire) == 0 {
                            std::hint::spin_loop();
                            let waited = start.elapsed().as_secs();
                            over.store(waited >= 20, Ordering::Relaxed);
                            assert!(waited < 20, "nobody has the P");
                        }
                        m.acquire(p);
                    }
                    counted.one_more();
                    m.leave();
                }
            }
            over.store(true, Ordering::Release);
            rounds + monitor.join().unwrap()
        });
        assert_eq!(counted.0.into_inner(), total);
    }

    #[test]
    fn a_p_is_never_with_two_and_never_with_nobody() {
        contend(AsymmetricFence::new());
        contend(AsymmetricFence::Symmetric);
    }
}
