//! Alarms: a scheduler's side of `crate::alarm`.

use std::panic::Location;

use crate::alarm::{Alarm, Alarms, Host};
use crate::atomic::Ordering;
use crate::critical::Section;
use crate::env::Env;
use crate::gmp::timer::TimerNode;
use crate::sched::Scheduler;
use crate::sched::spawn::SpawnOptions;
use crate::time::Nanos;

impl<V: Env> Scheduler<V> {
    /// An alarm whose timer is one of this scheduler's, not set.
    ///
    /// The action is called by a goroutine that sees to all alarms, so it must be short; a panic in it goes to the panic hook. It gets the alarm, so as to set
    /// it again, or to hand on what would otherwise be dropped behind it.
    pub fn alarm(&'static self, action: impl Fn(Alarm) + Send + Sync + 'static) -> Alarm {
        Alarm::new(self, Box::new(action))
    }

    /// Takes the times of all alarms back, and drops those that nobody has a handle of. For the end of a simulation.
    pub(crate) fn discard_alarms(&'static self) {
        self.ps.iter().for_each(|p| p.timers.discard());
    }
}

impl<V: Env> Host for Scheduler<V> {
    fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    unsafe fn arm(&'static self, timer: &TimerNode, inside: &Section) {
        let p = self.with_own_p(inside, |p| p).unwrap_or(self.ps.get(0));
        // SAFETY: obligation 1.
        unsafe { p.timers.arm(timer, inside) };
    }

    fn attend(&'static self, when: Nanos, inside: &Section) {
        self.ensure_polled(when, inside);
    }

    fn start_runner(&'static self) -> Result<(), String> {
        let options = SpawnOptions {
            name: Some("timers".into()),
            ..SpawnOptions::default()
        };
        let runner = || {
            // It is none of the program's goroutines, and not counted as one.
            self.live.fetch_sub(1, Ordering::Relaxed);
            self.alarms.run();
            self.live.fetch_add(1, Ordering::Relaxed);
        };
        self.spawn_at(options, Location::caller(), runner)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
