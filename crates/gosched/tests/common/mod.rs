//! What the suites share: schedulers on two engines.
//!
//! `Threads` is the crate's own thread-backed engine. `Stacks` switches stacks with the C library's
//! `swapcontext`: slow, because it makes a system call, but a context there is nothing but a stack
//! that the same thread leaves and enters, so it shows whatever the scheduler touches too late on a
//! stack that it has left.
//!
//! An interpreter has neither stacks to switch nor this crate's way of using epoll: there only `Threads` remains, with
//! a poller that knows no descriptors.
#![allow(dead_code, reason = "each suite uses its part")]

#[cfg(not(miri))]
pub mod ucontext;

use gosched::engine::threads::ThreadEngine;
use gosched::env::Env;
#[cfg(not(miri))]
use gosched::poll::epoll::Epoll;
#[cfg(miri)]
use gosched::poll::scripted::Scripted;
use gosched::{Config, JoinHandle, Scheduler};
#[cfg(not(miri))]
use ucontext::UcontextEngine;

/// What `Threads` polls with.
#[cfg(not(miri))]
pub type Net = Epoll;
/// As above.
#[cfg(miri)]
pub type Net = Scripted;

/// A poller with nothing registered.
pub fn net() -> Net {
    #[cfg(not(miri))]
    return Epoll::new().unwrap();
    #[cfg(miri)]
    return Scripted::new();
}

/// `n`, or the part of it that an interpreter has time for.
pub fn times(n: u64) -> u64 {
    if cfg!(miri) { n.div_ceil(30) } else { n }
}

/// An environment that can be made out of nothing.
pub trait TestEnv: Env {
    /// A scheduler of `procs` Ps.
    fn scheduler(procs: usize) -> &'static Scheduler<Self>;
}

/// Contexts are threads.
pub struct Threads;

impl Env for Threads {
    type Engine = ThreadEngine;
    type Poller = Net;
    type Hooks = ();
}

impl TestEnv for Threads {
    fn scheduler(procs: usize) -> &'static Scheduler<Threads> {
        Scheduler::new(config(procs), ThreadEngine::new(), net(), ())
    }
}

/// Contexts are stacks.
#[cfg(not(miri))]
pub struct Stacks;

#[cfg(not(miri))]
impl Env for Stacks {
    type Engine = UcontextEngine;
    type Poller = Epoll;
    type Hooks = ();
}

#[cfg(not(miri))]
impl TestEnv for Stacks {
    fn scheduler(procs: usize) -> &'static Scheduler<Stacks> {
        Scheduler::new(config(procs), UcontextEngine, net(), ())
    }
}

/// `procs` Ps and default stacks.
pub fn config(procs: usize) -> Config {
    Config {
        procs,
        ..Config::default()
    }
}

/// A scheduler on the thread-backed engine.
pub fn scheduler(procs: usize) -> &'static Scheduler<Threads> {
    Threads::scheduler(procs)
}

/// Starts a goroutine that must start.
#[track_caller]
pub fn go<E: Env, T: Send + 'static>(
    scheduler: &'static Scheduler<E>,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    scheduler.spawn(f).expect("a goroutine starts")
}

/// Yields until the others have had many a turn: what can happen has happened then.
pub fn settle() {
    for _ in 0..20 {
        gosched::yield_now();
    }
    gosched::sleep(std::time::Duration::from_millis(1));
}

/// Polls `condition` on a plain thread for up to ten seconds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("not within ten seconds: {what}");
}

/// Makes each suite's generic function a test on both engines.
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod on_threads { $(#[test] fn $name() { super::$name::<super::common::Threads>() })* }
        #[cfg(not(miri))]
        mod on_stacks { $(#[test] fn $name() { super::$name::<super::common::Stacks>() })* }
    };
}
