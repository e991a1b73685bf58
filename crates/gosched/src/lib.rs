//! Goroutines: Go's scheduler over an execution engine that the embedder supplies.
//!
//! Layers, each using only those before it:
//!
//! | modules | what |
//! | --- | --- |
//! | `atomic`, `clock`, `time`, `sys`, `rng`, `here` | what shared words are made of, clock, kernel, choices, the context's own words |
//! | [`critical`], `lock` | where a thread must not be stopped, and the lock taken there |
//! | [`goroutine`], [`mod@env`] | what the outside sees and what it supplies |
//! | `gmp` | G, M, P, their queues and timers |
//! | [`contention`] | who waits for how long, for who asks |
//! | `simulated` | what time it is, and who goes first, in a simulation |
//! | `idle` | who has nothing to do |
//! | `waiter`, [`sync`], [`poll`], [`chan`], `join`, `alarm` | waiting, for goroutines and threads, and what is done at a time though nobody waits; independent of the environment |
//! | [`Scheduler`] | the decisions, generic over the environment |
//! | [`simulation`] | a schedule that a seed decides |
//! | [`engine`] | an engine of OS threads |
//! | [`schedtrace`] | Go's trace lines |

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("gosched runs on Linux x86-64 only");

pub mod chan;
pub mod contention;
pub mod critical;
pub mod engine;
pub mod env;
pub mod goroutine;
pub mod poll;
pub mod schedtrace;
pub mod sync;

/// The README's example is a test.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
pub struct Readme;

mod alarm;
mod atomic;
#[cfg(not(explore))]
mod clock;
#[cfg(explore)]
#[path = "explore/clock.rs"]
mod clock;
#[cfg(all(test, explore))]
mod explore;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gmp;
mod here;
mod idle;
mod join;
mod lock;
pub mod rest;
mod rng;
mod sched;
mod simulated;
pub mod simulation;
mod sleep;
#[cfg(not(explore))]
mod sys;
#[cfg(explore)]
#[path = "explore/sys.rs"]
mod sys;
mod time;
mod waiter;

pub use alarm::Alarm;
pub use join::{JoinHandle, Panic};
pub use sched::blocking::{blocking, syscall, yield_now};
pub use sched::locked::{OsThreadLock, lock_os_thread};
pub use sched::{
    Config, MAX_MACHINES, MAX_PROCS, MachineStatus, ProcStatus, Retake, Roster, RunError,
    Scheduler, Snapshot, SpawnError, SpawnOptions,
};
pub use sleep::{current_id, current_proc, current_site, now, sleep, sleep_until, with_current};
pub use time::Nanos;

/// How the name of an M's thread begins.
pub const M_THREAD: &str = "gosched-m";

/// The name of a goroutine's thread, where each has one.
pub const GOROUTINE_THREAD: &str = "goroutine";
