//! Simulations: a program's goroutines under a schedule that a seed decides, on a clock that does not wait.
//!
//! A concurrent test that fails once in a thousand runs is of little use. In a simulation everything that is otherwise left to chance
//! comes from one seed: which goroutine runs next, at every operation on a channel or lock; which of the ready cases a `select`
//! takes; when a timer fires among the others. The same seed does the same again. So a test is run under many seeds, and one that
//! fails is run again until it is understood.
//!
//! ```
//! # use gosched::{chan, engine::threads::ThreadEngine, env::{Env, StackSpec}, poll::scripted::Scripted};
//! use gosched::simulation::Simulation;
//! use std::time::Duration;
//! # struct MyEnv;
//! # impl Env for MyEnv { type Engine = ThreadEngine; type Poller = Scripted; type Hooks = (); }
//!
//! let mut simulation =
//!     Simulation::<MyEnv>::new(StackSpec::default(), ThreadEngine::new(), Scripted::new(), ());
//! let scheduler = simulation.scheduler();
//! let an_hour = simulation.run(7, move || {
//!     let (tx, rx) = chan::unbuffered();
//!     scheduler.spawn(move || {
//!         gosched::sleep(Duration::from_secs(3600)); // takes no time
//!         tx.send(1).unwrap();
//!     }).unwrap();
//!     let begin = gosched::now();
//!     rx.recv().unwrap();
//!     gosched::now() - begin
//! });
//! assert_eq!(an_hour.unwrap(), Duration::from_secs(3600));
//! ```
//!
//! Time and rest are those of Go's `testing/synctest`: the clock stands while any goroutine can run, and jumps to the next timer
//! when all wait; [`wait`] waits for the others to be at rest; goroutines that are left behind fail the run. The search by seeds is
//! that of random concurrency testers, with equal chances for all that can run.
//!
//! What it does not see: goroutines change places only where they use this crate, so accesses to shared memory between two
//! such operations are one step ([`yield_now`](crate::yield_now) makes it two). What comes from outside is not
//! decided by the seed: plain threads, descriptors, [`std::time::Instant::now`] (use [`now`](crate::now)), the order of a
//! `HashMap`. A goroutine that waits for a plain thread counts as one that waits for ever.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::blocking;
use crate::env::{Env, StackSpec};
use crate::goroutine::GoroutineInfo;
use crate::join::Panic;
use crate::sched::{Config, Scheduler, SpawnError, SpawnOptions};
use crate::simulated;

pub use crate::sched::simulate::UnseenPanic;

/// The environment variable that names the seed to be run again, decimal or with `0x`.
pub const SEED_VARIABLE: &str = "GOSEED";

/// Steps after which a run is given up, unless told otherwise.
pub const DEFAULT_STEPS: u64 = 1_000_000;

/// Why a run failed.
#[derive(Debug)]
pub enum Failure {
    /// The main goroutine could not be started.
    Spawn(SpawnError),
    /// The main goroutine panicked.
    Panic(Panic),
    /// Another one did, and nobody joined it.
    Unseen(UnseenPanic),
    /// Everybody waits, main among them, and there is no timer.
    Deadlock(Vec<GoroutineInfo>),
    /// Main has ended, and these wait for what will not come, or for a timer.
    LeftBehind(Vec<GoroutineInfo>),
    /// It took more steps than allowed: goroutines go round in a circle.
    TooManySteps(u64),
}

impl Failure {
    /// Whether the goroutines of the run are still there, so that nothing else can run in their place.
    fn is_for_good(&self) -> bool {
        !matches!(
            self,
            Failure::Spawn(_) | Failure::Panic(_) | Failure::Unseen(_)
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, what: &str, all: &[GoroutineInfo]| {
            f.write_str(what)?;
            all.iter().try_for_each(|g| write!(f, "\n\n{g}"))
        };
        match self {
            Failure::Spawn(error) => error.fmt(f),
            Failure::Panic(panic) => panic.fmt(f),
            Failure::Unseen(panic) => {
                let message = panic.message.as_deref().unwrap_or("(no message)");
                write!(f, "goroutine {} panicked: {message}", panic.id)?;
                match panic.site {
                    Some(site) => write!(f, "\ncreated at {}:{}", site.file(), site.line()),
                    None => Ok(()),
                }
            }
            Failure::Deadlock(all) => list(f, "all goroutines are asleep - deadlock!", all),
            Failure::LeftBehind(all) => list(
                f,
                "main has ended, and goroutines are left that cannot go on",
                all,
            ),
            Failure::TooManySteps(steps) => write!(
                f,
                "no end after {steps} steps: goroutines go round in a circle, or the limit is too low"
            ),
        }
    }
}

impl std::error::Error for Failure {}

/// A run that failed, and how to see it again.
#[derive(Debug)]
pub struct Failed {
    /// Its seed.
    pub seed: u64,
    /// What happened.
    pub why: Failure,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failed { seed, why } = self;
        write!(
            f,
            "simulation with seed {seed:#x}: {why}\n\nto run it again: {SEED_VARIABLE}={seed:#x}"
        )
    }
}

impl std::error::Error for Failed {}

/// A scheduler that does nothing by itself: it runs one program after another, each as its seed has it.
///
/// It owns its scheduler, which like any is never freed: make one and run many seeds on it.
pub struct Simulation<V: Env> {
    scheduler: &'static Scheduler<V>,
    steps: u64,
    /// A run has left goroutines behind.
    is_spoiled: bool,
}

impl<V: Env> Simulation<V> {
    /// A simulation over these ports, whose goroutines have this stack unless they ask for another.
    pub fn new(
        stack: StackSpec,
        engine: V::Engine,
        poller: V::Poller,
        hooks: V::Hooks,
    ) -> Simulation<V> {
        simulated::announce();
        let config = Config { procs: 1, stack };
        Simulation {
            scheduler: Scheduler::simulated(config, engine, poller, hooks),
            steps: DEFAULT_STEPS,
            is_spoiled: false,
        }
    }

    /// What goroutines of its runs are started on.
    pub fn scheduler(&self) -> &'static Scheduler<V> {
        self.scheduler
    }

    /// Gives a run up after so many steps: choices of what runs next.
    pub fn set_step_limit(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Whether a run has left goroutines behind, after which there can be no other.
    pub fn is_spoiled(&self) -> bool {
        self.is_spoiled
    }

    /// Runs `f` as the main goroutine, as the seed has it, until it and all others have ended. From a plain thread, or a goroutine
    /// that is of no simulation.
    ///
    /// # Errors
    /// When a goroutine panics unseen, or waits when nothing can happen any more.
    ///
    /// # Panics
    /// If called from inside a simulation, or after a run that left goroutines behind.
    #[track_caller]
    pub fn run<T: Send + 'static>(
        &mut self,
        seed: u64,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let site = Location::caller();
        blocking(|| self.run_at(seed, site, f))
    }

    fn run_at<T: Send + 'static>(
        &mut self,
        seed: u64,
        site: &'static Location<'static>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        assert!(
            simulated::here().is_none(),
            "a simulation inside a simulation"
        );
        assert!(!self.is_spoiled, "a run before has left goroutines behind");
        let scheduler = self.scheduler;
        let simulation = scheduler.simulation().expect("made as one");
        simulation.prepare(self.steps);
        scheduler.reset_ids();
        let options = SpawnOptions {
            name: Some("main".into()),
            ..SpawnOptions::default()
        };
        let main = move || {
            // SAFETY: this is the main goroutine.
            unsafe { scheduler.begin_course(simulation, seed) };
            let _ended = MainEnds(|| scheduler.end_main(simulation));
            f()
        };
        let handle = scheduler
            .spawn_at(options, site, main)
            .map_err(Failure::Spawn)?;
        simulation.wait_for_rest();
        scheduler.discard_alarms();
        let (steps, panics) = simulation.outcome();
        let result = if handle.is_finished() {
            let unseen = panics.into_iter().next().map(Failure::Unseen);
            match handle.join() {
                Err(panic) => Err(Failure::Panic(panic)),
                Ok(value) => match self.left().map(Failure::LeftBehind).or(unseen) {
                    None => Ok(value),
                    Some(failure) => Err(failure),
                },
            }
        } else if steps > self.steps {
            Err(Failure::TooManySteps(self.steps))
        } else {
            Err(Failure::Deadlock(self.left().unwrap_or_default()))
        };
        self.is_spoiled = self.left().is_some();
        debug_assert!(
            result
                .as_ref()
                .err()
                .is_none_or(|e| !e.is_for_good() || self.is_spoiled)
        );
        result
    }

    /// The goroutines that are still there, by number.
    fn left(&self) -> Option<Vec<GoroutineInfo>> {
        let mut all = Vec::new();
        self.scheduler.for_each_goroutine(|g| all.push(g));
        all.sort_by_key(|g| g.id);
        (!all.is_empty()).then_some(all)
    }

    /// Runs `f` under each of the seeds, until one fails. Returns how many there were.
    ///
    /// # Errors
    /// As [`run`](Self::run), with the seed.
    ///
    /// # Panics
    /// As `run`.
    #[track_caller]
    pub fn search<T: Send + 'static>(
        &mut self,
        seeds: impl IntoIterator<Item = u64>,
        f: impl Fn() -> T + Send + Sync + 'static,
    ) -> Result<u64, Failed> {
        let f = Arc::new(f);
        let site = Location::caller();
        let mut runs = 0;
        for seed in seeds {
            let f = f.clone();
            if let Err(why) = blocking(|| self.run_at(seed, site, move || f())) {
                return Err(Failed { seed, why });
            }
            runs += 1;
        }
        Ok(runs)
    }
}

struct MainEnds<F: FnMut()>(F);

impl<F: FnMut()> Drop for MainEnds<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The seeds of a search: the one that the environment variable [`SEED_VARIABLE`] names, or 1 to `runs`.
///
/// # Panics
/// If the variable is not a number.
pub fn seeds(runs: u64) -> impl Iterator<Item = u64> {
    let given = std::env::var(SEED_VARIABLE).ok().map(|text| {
        parse_seed(&text).unwrap_or_else(|| panic!("{SEED_VARIABLE}={text:?} is not a number"))
    });
    match given {
        Some(seed) => seed..=seed,
        None => 1..=runs,
    }
}

fn parse_seed(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Waits until every other goroutine of the simulation waits, while the clock stands: what they could do at this time they have done.
/// Goroutines that wait for descriptors are not at rest before what they wait for has come.
///
/// # Panics
/// Outside of a simulation.
pub fn wait() {
    let (g, simulated) = simulated::here().expect("`wait` is for goroutines of a simulation");
    // SAFETY: `g` is the caller.
    unsafe { (simulated.wait)(g) }
}

/// Whether the caller is a goroutine of a simulation.
pub fn is_active() -> bool {
    simulated::here().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_as_they_are_printed() {
        assert_eq!(parse_seed("0xff"), Some(255));
        assert_eq!(parse_seed(" 12 "), Some(12));
        assert_eq!(parse_seed("ten"), None);
        assert_eq!(seeds(3).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
