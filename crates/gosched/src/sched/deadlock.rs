//! "All goroutines are asleep": when nothing in the process can ever make one runnable again.
//!
//! Checked by each M before it sleeps, and by a monitor when it likes, since the last thread that
//! could have woken somebody may end without any M noticing. The common answer "no" costs a few
//! loads; threads are counted only when everything else says "yes".

use crate::atomic::Ordering;

use crate::env::{Env, Hooks};
use crate::goroutine::Deadlock;
use crate::sched::Scheduler;
use crate::time::Nanos;

impl<V: Env> Scheduler<V> {
    /// Calls [`Hooks::deadlock`] if a main goroutine exists and nothing can ever run again. At most
    /// once per scheduler.
    pub fn check_deadlock(&'static self) {
        if !self.is_all_asleep() || self.hooks.foreign_threads(self.own_threads()) > 0 {
            return;
        }
        // Nobody runs who could have changed it meanwhile, unless a thread ended after it had
        // readied somebody.
        if !self.is_all_asleep() || self.deadlock_reported.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut goroutines = Vec::new();
        self.for_each_goroutine(|g| goroutines.push(g));
        goroutines.sort_by_key(|g| g.id);
        self.hooks.deadlock(&Deadlock { goroutines });
    }

    fn is_all_asleep(&'static self) -> bool {
        self.mains.load(Ordering::SeqCst) > 0
            && self.idle.ms() + self.idle.locked() == self.machine_count.load(Ordering::SeqCst)
            && self.idle.ps() as usize == self.ps.in_use()
            && self.idle.spinning() == 0
            && !self.network.has_waiters()
            && self.global.len() == 0
            && self.earliest_timer() == Nanos::NEVER
            && self.ps.iter().all(|p| p.queued() == 0)
    }
}
