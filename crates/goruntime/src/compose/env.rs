//! The scheduler's environment.

use super::{engine, monitor};
use gosched::poll::epoll::Epoll;

/// gosched's ports as goruntime fills them.
pub(crate) enum GoEnv {}

impl gosched::env::Env for GoEnv {
    type Engine = engine::Engine;
    type Poller = Epoll;
    type Hooks = GoHooks;
}

/// Listens to the scheduler.
pub(crate) struct GoHooks;

impl gosched::env::Hooks for GoHooks {
    #[inline]
    fn work_appeared(&self) {
        monitor::wake();
    }
}
