//! Timers and tickers: channels on which the clock sends.
//!
//! A timer is a time and nothing else until somebody waits for it; whether it has come is worked out when somebody looks. So one that nobody waits for costs no place in a
//! heap, is gone when it is dropped, and holds no value that could be stale after it was stopped or reset. Go came to the same in 1.23 (runtime/time.go, `maybeRunChan`).
//!
//! Who waits does so with the timer's time as its deadline, and looks again when that has passed: of several, one finds it due.
//!
//! Invariant, under the timer's lock: **who is in `receivers` waits no longer than until `next`, or has been claimed.** Taking a tick and putting the timer off only make `next`
//! later; setting it to an earlier time claims all of them, so that they look again (`is_done_by_claim`).

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::time::{Duration, Instant};

use crate::chan::case::Phase;
use crate::chan::select::sealed::{Attempt, Known, Lock as CaseLock, Steps, Wakes};
use crate::chan::select::{Case, Chosen, Source, Wait, select};
use crate::critical;
use crate::lock::Lock;
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::{Node, WaitList};

/// One event at a time to come, to be received once. In a `select!` it is an arm `recv(timer) -> time`.
///
/// It is received as the time at which it was due. Among several that wait for it one gets it. Neither [`stop`](Self::stop) nor [`reset`](Self::reset) leaves a
/// former event to be received.
pub struct Timer {
    state: Lock<State>,
}

/// An event every so often. In a `select!` it is an arm `recv(ticker) -> time`.
///
/// Of the ticks that nobody has received one waits; the others are dropped, and the rhythm is kept. Among several that wait one gets a tick.
pub struct Ticker(Timer);

struct State {
    /// When it is or was due and has not been received; `NEVER` if it is stopped.
    next: Nanos,
    /// From one tick to the next; zero for a timer.
    period: Nanos,
    receivers: WaitList,
}

impl State {
    /// Receives, if it is due.
    fn take(&mut self, now: Nanos) -> Option<Nanos> {
        let due = self.next;
        if due > now || due == Nanos::NEVER {
            return None;
        }
        self.next = if self.period == Nanos::ZERO {
            Nanos::NEVER
        } else {
            let missed = (now - due).0 / self.period.0;
            (due + Nanos(self.period.0.saturating_mul(missed + 1))).min(LATEST)
        };
        Some(due)
    }
}

/// The latest time that is one.
const LATEST: Nanos = Nanos(Nanos::NEVER.0 - 1);

/// So long from now.
fn after(duration: Duration) -> Nanos {
    (simulated::now() + Nanos::from_duration(duration)).min(LATEST)
}

impl Timer {
    /// Due after `duration`: Go's `time.NewTimer`, and `time.After`.
    pub fn new(duration: Duration) -> Timer {
        Timer::due_at(after(duration), Nanos::ZERO)
    }

    /// Due at `instant`.
    pub fn at(instant: Instant) -> Timer {
        Timer::due_at(simulated::point_in_time(instant), Nanos::ZERO)
    }

    fn due_at(next: Nanos, period: Nanos) -> Timer {
        Timer {
            state: Lock::new(State {
                next,
                period,
                receivers: WaitList::new(),
            }),
        }
    }

    /// Waits until it is due. One that is stopped, or has been received, is never due before it is reset.
    pub fn recv(&self) -> Instant {
        self.wait(Wait::Forever).expect("no other way to end")
    }

    /// As [`recv`](Self::recv), but not beyond the deadline.
    pub fn recv_until(&self, deadline: Instant) -> Option<Instant> {
        self.wait(Wait::Until(deadline))
    }

    /// Receives if it is due.
    pub fn try_recv(&self) -> Option<Instant> {
        self.wait(Wait::Not)
    }

    fn wait(&self, wait: Wait) -> Option<Instant> {
        let case = TimerCase::new(self);
        select(&[&case], wait).map(|_| case.outcome())
    }

    /// Sees to it that nothing is received before it is reset. Returns whether there was anything to be received, now or later.
    pub fn stop(&self) -> bool {
        self.set(Nanos::NEVER, Nanos::ZERO)
    }

    /// Makes it due after `duration` from now, whatever it was before. Returns whether there was anything to be received, now or later.
    pub fn reset(&self, duration: Duration) -> bool {
        self.set(after(duration), Nanos::ZERO)
    }

    fn set(&self, next: Nanos, period: Nanos) -> bool {
        simulated::point();
        let (was, woken) = {
            let inside = critical::enter();
            let mut state = self.state.lock(&inside);
            let was = std::mem::replace(&mut state.next, next);
            state.period = period;
            #[cfg(explore)]
            if goexplore::planted("who waits for a timer does not learn that it is due earlier") {
                return was != Nanos::NEVER;
            }
            // All, since a single one may be about to give up for another reason.
            (was, (next < was).then(|| state.receivers.pop_all()))
        };
        if let Some(woken) = woken {
            woken.wake_all();
        }
        was != Nanos::NEVER
    }
}

impl Ticker {
    /// A tick each `period` from now on.
    ///
    /// # Panics
    /// If the period is zero.
    pub fn new(period: Duration) -> Ticker {
        Ticker(Timer::due_at(after(period), checked(period)))
    }

    /// Waits for a tick. One that is stopped never ticks before it is reset.
    pub fn recv(&self) -> Instant {
        self.0.recv()
    }

    /// As [`recv`](Self::recv), but not beyond the deadline.
    pub fn recv_until(&self, deadline: Instant) -> Option<Instant> {
        self.0.recv_until(deadline)
    }

    /// Receives a tick if one waits.
    pub fn try_recv(&self) -> Option<Instant> {
        self.0.try_recv()
    }

    /// No ticks any more, nor one that waits, before it is reset.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// The next tick is after `period` from now, and then one each `period`.
    ///
    /// # Panics
    /// If the period is zero.
    pub fn reset(&self, period: Duration) {
        self.0.set(after(period), checked(period));
    }
}

fn checked(period: Duration) -> Nanos {
    assert!(!period.is_zero(), "a ticker's period is zero");
    Nanos::from_duration(period)
}

/// Receiving from a timer.
pub struct TimerCase<'a> {
    timer: &'a Timer,
    due: Cell<Nanos>,
    node: UnsafeCell<Option<Node>>,
    phase: Cell<Phase>,
}

impl<'a> TimerCase<'a> {
    fn new(timer: &'a Timer) -> TimerCase<'a> {
        TimerCase {
            timer,
            due: Cell::new(Nanos::NEVER),
            node: UnsafeCell::new(None),
            phase: Cell::new(Phase::Idle),
        }
    }
}

impl Source for Timer {
    type Case<'a> = TimerCase<'a>;

    fn recv_case(&self) -> TimerCase<'_> {
        TimerCase::new(self)
    }
}

impl Source for Ticker {
    type Case<'a> = TimerCase<'a>;

    fn recv_case(&self) -> TimerCase<'_> {
        TimerCase::new(&self.0)
    }
}

impl Case for TimerCase<'_> {}

impl Chosen for TimerCase<'_> {
    type Outcome = Instant;

    fn outcome(&self) -> Instant {
        self.phase.set(self.phase.get().taken());
        simulated::instant_of(self.due.get())
    }
}

impl Steps for TimerCase<'_> {
    fn begin(&self) {
        self.phase.set(self.phase.get().begun());
    }

    fn lock(&self) -> Option<CaseLock<'_>> {
        Some(CaseLock(self.timer.state.raw()))
    }

    fn attempt(&self) -> Attempt {
        // SAFETY: `select` holds the lock, and no other reference to the state is alive.
        match unsafe { self.timer.state.data() }.take(simulated::now()) {
            Some(due) => {
                self.due.set(due);
                Attempt::Proceeds(Wakes(None))
            }
            None => Attempt::Blocks,
        }
    }

    unsafe fn enqueue(&self, waiter: Known, token: u32) -> Nanos {
        // SAFETY: obligation 1; the node is not in use.
        unsafe {
            let node = (*self.node.get()).insert(Node::new(waiter.0, token, std::ptr::null()));
            let state = self.timer.state.data();
            state.receivers.push_back(node);
            state.next
        }
    }

    unsafe fn dequeue(&self) {
        // SAFETY: obligation 1.
        unsafe {
            if let Some(node) = &*self.node.get() {
                self.timer.state.data().receivers.remove(node);
            }
        }
    }

    fn is_done_by_claim(&self) -> bool {
        false
    }

    fn conclude(&self, chosen: bool) {
        self.phase.set(Phase::after(chosen));
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer(..)")
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticker(..)")
    }
}
