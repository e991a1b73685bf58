//! One cycle at a time, and who waits for which.
//!
//! Cycles are numbered. Whoever asks for a *full* cycle wants one that begins after the request: what has
//! become garbage by now is to be found. So the request names the number of the next cycle to begin, and is
//! served by that one, whoever runs it.
//!
//! The lock protects a few words and is never held while a cycle runs, so no stopped thread can hold it when
//! the collector needs it: the collector takes it before stopping the world and after starting it.

use std::sync::PoisonError;

use crate::atomic::{Condvar, Mutex, MutexGuard};

use crate::stats::CycleStats;

#[derive(Default)]
struct State {
    running: bool,
    /// Cycles begun; the number of the last one.
    begun: u64,
    /// The last cycle that was completed.
    last: Option<CycleStats>,
}

impl State {
    fn completed(&self) -> u64 {
        self.last.as_ref().map_or(0, |stats| stats.cycle)
    }
}

/// Admits one cycle at a time.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

/// The right to run the cycle of this number. Dropped without [`complete`](Turn::complete), the cycle has not
/// happened.
pub(crate) struct Turn<'t> {
    turns: &'t Turns,
    pub(crate) cycle: u64,
}

/// How a request is served.
pub(crate) enum Served<'t> {
    /// The caller runs the cycle.
    Run(Turn<'t>),
    /// Somebody else has run it.
    Done(CycleStats),
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin<'t>(&'t self, state: &mut State) -> Turn<'t> {
        state.running = true;
        state.begun += 1;
        Turn {
            turns: self,
            cycle: state.begun,
        }
    }

    /// The turn, if no cycle is running.
    pub(crate) fn try_begin(&self) -> Option<Turn<'_>> {
        let mut state = self.lock();
        (!state.running).then(|| self.begin(&mut state))
    }

    /// A cycle that begins after this call.
    pub(crate) fn full(&self) -> Served<'_> {
        let state = self.lock();
        let wanted = state.begun + 1;
        self.wait_for(wanted, state)
    }

    /// The cycle that is running, or else a new one.
    pub(crate) fn any(&self) -> Served<'_> {
        let state = self.lock();
        let wanted = if state.running {
            state.begun
        } else {
            state.begun + 1
        };
        self.wait_for(wanted, state)
    }

    fn wait_for<'t>(&'t self, wanted: u64, mut state: MutexGuard<'t, State>) -> Served<'t> {
        loop {
            if let Some(stats) = state.last
                && stats.cycle >= wanted
            {
                return Served::Done(stats);
            }
            if !state.running {
                return Served::Run(self.begin(&mut state));
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The last cycle completed.
    pub(crate) fn last(&self) -> Option<CycleStats> {
        self.lock().last
    }
}

impl Turn<'_> {
    /// The cycle has been run.
    pub(crate) fn complete(self, stats: CycleStats) {
        self.turns.lock().last = Some(stats);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.running = false;
        if state.completed() < self.cycle {
            state.begun = self.cycle - 1;
        }
        drop(state);
        self.turns.changed.notify_all();
    }
}
