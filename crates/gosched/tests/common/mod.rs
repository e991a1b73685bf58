//! What the suites share: schedulers on two engines.
//!
//! `Threads` is the crate's own thread-backed engine. `Stacks` switches stacks with the C library's
//! `swapcontext`: slow, because it makes a system call, but a context there is nothing but a stack
//! that the same thread leaves and enters, so it shows whatever the scheduler touches too late on a
//! stack that it has left.
#![allow(dead_code, reason = "each suite uses its part")]

pub mod ucontext;

use gosched::engine::threads::ThreadEngine;
use gosched::env::Env;
use gosched::poll::epoll::Epoll;
use gosched::{Config, JoinHandle, Scheduler};
use ucontext::UcontextEngine;

/// An environment that can be made out of nothing.
pub trait TestEnv: Env {
    /// A scheduler of `procs` Ps.
    fn scheduler(procs: usize) -> &'static Scheduler<Self>;
}

/// Contexts are threads.
pub struct Threads;

impl Env for Threads {
    type Engine = ThreadEngine;
    type Poller = Epoll;
    type Hooks = ();
}

impl TestEnv for Threads {
    fn scheduler(procs: usize) -> &'static Scheduler<Threads> {
        Scheduler::new(
            config(procs),
            ThreadEngine::new(),
            Epoll::new().unwrap(),
            (),
        )
    }
}

/// Contexts are stacks.
pub struct Stacks;

impl Env for Stacks {
    type Engine = UcontextEngine;
    type Poller = Epoll;
    type Hooks = ();
}

impl TestEnv for Stacks {
    fn scheduler(procs: usize) -> &'static Scheduler<Stacks> {
        Scheduler::new(config(procs), UcontextEngine, Epoll::new().unwrap(), ())
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
        mod on_stacks { $(#[test] fn $name() { super::$name::<super::common::Stacks>() })* }
    };
}
