//! What ends contexts: a tree in which an end goes from the root to the leaves.
//!
//! # Who keeps whom
//!
//! A canceler keeps its parent, and the parent knows it by a weak reference, under a key. So a context that nobody has any more is gone, its timer with it, whether it was
//! cancelled or not; it strikes itself off its parent's list. A function that is to be called at the end keeps its canceler instead (in the list of that canceler
//! itself), until it is called or taken back: somebody relies on it, though no context is left to look at.
//!
//! # The end
//!
//! `why` changes once, from 0, under the lock of `state`; with it the list of children is taken out, and the channel of `done` is closed before the lock is released. Whoever
//! registers a child or makes the channel does so under that lock, and finds out there that the end has come. So
//!
//! - no child is missed: it is in the list that was taken out, or its maker ends it;
//! - who sees the channel closed sees `why`, which was set before;
//! - who sees `why` and takes the lock finds the channel closed.
//!
//! Children are ended after the lock is released, from a list of those that are open, so neither locks nor frames pile up with the depth of the tree.

use super::{Cause, Error};
use crate::runtime::scheduler_here;
use crate::time::{Instant, go_or_call, now};
use gosched::Alarm;
use gosched::chan::{Receiver, Sender, unbuffered};
use gosched::sync::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::panic::Location;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::*};
use std::sync::{Arc, OnceLock, Weak};

pub(super) struct Canceler {
    parent: Option<Arc<Canceler>>,
    /// What the parent knows it under; 0: it does not.
    key: AtomicU64,
    /// The earliest of its own and its parents'.
    deadline: Option<Instant>,
    why: AtomicU8,
    done: OnceLock<(Sender<Infallible>, Receiver<Infallible>)>,
    state: Mutex<State>,
}

struct State {
    children: BTreeMap<u64, Child>,
    /// The key given out last.
    last_key: u64,
    cause: Option<Cause>,
    alarm: Option<Alarm>,
}

enum Child {
    Canceler(Weak<Canceler>),
    Function(Function),
}

pub(super) struct Function {
    call: Box<dyn FnOnce() + Send>,
    site: &'static Location<'static>,
    /// The canceler in whose list this is.
    _keep: Arc<Canceler>,
}

impl Canceler {
    /// A child of `parent`, which is over if that is.
    pub(super) fn new(parent: Option<&Arc<Canceler>>, deadline: Option<Instant>) -> Arc<Canceler> {
        let inherited = parent.and_then(|parent| parent.deadline);
        let canceler = Arc::new(Canceler {
            parent: parent.cloned(),
            key: AtomicU64::new(0),
            deadline: [deadline, inherited].into_iter().flatten().min(),
            why: AtomicU8::new(0),
            done: OnceLock::new(),
            state: Mutex::new(State {
                children: BTreeMap::new(),
                last_key: 0,
                cause: None,
                alarm: None,
            }),
        });
        if let Some(parent) = parent {
            match parent.register(|| Child::Canceler(Arc::downgrade(&canceler))) {
                Some(key) => canceler.key.store(key, Relaxed),
                None => canceler.end_as(parent),
            }
        }
        canceler
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn err(&self) -> Option<Error> {
        let why = error(self.why.load(Acquire))?;
        // Who ends it may still be about to close the channel.
        drop(self.state.lock());
        Some(why)
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        self.state.lock().cause.clone()
    }

    /// Closed at the end.
    pub(super) fn done(&self) -> &Receiver<Infallible> {
        if let Some((_, receiver)) = self.done.get() {
            return receiver;
        }
        let _state = self.state.lock();
        let (_, receiver) = self.done.get_or_init(unbuffered);
        if self.why.load(Relaxed) != 0 {
            receiver.close();
        }
        receiver
    }

    /// Puts a child into the list; `None` if the end has come.
    fn register(&self, child: impl FnOnce() -> Child) -> Option<u64> {
        let mut state = self.state.lock();
        if self.why.load(Relaxed) != 0 {
            return None;
        }
        state.last_key += 1;
        let key = state.last_key;
        state.children.insert(key, child());
        Some(key)
    }

    /// Strikes a child off. Returns whether it was in the list.
    pub(super) fn forget(&self, key: u64) -> bool {
        let child = self.state.lock().children.remove(&key);
        // Dropped without the lock: a function that is not called is the program's.
        child.is_some()
    }

    /// Has `call` called when it ends. `None` if that is now.
    pub(super) fn call_at_end(
        self: &Arc<Self>,
        site: &'static Location<'static>,
        call: Box<dyn FnOnce() + Send>,
    ) -> Option<(Weak<Canceler>, u64)> {
        let mut function = Some(Function {
            call,
            site,
            _keep: self.clone(),
        });
        let key = self.register(|| Child::Function(function.take().expect("called once")));
        match (key, function) {
            (Some(key), _) => Some((Arc::downgrade(self), key)),
            (None, function) => {
                function.into_iter().for_each(Function::start);
                None
            }
        }
    }

    /// Ends it at its own deadline, if that is not later than its parents'.
    pub(super) fn end_at(self: &Arc<Self>, deadline: Instant, cause: Option<Cause>) {
        if self.why.load(Acquire) != 0 || self.deadline.is_some_and(|first| first < deadline) {
            return;
        }
        if deadline <= now() {
            return self.cancel(Error::DeadlineExceeded, cause);
        }
        let this = Arc::downgrade(self);
        let alarm = scheduler_here().alarm(move |_| {
            if let Some(this) = this.upgrade() {
                this.cancel(Error::DeadlineExceeded, cause.clone());
            }
        });
        alarm.set(deadline);
        let mut state = self.state.lock();
        if self.why.load(Relaxed) == 0 {
            state.alarm = Some(alarm);
        } else {
            drop(state);
            alarm.cancel();
        }
    }

    /// Ends it and all its children, and their children. The first end is the one that counts.
    pub(super) fn cancel(self: &Arc<Self>, why: Error, cause: Option<Cause>) {
        if self.why.load(Acquire) != 0 {
            return;
        }
        let cause = cause.unwrap_or_else(|| Arc::new(why));
        let mut open = self.end(why, &cause);
        if let Some(parent) = &self.parent {
            parent.forget(self.key.load(Relaxed));
        }
        while let Some(child) = open.pop_front() {
            match child {
                Child::Canceler(child) => {
                    if let Some(child) = child.upgrade() {
                        open.append(&mut child.end(why, &cause));
                    }
                }
                Child::Function(function) => function.start(),
            }
        }
    }

    /// As its parent has ended.
    fn end_as(self: &Arc<Self>, parent: &Canceler) {
        let why = parent.err().expect("the parent has ended");
        self.cancel(why, parent.cause());
    }

    /// Ends it alone, if it has not. Returns its children.
    fn end(&self, why: Error, cause: &Cause) -> VecDeque<Child> {
        let (children, alarm) = {
            let mut state = self.state.lock();
            if self.why.load(Relaxed) != 0 {
                return VecDeque::new();
            }
            state.cause = Some(cause.clone());
            self.why.store(code(why), Release);
            if let Some((sender, _)) = self.done.get() {
                sender.close();
            }
            (std::mem::take(&mut state.children), state.alarm.take())
        };
        if let Some(alarm) = alarm {
            alarm.cancel();
        }
        children.into_values().collect()
    }

    #[cfg(test)]
    pub(super) fn children(&self) -> usize {
        self.state.lock().children.len()
    }
}

impl Function {
    fn start(self) {
        let Function { call, site, _keep } = self;
        go_or_call(site, call);
    }
}

impl Drop for Canceler {
    /// Strikes it off its parent's list, and the parent off its own parent's if nobody else has that: not by recursion, however deep the tree has become.
    fn drop(&mut self) {
        if let Some(alarm) = self.state.get_mut().alarm.take() {
            alarm.cancel();
        }
        let mut key = *self.key.get_mut();
        let mut next = self.parent.take();
        while let Some(parent) = next {
            parent.forget(key);
            let Some(mut last) = Arc::into_inner(parent) else {
                break;
            };
            key = *last.key.get_mut();
            next = last.parent.take();
        }
    }
}

/// What an [`Error`] is in `why`.
fn code(why: Error) -> u8 {
    match why {
        Error::Canceled => 1,
        Error::DeadlineExceeded => 2,
    }
}

fn error(code: u8) -> Option<Error> {
    match code {
        0 => None,
        1 => Some(Error::Canceled),
        _ => Some(Error::DeadlineExceeded),
    }
}
