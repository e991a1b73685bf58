//! A poller without descriptors: the test says what becomes ready.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::env::{Poller, Readiness, Token};
use crate::time::Nanos;

#[derive(Default)]
struct State {
    tokens: HashMap<RawFd, Token>,
    reports: VecDeque<Readiness>,
    woken: bool,
}

/// Any number is a descriptor to it.
#[derive(Default)]
pub struct Scripted {
    state: Mutex<State>,
    changed: Condvar,
}

impl Scripted {
    /// With nothing registered.
    pub fn new() -> Scripted {
        Scripted::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Makes `fd` ready. Returns whether it is registered.
    pub fn make_ready(&self, fd: RawFd, readable: bool, writable: bool) -> bool {
        let mut state = self.state();
        let Some(&token) = state.tokens.get(&fd) else {
            return false;
        };
        state.reports.push_back(Readiness {
            token,
            readable,
            writable,
            is_last: true,
        });
        self.changed.notify_all();
        true
    }
}

impl Poller for Scripted {
    fn register(&self, fd: RawFd, token: Token) -> io::Result<()> {
        match self.state().tokens.insert(fd, token) {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn deregister(&self, fd: RawFd) -> io::Result<()> {
        match self.state().tokens.remove(&fd) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn wait(&self, timeout: Option<Nanos>, ready: &mut [Readiness]) -> io::Result<usize> {
        let glance = timeout == Some(Nanos::ZERO);
        let mut state = self.state();
        let quiet = |s: &mut State| s.reports.is_empty() && (glance || !s.woken);
        match timeout {
            _ if glance => {}
            Some(t) => {
                state = self
                    .changed
                    .wait_timeout_while(state, t.to_duration(), quiet)
                    .unwrap_or_else(|poisoned| poisoned.into_inner())
                    .0;
            }
            None => {
                state = self
                    .changed
                    .wait_while(state, quiet)
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
        if !glance {
            state.woken = false;
        }
        let n = state.reports.len().min(ready.len());
        for (place, report) in ready.iter_mut().zip(state.reports.drain(..n)) {
            *place = report;
        }
        Ok(n)
    }

    fn wake(&self) {
        self.state().woken = true;
        self.changed.notify_all();
    }
}
