//! Threads of an exploration, and what they wait with.

use crate::atomic::AtomicU32;
use crate::execution::{Limit, On, Status, Woken, operate, part};
use crate::futex;
use crate::plant::Damage;
use crate::trace::What;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A thread that was started by [`spawn`].
pub struct JoinHandle<T>(Kind<T>);

impl<T> std::fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("JoinHandle").field(&self.thread()).finish()
    }
}

enum Kind<T> {
    Real(std::thread::JoinHandle<T>),
    Explored(usize, Arc<Mutex<Option<T>>>),
}

/// As [`std::thread::spawn`]: in an exploration a thread of that.
#[track_caller]
pub fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    Builder::new().spawn(body).expect("a thread is started")
}

/// As [`std::thread::Builder`]. In an exploration threads are named by their numbers.
#[derive(Debug)]
pub struct Builder(std::thread::Builder);

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// As [`std::thread::Builder::new`].
    #[must_use]
    pub fn new() -> Builder {
        Builder(std::thread::Builder::new())
    }

    /// As [`std::thread::Builder::name`].
    #[must_use]
    pub fn name(self, name: String) -> Builder {
        Builder(self.0.name(name))
    }

    /// As [`std::thread::Builder::stack_size`].
    #[must_use]
    pub fn stack_size(self, bytes: usize) -> Builder {
        Builder(self.0.stack_size(bytes))
    }

    /// As [`std::thread::Builder::spawn`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn spawn<T: Send + 'static>(
        self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<JoinHandle<T>> {
        let at = Location::caller();
        let Some((execution, me)) = part() else {
            return Ok(JoinHandle(Kind::Real(self.0.spawn(body)?)));
        };
        let result = Arc::new(Mutex::new(None));
        let place = result.clone();
        let id = execution.start(Some(me), move || {
            let value = body();
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            // What the thread has done is seen by who joins it.
            operate(at, |_, _| ());
        });
        execution.lock().trace.note(me, at, What::Start(id));
        Ok(JoinHandle(Kind::Explored(id, result)))
    }
}

impl<T> JoinHandle<T> {
    /// The thread, to be unparked.
    pub fn thread(&self) -> Thread {
        Thread(match &self.0 {
            Kind::Real(thread) => Which::Real(thread.thread().clone()),
            Kind::Explored(id, _) => Which::Explored(*id),
        })
    }

    /// As [`std::thread::JoinHandle::join`].
    ///
    /// # Errors
    /// As there; but in an exploration a panic ends that before it gets here.
    #[track_caller]
    pub fn join(self) -> std::thread::Result<T> {
        let at = Location::caller();
        match self.0 {
            Kind::Real(thread) => thread.join(),
            Kind::Explored(id, result) => {
                let ended = operate(at, |state, _| state.threads[id].status == Status::Finished);
                let (execution, me) =
                    part().expect("a thread of an exploration is joined inside it");
                if ended == Some(false) {
                    let blocked = Status::Blocked(On::End(id), Limit::None);
                    drop(execution.wait(execution.lock(), me, blocked));
                }
                let mut state = execution.lock();
                let last = state.memory.release(id);
                state.memory.acquire(me, &last);
                drop(state);
                let value = result.lock().unwrap_or_else(PoisonError::into_inner).take();
                Ok(value.expect("a thread that ended has left its result"))
            }
        }
    }
}

/// Lets other threads go on. Whoever calls this in a loop waits for another thread to change what it has read.
#[track_caller]
pub fn yield_now() {
    let at = Location::caller();
    let Some(()) = operate(at, |state, me| {
        state.memory.refresh(me);
        state.trace.note(me, at, What::Wait("yields"));
    }) else {
        return std::thread::yield_now();
    };
    if let Some((execution, me)) = part() {
        drop(execution.wait(execution.lock(), me, Status::Yielded));
    }
}

/// As [`yield_now`]; outside of explorations as [`std::hint::spin_loop`].
#[track_caller]
pub fn spin_loop() {
    if part().is_some() {
        yield_now();
    } else {
        std::hint::spin_loop();
    }
}

/// A thread that can be [unparked](Thread::unpark).
#[derive(Clone, Debug)]
pub struct Thread(Which);

#[derive(Clone, Debug)]
enum Which {
    Real(std::thread::Thread),
    Explored(usize),
}

/// The calling thread.
pub fn current() -> Thread {
    Thread(match part() {
        Some((_, me)) => Which::Explored(me),
        None => Which::Real(std::thread::current()),
    })
}

impl Thread {
    /// As [`std::thread::Thread::unpark`].
    #[track_caller]
    pub fn unpark(&self) {
        let at = Location::caller();
        let id = match &self.0 {
            Which::Real(thread) => return thread.unpark(),
            Which::Explored(id) => *id,
        };
        operate(at, |state, me| {
            if state.damage(at) == Some(Damage::Remove) {
                return;
            }
            let woken = match state.threads[id].status {
                Status::Blocked(On::Unpark, _) => {
                    state.threads[id].status = Status::Runnable;
                    state.wake_by_other(id);
                    1
                }
                _ => {
                    state.threads[id].token = true;
                    0
                }
            };
            // Unparking synchronises with the return from parking.
            let view = state.memory.release(me);
            state.memory.acquire(id, &view);
            state.trace.note(me, at, What::Wake(woken));
        });
    }
}

#[track_caller]
fn park_with(limit: Limit) -> Option<Woken> {
    let at = Location::caller();
    let has_token = operate(at, |state, me| {
        state.trace.note(me, at, What::Wait("parks"));
        std::mem::take(&mut state.threads[me].token)
    })?;
    if has_token {
        return Some(Woken::ByOther);
    }
    let (execution, me) = part()?;
    let blocked = Status::Blocked(On::Unpark, limit);
    Some(execution.wait(execution.lock(), me, blocked).1)
}

/// As [`std::thread::park`].
#[track_caller]
pub fn park() {
    if park_with(Limit::None).is_none() {
        std::thread::park();
    }
}

/// As [`std::thread::park_timeout`]; in an exploration the time runs out when no other thread can go on.
#[track_caller]
pub fn park_timeout(timeout: Duration) {
    if park_with(Limit::Some).is_none() {
        std::thread::park_timeout(timeout);
    }
}

/// As [`std::thread::sleep`]; in an exploration until no other thread can go on.
#[track_caller]
pub fn sleep(time: Duration) {
    if part().is_none() {
        return std::thread::sleep(time);
    }
    let word = AtomicU32::new(0);
    futex::wait(&word, 0, Some(time));
}

/// Waits until no other thread of the exploration can go on, and then ends those that are left, one after the other: for models of code whose
/// threads never end. They are unwound from where they sleep, so that must be a place where unwinding does no harm. Outside of explorations nothing
/// happens.
pub fn end_sleepers() {
    if let Some((execution, me)) = part() {
        execution.end_sleepers(me);
    }
}
