//! Go's runtime system for ordinary Rust programs: goroutines in plain blocking style, channels, timers, sockets, and a garbage
//! collector whose pointers may be kept anywhere.
//!
//! ```no_run
#![doc = include_str!("../examples/echo.rs")]
//! ```
//!
//! # Where things are
//!
//! | module | what |
//! | --- | --- |
//! | [`go`], [`Builder`], [`JoinHandle`], [`blocking`], [`lock_os_thread`] | goroutines |
//! | [`scope()`] | goroutines that borrow |
//! | [`max_procs`], [`set_max_procs`], [`set_max_threads`] | how many run at the same time, and on how many threads |
//! | [`chan`], [`select!`] | channels |
//! | [`sync`] | locks that park the goroutine, and what is built on them |
//! | [`time`] | sleeping, timers, tickers |
//! | [`context`] | when to stop |
//! | [`simulation`] | tests under a schedule that a seed decides |
//! | [`net`] | sockets with std's methods |
//! | [`io`], [`fs`] | copying in the kernel, pipes; files |
//! | [`process`], [`signal`] | other programs; signals from a channel |
//! | [`gc`] | collected objects |
//! | [`stack`] | stacks for managed frames |
//! | [`restore_file_limit`] | other programs, with the limits that they expect |
//! | [`future`] | futures run by goroutines, goroutines awaited |
//! | [`goroutines`] | what every goroutine is doing |
//! | [`metrics`] | figures of the running program |
//! | [`profile`] | where memory, processor time and waits come from |
//! | [`trace`] | what happens when: execution traces, and a recorder of the last seconds |
//! | [`debug`] | all of these over HTTP: a live page, `/debug/pprof/`, `/metrics` |
//!
//! # Environment
//!
//! `GOMAXPROCS`, `GOGC`, `GOMEMLIMIT` and `GODEBUG=gctrace=1,schedtrace=N,scheddetail=1` mean what they mean to Go. `GODEBUG=stalltrace=N` reports goroutines
//! that hold a thread, or wait for a lock, for N milliseconds (ten seconds without it), 0 none; `gctypes=1` has collected objects say their types, for reports on the heap.
//! `latestatictls=0` halves the memory of goroutines whose frames are small, and refuses libraries that are opened later and demand static thread-locals.
//!
//! # What it needs
//!
//! Linux 5.15 or newer on x86-64, with glibc.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
compile_error!("goruntime runs on Linux on x86-64 with glibc only");

mod atomic;
mod both;
pub mod chan;
mod collector;
mod compose;
pub mod context;
pub mod debug;
mod events;
mod finalizer;
pub mod fs;
pub mod future;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod gc;
pub mod goroutines;
pub mod io;
mod limits;
pub mod metrics;
pub mod net;
mod pipe;
pub mod process;
pub mod profile;
mod runtime;
mod scope;
mod settings;
pub mod signal;
pub mod simulation;
pub mod stack;
pub mod sync;
pub mod time;
pub mod trace;
mod watched;
mod world;

pub use gomem::{ClearedMalloc, GoMalloc};
pub use goruntime_macros::main;
pub use gosched::{
    JoinHandle, OsThreadLock, Panic, SpawnError, blocking, lock_os_thread, yield_now,
};
pub use limits::restore_file_limit;
pub use runtime::{
    Builder, go, max_procs, reset_max_procs, run_main, set_max_procs, set_max_threads,
};
pub use scope::{Scope, ScopedJoinHandle, scope};

#[cfg(doctest)]
mod quoted;
