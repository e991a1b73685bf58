//! Waking Ms and making new ones.
//!
//! A thread is made when there is work, a P to do it with, and no idle M. It is never ended: Ms are
//! reused. When the system refuses a thread the P goes back, the refusal is reported once, and the
//! Ms there are carry on.

use crate::atomic::{Ordering, fence};

use crate::critical::Section;
use crate::env::{Engine, Env, Hooks, Poller};
use crate::gmp::m::M;
use crate::gmp::p::P;
use crate::sched::Scheduler;
use crate::sched::machine::Machine;
use crate::time::Nanos;

impl<V: Env> Scheduler<V> {
    /// Wakes one M to look for work, if none does so already and there is a P for it. To be called
    /// after each submission.
    #[inline]
    pub(super) fn wake_one(&'static self, inside: &Section) {
        #[cfg(explore)]
        if goexplore::planted("a submitter wakes nobody") {
            return;
        }
        fence(Ordering::SeqCst);
        if self.idle.wants_spinner() {
            self.wake_spinner(inside);
        }
    }

    #[inline(never)]
    fn wake_spinner(&'static self, inside: &Section) {
        while self.idle.wants_spinner() && self.idle.first_spinner() {
            if let Some(p) = self.take_idle_p(None) {
                self.start(p, true, inside);
                return;
            }
            // While this was counted, others relied on it and woke nobody. If a P has become idle
            // meanwhile, it may have looked for their work too early.
            self.idle.remove_spinner();
            fence(Ordering::SeqCst);
        }
    }

    /// An M that looked for work has some now. There may be more, so if it was the last that
    /// looked, another one shall.
    #[inline(never)]
    pub(super) fn stop_spinning(&'static self, machine: &'static Machine<V>, inside: &Section) {
        machine.m.spinning.store(false, Ordering::Relaxed);
        #[cfg(explore)]
        if goexplore::planted("the last that looked for work wakes nobody") {
            self.idle.remove_spinner();
            return;
        }
        if self.idle.remove_spinner() {
            self.wake_one(inside);
        }
    }

    /// Finds an M for a free P that is in the caller's hands, or leaves the P idle if there is
    /// nothing to do.
    pub(super) fn hand_off(&'static self, p: &'static P, inside: &Section) {
        if p.queued() > 0 || self.global.len() > 0 {
            self.start(p, false, inside);
            return;
        }
        // Everyone is busy: one had better look out for what they produce.
        if self.idle.spinning() == 0 && self.idle.ps() == 0 && self.idle.first_spinner() {
            self.start(p, true, inside);
            return;
        }
        self.idle.put_p(p);
        fence(Ordering::SeqCst);
        if self.is_work_anywhere() {
            self.wake_one(inside);
        }
        let deadline = p.timers.next();
        if deadline != Nanos::NEVER || self.network.has_waiters() {
            self.ensure_polled(deadline, inside);
        }
    }

    /// Makes sure that an M polls, and not beyond `deadline`.
    pub(super) fn ensure_polled(&'static self, deadline: Nanos, inside: &Section) {
        #[cfg(explore)]
        if goexplore::planted("who waits first tells nobody") {
            return;
        }
        fence(Ordering::SeqCst);
        if !self.network.is_polled() {
            self.wake_one(inside);
        } else if self.network.polled_until() > deadline {
            self.poller.wake();
        }
    }

    /// Takes `preferred` if it is idle, else any idle P, and lets the hooks know that all is not
    /// idle any more.
    pub(super) fn take_idle_p(&'static self, preferred: Option<&'static P>) -> Option<&'static P> {
        let p = self.ps.get(self.idle.take_p(preferred)? as usize);
        self.hooks.work_appeared();
        Some(p)
    }

    /// Gives a free P, in the caller's hands, to an idle or a new M.
    pub(super) fn start(&'static self, p: &'static P, spinning: bool, inside: &Section) {
        if let Some(m) = self.idle.take_m(inside) {
            if !cfg!(explore) {
                m.called.set(self.tick_clock());
            }
            // SAFETY: the M is out of the list, and it and the P are in our hands.
            unsafe {
                m.leave_p(p, spinning);
                M::unpark(m);
            }
            return;
        }
        let spare = self.spare.lock(inside).pop();
        let Some(machine) = spare.or_else(|| self.new_machine()) else {
            // As many Ms as there may be: one of them will come and take the P.
            if spinning {
                self.idle.remove_spinner();
            }
            self.idle.put_p(p);
            self.maker.limit_reached();
            self.poller.wake();
            return;
        };
        // SAFETY: the M is new, and like the P in our hands.
        unsafe { machine.m.leave_p(p, spinning) };
        self.machine_count.fetch_add(1, Ordering::SeqCst);
        self.maker.want(machine, inside);
    }

    /// An M that has no thread yet; `None` at the limit.
    pub(super) fn new_machine(&'static self) -> Option<&'static Machine<V>> {
        let mut first = self.machines.load(Ordering::Acquire);
        loop {
            // SAFETY: null or a machine, which is never freed.
            let id = unsafe { first.as_ref() }.map_or(0, |m| m.m.id + 1);
            if id >= self.machine_limit.load(Ordering::Relaxed) {
                return None;
            }
            let machine = Box::new(Machine::new(id));
            machine.all_next.store(first, Ordering::Relaxed);
            let new = Box::into_raw(machine);
            match self
                .machines
                .compare_exchange(first, new, Ordering::AcqRel, Ordering::Acquire)
            {
                // SAFETY: it is leaked: in the list for good.
                Ok(_) => return Some(unsafe { &*new }),
                Err(now) => {
                    // SAFETY: it was made above, and nobody has seen it.
                    drop(unsafe { Box::from_raw(new) });
                    first = now;
                }
            }
        }
    }

    /// OS threads that exist on the scheduler's account.
    pub(super) fn own_threads(&self) -> usize {
        self.machine_count.load(Ordering::SeqCst) as usize
            + self.service_threads.load(Ordering::SeqCst)
            + self.engine.own_threads()
    }
}
