//! The policy.
//!
//! Each tick looks at the Ps as they are and as they were. A P is taken if the same tick (of the P) has been
//! seen for a whole slice; if it is in a system call, already when the same call has been seen twice and
//! somebody could use the P. Being asked for counts as a new beginning: a P whose holder could not be
//! deprived of it this time is not asked for again before it has been held as long once more, since each
//! attempt costs an interruption of all processors.
//!
//! Sleeps follow the use that the monitor is of: short after it has taken a P, doubling when that was long
//! ago, and deep when there is nothing to watch because no P is held or the world is stopped. A deep sleep
//! still ends in time for the next timer, poll or forced collection.
//!
//! Invariants, which the tests check over simulated hours:
//! 1. Only Ps that are held are taken, and not again before their tick has changed or a threshold has passed
//!    anew.
//! 2. A sleep is between `min_sleep` and `max_sleep`, unless it is deep.
//! 3. If a collection is possible, one is asked for at most one sleep after the period is over.
//! 4. While somebody waits for the network and nobody polls, it is polled at most one sleep after the period
//!    is over.

use crate::config::Config;
use crate::data::{
    Actions, Observation, PIndex, PObservation, PState, Retake, RetakeReason, Sleep,
};
use crate::pressure::PressureWatch;
use crate::stall::{Stall, StallWatch, Tasks};
use crate::units::Nanos;

/// A P as it was when it last changed.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    tick: u32,
    tick_since: Nanos,
    syscall_tick: u32,
    syscall_since: Nanos,
    /// The P was held at the last tick of the monitor.
    held: bool,
}

#[derive(Clone, Copy, Debug)]
struct GcAsked {
    at: Nanos,
    last_gc: Nanos,
}

/// The policy with what it remembers.
#[derive(Debug)]
pub struct Monitor {
    config: Config,
    seen: Vec<Seen>,
    actions: Actions,
    /// Ticks in a row in which no P was taken.
    idle: u32,
    sleep: Nanos,
    /// When a collection was asked for that has not ended, and which was the last one then.
    gc_asked: Option<GcAsked>,
    traced: Option<Nanos>,
    /// When waiters for locks were looked at last.
    locks_looked_at: Nanos,
    stalls: StallWatch,
    pressure: PressureWatch,
}

impl Monitor {
    /// A monitor of at most `capacity` Ps.
    #[must_use]
    pub fn new(config: Config, capacity: usize) -> Monitor {
        Monitor {
            config,
            seen: vec![Seen::default(); capacity],
            actions: Actions::with_capacity(capacity),
            idle: 0,
            sleep: config.min_sleep,
            gc_asked: None,
            traced: None,
            locks_looked_at: Nanos(0),
            stalls: StallWatch::new(config.stall),
            pressure: PressureWatch::new(&config),
        }
    }

    /// Decides what is to be done now and how long to sleep after it. Allocates nothing.
    ///
    /// # Panics
    /// If more Ps are observed than the monitor was made for.
    pub fn tick(&mut self, observation: &Observation) -> (&Actions, Sleep) {
        assert!(
            observation.ps().len() <= self.seen.len(),
            "more Ps than the monitor was made for"
        );
        self.actions.clear();
        if !observation.stopping {
            self.actions.poll_network = observation
                .last_poll
                .is_some_and(|last| last + self.config.poll_period <= observation.now);
            self.actions.wake_scavenger = observation.scavenge;
            self.watch(observation);
            self.actions.force_gc = self.gc_is_due(observation);
            self.actions.relieve_memory = observation
                .memory
                .is_some_and(|memory| self.pressure.is_due(observation.now, memory));
            self.actions.look_at_locks = self.locks_are_due(observation.now);
        }
        self.actions.trace = self.trace_is_due(observation.now);
        self.actions.look_at_tasks = self.stalls.due().is_some_and(|due| due <= observation.now);
        let sleep = self.next_sleep(observation);
        (&self.actions, sleep)
    }

    /// Compares what the workers are at with what they were at the last time; returns those that do not get on. To be called when
    /// [`Actions::look_at_tasks`] asks for it.
    pub fn look(&mut self, now: Nanos, tasks: &mut Tasks) -> &[Stall] {
        self.stalls.look(now, tasks)
    }

    /// To be called after a deep sleep that somebody ended: Ps are in use again, and a scheduler that needed
    /// the monitor before will soon need it again.
    pub fn woken(&mut self) {
        self.idle = 0;
        self.sleep = self.config.min_sleep;
    }

    /// Whether a deep sleep may (still) be begun: nothing has to be watched.
    #[must_use]
    pub fn may_sleep_deeply(&self, observation: &Observation) -> bool {
        // Memory is given back most of all while nobody does anything else.
        let all_idle = observation.all_idle() && !observation.scavenge;
        self.config.trace_period.is_none() && (observation.stopping || all_idle)
    }

    /// Finds the Ps that have to be taken.
    fn watch(&mut self, observation: &Observation) {
        let now = observation.now;
        let idle_ps = observation
            .ps()
            .iter()
            .filter(|p| p.state == PState::Idle)
            .count();
        let nobody_free = idle_ps == 0 && observation.spinning == 0;
        for (index, (p, seen)) in observation.ps().iter().zip(&mut self.seen).enumerate() {
            let reason = match p.state {
                PState::Idle => {
                    seen.held = false;
                    continue;
                }
                _ => seen.look(p, now, p.has_work || nobody_free, &self.config),
            };
            if let Some(reason) = reason {
                seen.tick_since = now;
                seen.syscall_since = now;
                // Whoever is deprived of a P may stay away.
                self.stalls.expect();
                self.actions.retake.push(Retake {
                    p: PIndex(index),
                    tick: p.tick,
                    reason,
                });
            }
        }
    }

    fn gc_is_due(&mut self, observation: &Observation) -> bool {
        let Some(period) = self.config.gc_period else {
            return false;
        };
        let (now, last_gc) = (observation.now, observation.last_gc);
        if self.gc_asked.is_some_and(|asked| asked.last_gc != last_gc) {
            self.gc_asked = None;
        }
        if !observation.gc_possible || now < last_gc + period {
            return false;
        }
        let again = self
            .gc_asked
            .is_none_or(|asked| asked.at + self.config.gc_retry <= now);
        if again {
            self.gc_asked = Some(GcAsked { at: now, last_gc });
        }
        again
    }

    fn trace_is_due(&mut self, now: Nanos) -> bool {
        let Some(period) = self.config.trace_period else {
            return false;
        };
        let due = self.traced.is_none_or(|traced| traced + period <= now);
        if due {
            self.traced = Some(now);
        }
        due
    }

    /// A deep sleep is not ended for it: while nothing runs, nobody comes to wait.
    fn locks_are_due(&mut self, now: Nanos) -> bool {
        let due = self
            .config
            .lock_period
            .is_some_and(|period| self.locks_looked_at + period <= now);
        if due {
            self.locks_looked_at = now;
        }
        due
    }

    fn next_sleep(&mut self, observation: &Observation) -> Sleep {
        self.idle = if self.actions.retake.is_empty() {
            self.idle.saturating_add(1)
        } else {
            0
        };
        if self.idle == 0 {
            self.sleep = self.config.min_sleep;
        } else if self.idle > self.config.idle_rounds {
            self.sleep = Nanos(self.sleep.0 * 2).min(self.config.max_sleep);
        }
        if self.may_sleep_deeply(observation) {
            let limit = self.until_next_duty(observation);
            if limit > self.sleep {
                return Sleep::Deep(limit);
            }
        }
        Sleep::For(self.sleep)
    }

    /// The time until there is something to do even if nobody wakes the monitor.
    fn until_next_duty(&self, observation: &Observation) -> Nanos {
        let now = observation.now;
        let poll = match observation.last_poll {
            _ if self.actions.poll_network => Some(now + self.config.poll_period),
            last => last.map(|last| last + self.config.poll_period),
        };
        let gc = self
            .config
            .gc_period
            .filter(|_| observation.gc_possible)
            .map(|period| match self.gc_asked {
                Some(asked) => asked.at + self.config.gc_retry.min(period),
                None => observation.last_gc + period,
            });
        let memory = observation
            .memory
            .map(|_| now + self.config.idle_memory_period);
        let longest = Nanos::secs(60);
        [poll, gc, observation.next_timer, self.stalls.due(), memory]
            .into_iter()
            .flatten()
            .map(|due| due.saturating_sub(now))
            .fold(longest, Nanos::min)
    }
}

impl Seen {
    /// Compares a held P with what was seen before; says why it has to be taken, if it has.
    fn look(
        &mut self,
        p: &PObservation,
        now: Nanos,
        wanted: bool,
        config: &Config,
    ) -> Option<RetakeReason> {
        let known = std::mem::replace(&mut self.held, true);
        let same_call = known && self.syscall_tick == p.syscall_tick;
        if !same_call {
            self.syscall_tick = p.syscall_tick;
            self.syscall_since = now;
        }
        let same_slice = known && self.tick == p.tick;
        if !same_slice {
            self.tick = p.tick;
            self.tick_since = now;
        }
        let in_call = p.state == PState::Syscall && same_call;
        let patience = if wanted {
            config.min_sleep
        } else {
            config.idle_syscall
        };
        if in_call && self.syscall_since + patience <= now {
            return Some(RetakeReason::Syscall);
        }
        let over = same_slice && self.tick_since + config.slice <= now;
        over.then_some(RetakeReason::Slice)
    }
}

#[cfg(test)]
mod tests;
