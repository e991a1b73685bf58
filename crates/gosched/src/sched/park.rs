//! Parking, readying, giving way.
//!
//! A goroutine that parks finds its successor on its own stack and switches to it directly; only
//! when it finds none does it switch to the M's own context, which spins, polls and sleeps. The
//! protocol between parking and readying is the status word's (`gmp/g.rs`).

use crate::atomic::Ordering;
use std::ptr;

use crate::critical::{self, Section};
use crate::env::{Env, Event};
use crate::gmp::g::{GList, GRef, RUNNABLE, current_in};
use crate::gmp::m::Fate;
use crate::sched::Scheduler;
use crate::sched::find::STEAL_ONCE;
use crate::sched::goroutine::Goroutine;
use crate::sched::machine::Machine;
use crate::time::Nanos;

impl<V: Env> Scheduler<V> {
    /// Parks the calling goroutine until it is readied.
    ///
    /// # Safety
    /// 1. `g` is the caller, has called `prepare_park`, and is outside of critical sections.
    pub(super) unsafe fn park(&'static self, g: &'static Goroutine<V>) {
        let header = g.header();
        // SAFETY: obligation 1.
        unsafe {
            let machine = self.enter(g);
            let inside = critical::assume_inside(machine.m.left.get());
            if header.unpark_early() {
                machine.m.armed.set(Nanos::NEVER);
                machine.m.wants_poll.set(false);
                self.leave(machine);
                return;
            }
            header
                .waiting_since
                .store(self.clock.load(Ordering::Relaxed), Ordering::Relaxed);
            self.tell(Some(machine), || {
                Event::Parked(header.id(), header.reason())
            });
            if header.thread().is_some() {
                self.attend(machine, true, &inside);
                return self.leave_locked(g, machine, Fate::Parked.of(header), &inside);
            }
            let next = self.find_next(machine, STEAL_ONCE, &inside);
            self.attend(machine, next.is_some(), &inside);
            // The search may have fired the very timer, or seen the very descriptor.
            if next.is_none() && header.unpark_early() {
                self.tell(Some(machine), || Event::Running(header.id()));
                self.leave(machine);
                return;
            }
            self.switch_away(g, machine, Fate::Parked.of(header), next);
        }
    }

    /// Makes sure that somebody looks after the timer or descriptor that the goroutine is going to
    /// wait for. An M that goes idle looks itself; one that is `busy` must not be waited for.
    ///
    /// # Safety
    /// 1. The caller runs on `machine`, in the runtime.
    #[inline]
    unsafe fn attend(&'static self, machine: &'static Machine<V>, busy: bool, inside: &Section) {
        let armed = machine.m.armed.replace(Nanos::NEVER);
        let wants_poll = machine.m.wants_poll.replace(false);
        if armed == Nanos::NEVER && !wants_poll {
            return;
        }
        if busy || self.network.is_polled() {
            self.ensure_polled(armed, inside);
        }
    }

    /// Queues a G that has been notified and saved.
    ///
    /// # Safety
    /// 1. `Header::notify` on `g` has returned true to the caller, who does this once.
    pub(super) unsafe fn make_runnable(&'static self, g: GRef, inside: &Section) {
        g.status.store(RUNNABLE, Ordering::Relaxed);
        self.submit(g, || Event::Readied(g.id()), inside);
    }

    /// Queues a runnable G where the caller can do so best, and wakes an M if one should be. `event` is why it can run.
    pub(super) fn submit(&'static self, g: GRef, event: impl FnOnce() -> Event, inside: &Section) {
        let me = current_in(inside).filter(|me| ptr::eq(me.scheduler, g.scheduler));
        let Some(me) = me else {
            self.tell(None, event);
            self.global.push(g, inside);
            self.wake_one(inside);
            return;
        };
        // SAFETY: the calling goroutine is of this scheduler and runs on its M; we are inside a
        // critical section.
        unsafe {
            let machine = Machine::<V>::of(me.own_m());
            let p = machine.m.enter(self.fence).or_else(|| {
                let p = self.take_idle_p(machine.m.last_p())?;
                machine.m.acquire(p);
                self.tell(Some(machine), || Event::Running(me.id()));
                Some(p)
            });
            self.tell(Some(machine), event);
            match p {
                Some(p) => {
                    let mut overflow = GList::new();
                    p.push_next(g, &mut overflow);
                    if overflow.len() > 0 {
                        self.global.push_all(&mut overflow, inside);
                    }
                }
                None => self.global.push(g, inside),
            }
            self.wake_one(inside);
            machine.m.leave();
        }
    }

    /// Lets the goroutines queued at this P run first.
    ///
    /// # Safety
    /// 1. `g` is the caller, outside of critical sections.
    pub(super) unsafe fn yield_now(&'static self, g: &'static Goroutine<V>) {
        if let Some(simulation) = self.simulation() {
            // SAFETY: obligation 1.
            return unsafe { self.simulate_yield(simulation, g, false) };
        }
        // SAFETY: obligation 1.
        unsafe {
            let machine = self.enter(g);
            let inside = critical::assume_inside(machine.m.left.get());
            let next = match machine.m.p() {
                Some(p) if g.header().thread().is_some() => {
                    if p.queued() == 0 && self.global.len() == 0 {
                        p.count_tick();
                        return self.leave(machine);
                    }
                    self.tell(Some(machine), || Event::Yielded(g.header().id()));
                    let after = Fate::Yielded.of(g.header());
                    return self.leave_locked(g, machine, after, &inside);
                }
                Some(p) => match self.find_queued(machine, &inside) {
                    Some(next) => self.unless_locked(machine, Some(next), &inside),
                    // Nobody wants its place; but it gave way.
                    None => {
                        p.count_tick();
                        return self.leave(machine);
                    }
                },
                // Its P is gone: it runs beyond its share, and lines up again.
                None if self.regain(machine) => {
                    self.tell(Some(machine), || Event::Running(g.header().id()));
                    return self.leave(machine);
                }
                None => None,
            };
            self.tell(Some(machine), || Event::Yielded(g.header().id()));
            self.switch_away(g, machine, Fate::Yielded.of(g.header()), next);
        }
    }

    /// Takes the P that the M had, or any other idle one. Returns whether there was one.
    ///
    /// # Safety
    /// 1. The caller runs on `machine`, in the runtime, without a P.
    pub(super) unsafe fn regain(&'static self, machine: &'static Machine<V>) -> bool {
        let Some(p) = self.take_idle_p(machine.m.last_p()) else {
            return false;
        };
        // SAFETY: obligation 1, and the P is in our hands now.
        unsafe { machine.m.acquire(p) };
        true
    }
}
