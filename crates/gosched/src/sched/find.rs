//! What runs next.
//!
//! In this order: every 61st time the global queue, so that it is served however busy the local ones are; timers that are due; the P's
//! own queue; the global queue; other Ps' queues; descriptors, without waiting. So far it is Go's (`findRunnable` in proc.go), but
//! that Go looks at the descriptors before it steals. Then what a thread has queued that the kernel lets wait - the threads of a server share
//! the processors with its clients - lies there for a slice of the kernel's, some milliseconds, for there always is something to be read.
//! Who has stolen looks at the descriptors before it steals again, so neither waits for more than one share of the other.
//!
//! Everything here runs inside a critical section and in the runtime, on whatever context needs a
//! successor.

use crate::atomic::{Ordering, spin_loop};

use crate::critical::Section;
use crate::env::Env;
use crate::gmp::g::{GList, GRef};
use crate::gmp::p::P;
use crate::gmp::ring::CAPACITY;
use crate::sched::machine::Machine;
use crate::sched::simulate::Simulation;
use crate::sched::{MAX_PROCS, Scheduler};
use crate::time::Nanos;

/// How many rounds of scheduling between two looks at the global queue: a prime, as in Go, so as
/// not to beat with a program's own rhythm.
const GLOBAL_INTERVAL: u32 = 61;

/// Steps that visit every P, for stealing in random order: primes larger than the number of Ps, so that they have no factor in common
/// with it.
const STRIDES: [u32; 8] = [1031, 1033, 1039, 1049, 1051, 1061, 1063, 1069];
const _: () = assert!(MAX_PROCS < STRIDES[0] as usize);

/// One round over all Ps.
pub(super) const STEAL_ONCE: u32 = 1;
/// Rounds over all Ps before an M that steals gives up.
pub(super) const STEAL_ROUNDS: u32 = 4;

impl<V: Env> Scheduler<V> {
    /// The next goroutine, by every means but going to sleep. `None` also if one was found that is locked to another thread, which has
    /// got the P then; `rounds` says how hard to steal: [`STEAL_ONCE`] for a context that
    /// is about to be left, [`STEAL_ROUNDS`] for an M on its own context, which has nothing better to do.
    ///
    /// # Safety
    /// 1. The caller runs on `machine`, in the runtime.
    pub(super) unsafe fn find_next(
        &'static self,
        machine: &'static Machine<V>,
        rounds: u32,
        inside: &Section,
    ) -> Option<GRef> {
        if let Some(simulation) = self.simulation() {
            // SAFETY: obligation 1.
            return unsafe { self.simulate_next(simulation, machine, inside) };
        }
        // SAFETY: obligation 1.
        unsafe {
            let found = match self.find_queued(machine, inside) {
                None => self.find_elsewhere(machine, rounds, inside),
                found => found,
            };
            self.unless_locked(machine, found, inside)
        }
    }

    /// From other Ps, or from the poller: after a theft the poller first.
    ///
    /// # Safety
    /// 1. The caller runs on `machine`, in the runtime; this P's queue is empty.
    #[inline(never)]
    unsafe fn find_elsewhere(
        &'static self,
        machine: &'static Machine<V>,
        rounds: u32,
        inside: &Section,
    ) -> Option<GRef> {
        let m = &machine.m;
        let p = m.p()?;
        let poll_first = m.stole.replace(false);
        // SAFETY: obligation 1, and the M has this P.
        unsafe {
            if poll_first && let Some(g) = self.poll_now(machine, p, inside) {
                return Some(g);
            }
            if let Some(g) = self.steal(machine, p, rounds, inside) {
                m.stole.set(true);
                return Some(g);
            }
            // An M on its own context is going to wait in the poller.
            if poll_first || rounds == STEAL_ROUNDS {
                return None;
            }
            self.poll_now(machine, p, inside)
        }
    }

    /// From this P's queue or the one of all.
    ///
    /// # Safety
    /// 1. The caller runs on `machine`, in the runtime, with a P.
    #[inline(always)]
    pub(super) unsafe fn find_queued(
        &'static self,
        machine: &'static Machine<V>,
        inside: &Section,
    ) -> Option<GRef> {
        let p = machine.m.p()?;
        if p.tick.load(Ordering::Relaxed) % GLOBAL_INTERVAL == 0 && self.global.len() > 0 {
            let first = self.global.pop(|_| 0, &mut GList::new(), inside);
            if first.is_some() {
                return first;
            }
        }
        if p.timers.next() != Nanos::NEVER {
            self.fire_timers(p, inside);
        }
        let about = Nanos(self.clock.load(Ordering::Relaxed));
        // SAFETY: obligation 1.
        unsafe { p.pop(about, || self.tick_clock()) }
            .or_else(|| (self.global.len() > 0).then(|| self.find_global(p, inside))?)
    }

    /// From the queue of all, with a share of what follows for this P's queue.
    #[inline(never)]
    fn find_global(&'static self, p: &'static P, inside: &Section) -> Option<GRef> {
        let share = |left: usize| (left / self.ps.in_use()).min(CAPACITY / 2);
        let mut rest = GList::new();
        let first = self.global.pop(share, &mut rest, inside);
        self.queue_back(p, &mut rest, inside);
        first
    }

    /// Fires what is due in this P's heap.
    #[inline(never)]
    fn fire_timers(&'static self, p: &'static P, inside: &Section) {
        let mut ready = GList::new();
        p.timers.fire(self.tick_clock(), &mut ready, inside);
        if ready.len() > 0 {
            self.queue_back(p, &mut ready, inside);
            self.wake_one(inside);
        }
    }

    /// Appends a batch of readied Gs to the P's ring; the caller has the P.
    pub(super) fn queue_back(&'static self, p: &'static P, batch: &mut GList, inside: &Section) {
        let mut overflow = GList::new();
        while let Some(g) = batch.pop() {
            g.status.store(crate::gmp::g::RUNNABLE, Ordering::Relaxed);
            // SAFETY: the M in whose name this runs has the P and is in the runtime.
            unsafe { p.ring.push(g, &mut overflow) };
        }
        if overflow.len() > 0 {
            self.global.push_all(&mut overflow, inside);
        }
    }

    /// From the other Ps, in random order. On the last round also the G that another P would run
    /// next, which is left alone before: its owner is about to run it, and it was put there to stay
    /// on that core.
    ///
    /// # Safety
    /// 1. The caller runs on `machine`, in the runtime, with `p`, whose queue is empty.
    #[inline(never)]
    unsafe fn steal(
        &'static self,
        machine: &'static Machine<V>,
        p: &'static P,
        rounds: u32,
        inside: &Section,
    ) -> Option<GRef> {
        // All that there are, used or not: one that is being retired still has its queue.
        let n = self.ps.len() as u32;
        if n == 1 {
            return None;
        }
        let m = &machine.m;
        if !m.spinning.load(Ordering::Relaxed) {
            let busy = n - self.idle.ps().min(n);
            if 2 * self.idle.spinning() >= busy {
                return None;
            }
            // One look of a context that is about to be left: nobody need rely on it.
            if rounds > STEAL_ONCE {
                m.spinning.store(true, Ordering::Relaxed);
                self.idle.add_spinner();
            }
            #[cfg(explore)]
            if rounds == STEAL_ONCE && goexplore::planted("a look in passing is relied on") {
                self.idle.add_spinner();
            }
        }
        for round in 0..rounds {
            let last = rounds > 1 && round == rounds - 1;
            let stride = STRIDES[m.rng.below(STRIDES.len() as u32) as usize];
            let mut at = m.rng.below(n);
            for _ in 0..n {
                at = (at + stride) % n;
                let victim: &'static P = self.ps.get(at as usize);
                if victim.index == p.index {
                    continue;
                }
                // SAFETY: obligation 1; the victim is another P.
                if let Some(g) = unsafe { victim.ring.steal(&p.ring) } {
                    return Some(g);
                }
                if last {
                    self.fire_timers_into(victim, p, inside);
                    // SAFETY: obligation 1.
                    if let Some(g) = unsafe { p.ring.pop() } {
                        return Some(g);
                    }
                    if victim.queued() > 0 {
                        pause();
                        if let Some(g) = victim.take_next() {
                            return Some(g);
                        }
                    }
                }
            }
        }
        None
    }

    /// Fires what is due at `victim`, for `p` to run.
    fn fire_timers_into(&'static self, victim: &'static P, p: &'static P, inside: &Section) {
        if victim.timers.next() == Nanos::NEVER {
            return;
        }
        let mut ready = GList::new();
        victim.timers.fire(self.tick_clock(), &mut ready, inside);
        self.queue_back(p, &mut ready, inside);
    }

    /// Whether any queue has something, or any timer is due. For the last look before going idle.
    pub(super) fn is_work_anywhere(&'static self) -> bool {
        if self.simulation().is_some_and(Simulation::is_over) {
            return false;
        }
        self.global.len() > 0 || self.ps.iter().any(|p| p.queued() > 0) || self.is_timer_due()
    }

    /// Looks at the clock only if there is a timer.
    fn is_timer_due(&'static self) -> bool {
        let earliest = self.earliest_timer();
        earliest != Nanos::NEVER && earliest <= self.tick_clock()
    }

    /// When the next timer of all is due.
    pub(super) fn earliest_timer(&self) -> Nanos {
        self.ps
            .iter()
            .map(|p| p.timers.next())
            .min()
            .unwrap_or(Nanos::NEVER)
    }
}

/// Spins of [`pause`].
const PAUSE: u32 = if cfg!(explore) { 1 } else { 100 };

/// A few microseconds, in which the owner of a `run_next` most likely runs it.
fn pause() {
    for _ in 0..PAUSE {
        spin_loop();
    }
}
