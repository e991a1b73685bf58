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
//! | [`max_procs`], [`set_max_procs`], [`set_max_threads`] | how many run at the same time, and on how many threads |
//! | [`chan`], [`select!`] | channels |
//! | [`sync`] | locks that park the goroutine |
//! | [`time`] | sleeping |
//! | [`simulation`] | tests under a schedule that a seed decides |
//! | [`net`] | sockets with std's methods |
//! | [`gc`] | collected objects |
//! | [`stack`] | stacks for managed frames |
//! | [`restore_file_limit`] | other programs, with the limits that they expect |
//! | [`future`] | futures run by goroutines, goroutines awaited |
//! | [`goroutines`] | what every goroutine is doing |
//! | [`metrics`] | figures of the running program |
//!
//! # Environment
//!
//! `GOMAXPROCS`, `GOGC`, `GOMEMLIMIT` and `GODEBUG=gctrace=1,schedtrace=N,scheddetail=1` mean what they mean to Go. `GODEBUG=stalltrace=N` reports goroutines
//! that hold a thread for N milliseconds (ten seconds without it), 0 none; `gctypes=1` has collected objects say their types, for reports on the heap.
//!
//! # What it needs
//!
//! Linux 5.15 or newer on x86-64, with glibc.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
compile_error!("goruntime runs on Linux on x86-64 with glibc only");

mod atomic;
pub mod chan;
mod collector;
mod compose;
mod finalizer;
pub mod future;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod gc;
pub mod goroutines;
mod limits;
pub mod metrics;
pub mod net;
mod runtime;
mod settings;
pub mod simulation;
pub mod stack;
pub mod sync;
pub mod time;
mod world;

pub use gomem::GoMalloc;
pub use goruntime_macros::main;
pub use gosched::{
    JoinHandle, OsThreadLock, Panic, SpawnError, blocking, lock_os_thread, yield_now,
};
pub use limits::restore_file_limit;
pub use runtime::{
    Builder, go, max_procs, reset_max_procs, run_main, set_max_procs, set_max_threads,
};

#[doc = include_str!("../../../README.md")]
#[cfg(doctest)]
struct Readme;
