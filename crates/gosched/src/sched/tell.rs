//! Telling the hooks what happens.
//!
//! While nobody listens an event costs asking for that, and with hooks that never do nothing at all: what an event is made of is looked up behind the question.

use crate::env::{Env, Event, Hooks};
use crate::sched::Scheduler;
use crate::sched::machine::Machine;

impl<V: Env> Scheduler<V> {
    /// Something happened on `machine`, in the runtime, or on a thread that is no M or is not in the runtime. Inside a critical section.
    #[inline(always)]
    pub(super) fn tell(&self, machine: Option<&'static Machine<V>>, event: impl FnOnce() -> Event) {
        if self.hooks.listens() {
            self.tell_listener(machine, event());
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_listener(&self, machine: Option<&'static Machine<V>>, event: Event) {
        let p = machine.and_then(|machine| machine.m.p());
        self.hooks.event(p.map(|p| p.index), event);
    }
}
