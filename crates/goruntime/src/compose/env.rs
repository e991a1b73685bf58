//! The scheduler's environment.

use super::{engine, monitor};
use crate::events::{self, What};
use gosched::poll::epoll::Epoll;

/// gosched's ports as goruntime fills them.
pub(crate) enum GoEnv {}

impl gosched::env::Env for GoEnv {
    type Engine = engine::Engine;
    type Poller = Epoll;
    type Hooks = GoHooks;
}

/// Listens to the scheduler.
pub(crate) struct GoHooks {
    /// Events are noted: of the process's own scheduler, for Ps of a simulation have the same numbers.
    noted: bool,
}

impl GoHooks {
    /// Of the process's scheduler.
    pub(crate) const OWN: GoHooks = GoHooks { noted: true };
    /// Of a simulation's.
    pub(crate) const SIMULATED: GoHooks = GoHooks { noted: false };
}

impl gosched::env::Hooks for GoHooks {
    #[inline]
    fn work_appeared(&self) {
        monitor::wake();
    }

    fn deadlock(&self, deadlock: &gosched::goroutine::Deadlock) {
        crate::goroutines::die_of_deadlock(deadlock);
    }

    #[inline]
    fn listens(&self) -> bool {
        events::is_on()
    }

    fn event(&self, p: Option<u32>, event: gosched::env::Event) {
        if self.noted {
            events::note(p, What::Scheduler(event));
        }
    }
}
