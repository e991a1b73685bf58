//! Processor time by goroutine, for who asks.
//!
//! Off, it costs a load and a branch at each switch. On, each switch reads the thread's processor clock, a system call, and charges what
//! has passed since the one before to the goroutine that is left. What an M uses to look for work is charged to nobody.

use crate::atomic::Ordering;

use crate::env::{Engine, Env, ThreadLocals};
use crate::gmp::m::After;
use crate::sched::Scheduler;
use crate::sched::machine::Machine;
use crate::sys;

impl<V: Env> Scheduler<V> {
    /// Switches the accounting of processor time by goroutine on or off. What was charged before stays.
    pub fn set_cpu_accounting(&self, on: bool) {
        let mut period = 0;
        if on {
            // Another than the last one, so that no M charges what it used in between.
            period = (self.accounting_periods.fetch_add(1, Ordering::Relaxed) + 1).max(1);
        }
        self.accounting.store(period, Ordering::Relaxed);
    }

    /// At a switch on `machine`: charges the goroutine that is left, if one is.
    #[inline]
    pub(super) fn account(&'static self, machine: &'static Machine<V>, after: Option<After>) {
        let period = self.accounting.load(Ordering::Relaxed);
        if period != 0 {
            self.charge(machine, after, period);
        }
    }

    #[cold]
    fn charge(&'static self, machine: &'static Machine<V>, after: Option<After>, period: u32) {
        let now = sys::thread_cpu_time();
        let (seen_in, seen) = machine.m.cpu_seen.replace((period, now));
        let Some(After { g, .. }) = after else {
            return;
        };
        if V::Engine::THREAD_LOCALS == ThreadLocals::PerThread {
            // The thread is the goroutine's own, and so is all that it has used.
            g.cpu.store(now.0, Ordering::Relaxed);
        } else if seen_in == period {
            let used = g.cpu.load(Ordering::Relaxed) + (now - seen).0;
            g.cpu.store(used, Ordering::Relaxed);
        }
    }
}
