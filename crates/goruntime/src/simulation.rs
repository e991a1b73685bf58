//! Tests whose schedule a seed decides, on a clock that does not wait.
//!
//! Inside [`check`], [`go`](crate::go), channels, [`select!`](crate::select), [`sync`](crate::sync) and [`time`](crate::time) are those of
//! every program, but nothing is left to chance: what runs next at each of their operations, which ready case a `select` takes and which
//! timer comes first follow from a seed. A test that fails says its seed, and does the same again when it is given that one in the environment
//! variable `GOSEED`. When all wait, the clock jumps to the next timer, so a test of an hour takes none.
//!
//! ```
//! use goruntime::{go, simulation, sync::Mutex};
//! use std::sync::Arc;
//!
//! // Reads and writes under the lock, but not under one: some schedules lose an update.
//! let failed = simulation::search(1..=100, || {
//!     let count = Arc::new(Mutex::new(0));
//!     let other = count.clone();
//!     let add = move || {
//!         let before = *other.lock();
//!         *other.lock() = before + 1;
//!     };
//!     let one = go(add.clone());
//!     add();
//!     one.join().unwrap();
//!     assert_eq!(*count.lock(), 2);
//! })
//! .unwrap_err();
//! println!("{failed}"); // names the seed
//! ```
//!
//! What is not seen: accesses to shared memory between two operations of the runtime are one step
//! ([`yield_now`](crate::yield_now) makes them two). What the seed does not decide: plain threads, sockets, the iteration order of a `HashMap`,
//! and [`Instant::now`](std::time::Instant::now), in place of which [`time::now`](crate::time::now) tells the time of the simulation.
//! See [`gosched::simulation`] for the whole of it.

pub use gosched::simulation::{
    Failed, Failure, SEED_VARIABLE, UnseenPanic, is_active, seeds, wait,
};

use crate::compose::engine;
use crate::compose::env::{GoEnv, GoHooks};
#[cfg(not(feature = "thread-engine"))]
use crate::compose::simulated;
use crate::settings::cannot_start;
use gosched::env::StackSpec;
use gosched::poll::epoll::Epoll;
use gosched::simulation::Simulation;
use std::sync::{Mutex, PoisonError};

/// Runs `f` under as many seeds as asked for, or under the one in `GOSEED`.
///
/// # Panics
/// When a run fails: when `f` panics, when a goroutine does that nobody joins, when all wait for each other, when goroutines are left behind that
/// cannot go on, and when there is no end to it. The message has the seed.
///
/// ```
/// use goruntime::{chan, go, simulation, time};
///
/// simulation::check(50, || {
///     let begin = time::now();
///     let (tx, rx) = chan::unbuffered();
///     go(move || {
///         time::sleep(time::Duration::from_secs(60));
///         tx.send("good morning").unwrap();
///     });
///     assert_eq!(rx.recv(), Ok("good morning"));
///     assert_eq!(time::now() - begin, time::Duration::from_secs(60));
/// });
/// ```
#[track_caller]
pub fn check<T: Send + 'static>(runs: u64, f: impl Fn() -> T + Send + Sync + 'static) {
    if let Err(failed) = search(seeds(runs), f) {
        panic!("{failed}");
    }
}

/// Runs `f` under each of the seeds, until one fails. Returns how many there were.
///
/// # Errors
/// When a run fails, as in [`check`].
///
/// # Panics
/// If called from inside a simulation.
#[track_caller]
pub fn search<T: Send + 'static>(
    seeds: impl IntoIterator<Item = u64>,
    f: impl Fn() -> T + Send + Sync + 'static,
) -> Result<u64, Failed> {
    let mut simulation = take();
    let result = simulation.search(seeds, f);
    if !simulation.is_spoiled() {
        FREE.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(simulation);
    }
    result
}

/// Those that may be used again: a scheduler is never freed.
static FREE: Mutex<Vec<Simulation<GoEnv>>> = Mutex::new(Vec::new());

fn take() -> Simulation<GoEnv> {
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    free.unwrap_or_else(make)
}

fn make() -> Simulation<GoEnv> {
    crate::runtime::scheduler();
    let engine = engine::new().unwrap_or_else(|e| cannot_start(&e));
    let poller = Epoll::new().unwrap_or_else(|e| {
        cannot_start(&format!(
            "no descriptors for the poller of a simulation ({e})"
        ))
    });
    let simulation = Simulation::new(StackSpec::default(), engine, poller, GoHooks::SIMULATED);
    #[cfg(not(feature = "thread-engine"))]
    simulated::add(simulation.scheduler());
    simulation
}
