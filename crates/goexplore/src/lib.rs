//! A schedule explorer: runs a small concurrent program, the *model*, again and again, under every schedule within bounds or under random ones,
//! on a memory that shows what weak orderings allow.
//!
//! ```
//! use goexplore::atomic::{AtomicU32, Ordering::*};
//! use goexplore::{Exploration, thread};
//! use std::sync::Arc;
//!
//! // Two threads count. Were it a load and a store, an execution would be found that loses one.
//! Exploration::exhaustive().check("counter", || {
//!     let n = Arc::new(AtomicU32::new(0));
//!     let other = { let n = n.clone(); thread::spawn(move || n.fetch_add(1, Relaxed)) };
//!     n.fetch_add(1, Relaxed);
//!     other.join().unwrap();
//!     assert_eq!(n.load(Relaxed), 2);
//! });
//! ```
//!
//! Made for code with statics, thread-locals, raw memory and futexes: explored threads are threads of the operating system, one of which runs at a
//! time; atomics have the layout of the standard ones and are known by their address. So production code is explored as it is, by
//! naming its atomics, its futex and its mutexes at one place, and putting those of this crate there in a build with `--cfg explore`.
//!
//! - [`Exploration`] runs models; [`atomic`], [`futex`], [`sync`], [`thread`] are what they are built of.
//! - [`Plant`] puts a bug into code without touching it, to show that its exploration would find it.
//!
//! # Layers
//!
//! Each module uses only those above it.
//!
//! | module | what it knows |
//! | --- | --- |
//! | `view`, `choice`, `plant`, `trace` | what a thread sees; decisions; bugs; the record |
//! | `memory` | stores and who may read them |
//! | `execution` | threads and the baton |
//! | `atomic`, `futex`, `sync`, `thread` | operations |
//! | `exploration` | many executions |
//!
//! # Limits
//!
//! Loads do not read from the future, and stores to one location are ordered as they were executed. A `compare_exchange` reads the newest store, and a weak
//! one does not fail for no reason. Time passes only when nothing else can.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod atomic;
mod choice;
mod execution;
mod exploration;
pub mod futex;
mod memory;
mod plant;
pub mod sync;
pub mod thread;
mod trace;
mod view;

pub use exploration::{Exploration, Report};
pub use plant::{Plant, Site};

use std::panic::Location;

/// Whether the bug of this name, in logic rather than in an ordering, is planted. Meant for code under `cfg(explore)`.
#[track_caller]
pub fn planted(name: &str) -> bool {
    execution::part().is_some_and(|(execution, _)| execution.lock().is_planted(name))
}

/// A choice of the model's own, among `0..of`: every one is tried. Outside of explorations 0.
#[track_caller]
pub fn choose(of: u32) -> u32 {
    let at = Location::caller();
    let choice = execution::operate(at, |state, _| state.chooser.choose(of, choice::Kind::Model));
    choice.map_or(0, |choice| choice.expect("the model is deterministic"))
}
