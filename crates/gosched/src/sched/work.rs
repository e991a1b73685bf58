//! The loop of an M on its own context: find a goroutine and run it; else poll; else sleep.
//!
//! The order of steps on the way to sleep is what keeps wake-ups from being lost; see
//! `idle/README.md`.
//!
//! The context is in the runtime throughout, and inside a critical section but for the two places
//! where it blocks: the poller and the M's own futex. It has no P there.

use crate::atomic::{Ordering, fence};

use crate::critical::{self, Section};
use crate::env::{Engine, Env};
use crate::gmp::g::GRef;
use crate::here::here;
use crate::sched::Scheduler;
use crate::sched::find::STEAL_ROUNDS;
use crate::sched::machine::Machine;
use crate::time::Nanos;

impl<V: Env> Scheduler<V> {
    /// The whole life of an M's thread, which ends only with a goroutine that was locked to it.
    pub(super) fn run_machine(&'static self, machine: &'static Machine<V>) {
        self.engine.thread_started();
        match self.engine.adopt_thread() {
            // SAFETY: nobody else touches the context of an M that has not run yet.
            Ok(context) => unsafe { *machine.context.get() = Some(context) },
            Err(error) => {
                eprintln!("gosched: the engine cannot run on a new thread: {error}");
                std::process::abort();
            }
        }
        critical::begin();
        // SAFETY: this is the M's own context, and it starts.
        unsafe { machine.m.accept() };
        while !machine.m.ends.get() {
            // SAFETY: this is the M's own context, inside a critical section; what is found is ours
            // to run.
            unsafe {
                let next = match self.wait_for_own(machine) {
                    Some(own) => own,
                    None => self.find_or_sleep(machine),
                };
                self.execute(machine, next);
            }
        }
        // SAFETY: the section that this context has begun; it holds no lock.
        unsafe { critical::end(here()) };
        self.thread_ends(machine);
        self.check_deadlock();
        self.engine.thread_ends();
    }

    /// A goroutine to run, and a P to run it with.
    ///
    /// # Safety
    /// 1. The caller is the M's own context, inside a critical section.
    unsafe fn find_or_sleep(&'static self, machine: &'static Machine<V>) -> GRef {
        let m = &machine.m;
        // SAFETY: obligation 1, for all of the calls below.
        unsafe {
            let inside = critical::assume_inside(here());
            loop {
                if m.p().is_none() && !self.regain(machine) {
                    self.sleep(machine, &inside);
                    continue;
                }
                if let Some(g) = self.find_next(machine, STEAL_ROUNDS, &inside) {
                    return g;
                }
                if m.p().is_none() {
                    continue;
                }
                self.idle.put_p(m.release());
                if m.spinning.load(Ordering::Relaxed) {
                    m.spinning.store(false, Ordering::Relaxed);
                    self.idle.remove_spinner();
                }
                fence(Ordering::SeqCst);
                #[cfg(explore)]
                if goexplore::planted("an M that goes idle does not look again") {
                    self.sleep(machine, &inside);
                    continue;
                }
                if self.is_work_anywhere() && self.regain(machine) {
                    m.spinning.store(true, Ordering::Relaxed);
                    self.idle.add_spinner();
                    continue;
                }
                if !self.poll_blocking(machine, &inside) {
                    self.sleep(machine, &inside);
                }
            }
        }
    }

    /// Sleeps until there is something to do, and wakes with a P.
    ///
    /// # Safety
    /// 1. The caller is the M's own context, inside a critical section, without a P, not spinning.
    unsafe fn sleep(&'static self, machine: &'static Machine<V>, inside: &Section) {
        let m = machine.as_m();
        self.idle.put_m(m, inside);
        // SAFETY: obligation 1; no lock is held.
        unsafe {
            critical::suspended(|| {
                match self.simulation() {
                    None => self.check_deadlock(),
                    Some(simulation) => simulation.rest(),
                }
                m.park(|| self.engine.thread_idle());
            });
            let called = m.called.replace(Nanos::NEVER);
            if called != Nanos::NEVER {
                self.coming.took(self.tick_clock() - called);
            }
            m.accept();
        }
    }
}
