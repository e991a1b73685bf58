//! The stall watch: which workers have been at one task for too long.
//!
//! A P that one goroutine holds is taken after a slice, so nobody waits for it any more; but the goroutine, and the thread that it runs on, may never
//! come back: an endless loop, a deadlock of foreign locks, a C library that sleeps. Every so often the tasks of all workers are looked at.
//! One that is still what it was for the whole threshold is reported, once.
//!
//! If the next look comes much later than it was due, twice as late or more, the monitor itself did not run: the process was stopped, or its machine was. What went by then is nobody's stall.
//!
//! Invariants: a task is reported once however long it stalls, and never before the threshold has passed between two looks that both saw it; at most
//! [`AT_ONCE`] are reported at a time, the others at the next look; nothing is allocated.

use crate::units::Nanos;

/// Workers that are looked at; more are not seen.
pub const MOST_TASKS: usize = 1024;

/// Stalls that are reported at a time. When everything hangs, the first few say why.
pub const AT_ONCE: usize = 8;

/// What a worker is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Which worker: the number of its thread, say.
    pub worker: u32,
    /// What it runs: the number of a goroutine, say.
    pub task: u64,
    /// Changes whenever the worker is seen to get on with it: it returned to the scheduler, or took up another task. Wrapping.
    pub stamp: u64,
}

/// Tasks as they are looked at: room for [`MOST_TASKS`].
#[derive(Debug)]
pub struct Tasks(Vec<Task>);

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks(Vec::with_capacity(MOST_TASKS))
    }
}

impl Tasks {
    /// Adds the task of a worker that is at one and did not say that it may take long. What there is no room for is left out.
    pub fn push(&mut self, task: Task) {
        if self.0.len() < MOST_TASKS {
            self.0.push(task);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A worker that does not get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Its task, as it was seen first.
    pub task: Task,
    /// For how long it is known to have been at it.
    pub lasted: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    task: Task,
    since: Nanos,
    reported: bool,
}

/// What the watch remembers.
#[derive(Debug)]
pub(crate) struct StallWatch {
    /// `None`: nothing is watched.
    threshold: Option<Nanos>,
    /// By worker.
    seen: Vec<Seen>,
    next: Vec<Seen>,
    stalls: Vec<Stall>,
    looked: Nanos,
    /// A worker may be at a task that is not reported.
    expects: bool,
}

impl StallWatch {
    pub(crate) fn new(threshold: Option<Nanos>) -> StallWatch {
        let capacity = if threshold.is_some() { MOST_TASKS } else { 0 };
        StallWatch {
            threshold,
            seen: Vec::with_capacity(capacity),
            next: Vec::with_capacity(capacity),
            stalls: Vec::with_capacity(AT_ONCE),
            looked: Nanos(0),
            expects: false,
        }
    }

    /// A worker has been found to be at a task for some time.
    pub(crate) fn expect(&mut self) {
        self.expects = true;
    }

    /// When the next look is due; `None` if there is nothing to look for. Four looks to a threshold: a stall is reported at most a quarter late.
    pub(crate) fn due(&self) -> Option<Nanos> {
        let threshold = self.threshold.filter(|_| self.expects)?;
        Some(self.looked + Nanos((threshold.0 / 4).max(1)))
    }

    /// Compares the tasks with those of the last look; returns those that have become stalls.
    pub(crate) fn look(&mut self, now: Nanos, tasks: &mut Tasks) -> &[Stall] {
        self.stalls.clear();
        let Some(threshold) = self.threshold else {
            return &self.stalls;
        };
        let passed = now.saturating_sub(self.looked);
        let stood_still = if passed > Nanos(threshold.0 / 2) {
            passed
        } else {
            Nanos(0)
        };
        self.looked = now;
        tasks.0.sort_unstable_by_key(|task| task.worker);
        self.next.clear();
        let mut before = self.seen.iter().peekable();
        for &task in &tasks.0 {
            while before
                .next_if(|seen| seen.task.worker < task.worker)
                .is_some()
            {}
            let known = before.next_if(|seen| seen.task == task).copied();
            let mut seen = known.unwrap_or(Seen {
                task,
                since: now,
                reported: false,
            });
            if known.is_some() {
                seen.since = seen.since + stood_still;
            }
            let lasted = now.saturating_sub(seen.since);
            if !seen.reported && lasted >= threshold && self.stalls.len() < AT_ONCE {
                seen.reported = true;
                self.stalls.push(Stall { task, lasted });
            }
            self.next.push(seen);
        }
        std::mem::swap(&mut self.seen, &mut self.next);
        self.expects = self.seen.iter().any(|seen| !seen.reported);
        &self.stalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const THRESHOLD: Nanos = Nanos(1000);

    /// Looks every quarter of the threshold until `now`; returns the workers that are reported, and after how long.
    fn look(watch: &mut StallWatch, now: u64, tasks: &[(u32, u64)]) -> Vec<(u32, u64)> {
        let mut told = Vec::new();
        while watch.looked.0 + 250 < now {
            told.extend(look_once(watch, watch.looked.0 + 250, tasks));
        }
        told.extend(look_once(watch, now, tasks));
        told
    }

    fn look_once(watch: &mut StallWatch, now: u64, tasks: &[(u32, u64)]) -> Vec<(u32, u64)> {
        let mut all = Tasks::default();
        for &(worker, task) in tasks {
            all.push(Task {
                worker,
                task,
                stamp: 0,
            });
        }
        let stalls = watch.look(Nanos(now), &mut all);
        stalls.iter().map(|s| (s.task.worker, s.lasted.0)).collect()
    }

    #[test]
    fn is_told_once_of_a_worker_that_does_not_get_on() {
        let mut watch = StallWatch::new(Some(THRESHOLD));
        assert_eq!(watch.due(), None, "nothing to look for");
        watch.expect();
        assert_eq!(watch.due(), Some(Nanos(250)));
        assert_eq!(look_once(&mut watch, 5000, &[(7, 1), (3, 2)]), []);
        assert_eq!(watch.due(), Some(Nanos(5250)));
        assert_eq!(look(&mut watch, 5999, &[(3, 9), (7, 1)]), []);
        assert_eq!(look(&mut watch, 6000, &[(3, 9), (7, 1)]), [(7, 1000)]);
        assert_eq!(look(&mut watch, 6500, &[(7, 1)]), []);
        assert_eq!(watch.due(), None, "all that is left is known");
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let mut watch = StallWatch::new(Some(THRESHOLD));
        look_once(&mut watch, 1000, &[(1, 1)]);
        look_once(&mut watch, 1250, &[(1, 1)]);
        assert_eq!(
            look_once(&mut watch, 1_000_000, &[(1, 1)]),
            [],
            "it was stopped"
        );
        assert_eq!(look(&mut watch, 1_000_749, &[(1, 1)]), []);
        assert_eq!(look(&mut watch, 1_000_750, &[(1, 1)]), [(1, 1000)]);
    }

    #[test]
    fn a_flood_is_told_of_bit_by_bit() {
        let mut watch = StallWatch::new(Some(THRESHOLD));
        let tasks: Vec<_> = (0..20).map(|worker| (worker, 1)).collect();
        look_once(&mut watch, 0, &tasks);
        let mut told = Vec::new();
        for round in 1..10 {
            told.extend(look(&mut watch, round * 1000, &tasks));
        }
        assert_eq!(told.len(), 20);
        assert_eq!(look(&mut watch, 20_000, &tasks), []);
    }

    #[test]
    fn more_workers_than_there_is_room_for_are_left_out() {
        let mut watch = StallWatch::new(Some(THRESHOLD));
        let tasks: Vec<_> = (0..3000).map(|worker| (worker, 1)).collect();
        look_once(&mut watch, 0, &tasks);
        assert_eq!(look(&mut watch, 1000, &tasks).len(), AT_ONCE);
    }

    proptest! {
        /// Against a list of what each worker was at in each look.
        #[test]
        fn agrees_with_the_definition(
            looks in prop::collection::vec((1u64..500, prop::collection::btree_map(0u32..6, 0u64..3, 0..6)), 1..40),
        ) {
            let mut watch = StallWatch::new(Some(THRESHOLD));
            let mut now = 0;
            // Since when each worker is at its task, and whether that was told.
            let mut model: BTreeMap<u32, (u64, u64, bool)> = BTreeMap::new();
            for (step, tasks) in looks {
                now += step;
                let list: Vec<_> = tasks.iter().map(|(&w, &t)| (w, t)).collect();
                let told: BTreeSet<u32> = look_once(&mut watch, now, &list).into_iter().map(|s| s.0).collect();
                model = tasks.iter().map(|(&worker, &task)| {
                    let old = model.get(&worker).filter(|old| old.0 == task);
                    (worker, old.copied().unwrap_or((task, now, false)))
                }).collect();
                let mut expected = BTreeSet::new();
                for (&worker, state) in &mut model {
                    if !state.2 && now - state.1 >= THRESHOLD.0 {
                        state.2 = true;
                        expected.insert(worker);
                    }
                }
                prop_assert_eq!(told, expected);
            }
        }
    }
}
