//! The scheduler: every decision about which goroutine runs where.
//!
//! One file per decision: `spawn` makes goroutines, `switch` changes contexts, `park` stops and
//! readies them, `find` looks for the next one, `work` is the loop of an M on its own stack,
//! `threads` wakes Ms, `maker` makes their threads, `network` polls, `blocking` gives the P up, `retake` takes it
//! away, `procs` changes how many there are, `locked` keeps a goroutine on its thread, `alarm` has things done at a time, `observe` says what is going on, `tell` what happens, `roster` where stacks are, `deadlock` that
//! nothing is.
//!
//! A scheduler is created once and never freed: its threads do not end. All of its methods
//! therefore take `&'static self`.

mod account;
mod alarm;
pub(crate) mod blocking;
mod deadlock;
mod find;
pub(crate) mod goroutine;
mod help;
pub(crate) mod locked;
mod machine;
mod maker;
mod network;
mod observe;
pub(crate) mod ops;
mod park;
mod procs;
pub(crate) mod retake;
mod roster;
pub(crate) mod simulate;
pub(crate) mod spawn;
mod switch;
mod tell;
mod threads;
mod work;

use crate::alarm::Alarms;
use crate::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::any::TypeId;
use std::ptr;

use crossbeam_utils::CachePadded;

use crate::env::{Env, StackSpec};
use crate::gmp::g::{GList, Header};
use crate::gmp::global::GlobalQueue;
use crate::gmp::p::P;
use crate::idle::Idle;
use crate::lock::Lock;
use crate::sched::goroutine::Goroutine;
use crate::sched::help::Coming;
use crate::sched::machine::Machine;
use crate::sched::maker::Maker;
use crate::sched::network::Network;
use crate::sched::procs::Procs;
use crate::sched::simulate::Simulation;
use crate::simulated;
use crate::sys::AsymmetricFence;
use crate::time::Nanos;

pub use observe::{MachineStatus, ProcStatus, Snapshot};
pub use retake::Retake;
pub use roster::Roster;
pub use spawn::{RunError, SpawnError, SpawnOptions};

/// Ms that a scheduler makes at most, unless told otherwise, as in Go.
pub const MAX_MACHINES: u32 = 10_000;

/// Ps that a scheduler makes at most.
pub const MAX_PROCS: usize = if cfg!(explore) { 4 } else { 1024 };

/// What a scheduler is made with.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many goroutines run at the same time (`GOMAXPROCS`). Clipped to 1 and [`MAX_PROCS`].
    pub procs: usize,
    /// The stack of a goroutine that does not ask for another.
    pub stack: StackSpec,
}

impl Default for Config {
    /// As many as the affinity mask and the cgroup's CPU quota allow, and the engine's default
    /// stack.
    fn default() -> Config {
        Config {
            procs: std::thread::available_parallelism().map_or(1, usize::from),
            stack: StackSpec::default(),
        }
    }
}

/// A scheduler over one choice of ports.
pub struct Scheduler<V: Env> {
    engine: V::Engine,
    poller: V::Poller,
    hooks: V::Hooks,
    config: Config,
    fence: AsymmetricFence,
    started: Nanos,
    ps: Procs,
    idle: Idle,
    global: GlobalQueue,
    network: Network,
    coming: Coming,
    alarms: Alarms,
    /// Finished Gs that no P keeps.
    pool: Lock<GList>,
    /// Every G there ever was.
    all: AtomicPtr<Header>,
    /// Goroutines that have begun to exist without a P at hand, less those that have ended so; wrapping. The others are counted by the Ps.
    live: AtomicUsize,
    next_id: CachePadded<AtomicU64>,
    /// Every M there ever was.
    machines: AtomicPtr<Machine<V>>,
    /// Ms whose thread runs, or is being started.
    machine_count: AtomicU32,
    /// Ms that it may make.
    machine_limit: AtomicU32,
    /// Ms whose thread was refused, to be tried again.
    spare: Lock<Vec<&'static Machine<V>>>,
    maker: Maker<V>,
    thread_refused: AtomicBool,
    /// One P is retaken at a time.
    retaking: AtomicBool,
    /// Threads inside `run_main`, and others that never wake a goroutine on their own account.
    service_threads: AtomicUsize,
    /// Main goroutines that run: counted from their first instruction, for before that they are in
    /// a queue.
    mains: AtomicUsize,
    deadlock_reported: AtomicBool,
    /// Processor time is accounted for in this period; 0: it is not.
    accounting: AtomicU32,
    /// How many such periods there have been.
    accounting_periods: AtomicU32,
    /// The time when somebody last looked, for what need not be exact.
    clock: AtomicU64,
    simulation: Option<Box<Simulation>>,
}

impl<V: Env> Scheduler<V> {
    /// Makes a scheduler. It has no threads until there is a goroutine.
    pub fn new(
        config: Config,
        engine: V::Engine,
        poller: V::Poller,
        hooks: V::Hooks,
    ) -> &'static Scheduler<V> {
        Scheduler::make(config, engine, poller, hooks, None)
    }

    /// Makes one that runs in a simulation.
    pub(crate) fn simulated(
        config: Config,
        engine: V::Engine,
        poller: V::Poller,
        hooks: V::Hooks,
    ) -> &'static Scheduler<V> {
        let simulation = Some(Box::new(Simulation::new()));
        Scheduler::make(config, engine, poller, hooks, simulation)
    }

    /// The scheduler of the simulation that the caller is a goroutine of, if it is one of this environment.
    #[inline]
    pub fn of_simulation() -> Option<&'static Scheduler<V>> {
        let (g, simulated) = simulated::here()?;
        if (simulated.env)() != TypeId::of::<V>() {
            return None;
        }
        // SAFETY: it is of this environment.
        Some(unsafe { Goroutine::<V>::of(g) }.sched)
    }

    fn make(
        config: Config,
        engine: V::Engine,
        poller: V::Poller,
        hooks: V::Hooks,
        simulation: Option<Box<Simulation>>,
    ) -> &'static Scheduler<V> {
        let procs = config.procs.clamp(1, MAX_PROCS);
        let started = Nanos::now();
        let scheduler: &'static Scheduler<V> = Box::leak(Box::new(Scheduler {
            engine,
            poller,
            hooks,
            config: Config { procs, ..config },
            fence: AsymmetricFence::new(),
            started,
            ps: Procs::new(procs),
            idle: Idle::new(procs, MAX_PROCS),
            global: GlobalQueue::new(),
            network: Network::new(),
            coming: Coming::new(),
            alarms: Alarms::new(),
            pool: Lock::new(GList::new()),
            all: AtomicPtr::new(ptr::null_mut()),
            live: AtomicUsize::new(0),
            next_id: CachePadded::new(AtomicU64::new(1)),
            machines: AtomicPtr::new(ptr::null_mut()),
            machine_count: AtomicU32::new(0),
            machine_limit: AtomicU32::new(MAX_MACHINES),
            spare: Lock::new(Vec::new()),
            maker: Maker::new(),
            thread_refused: AtomicBool::new(false),
            retaking: AtomicBool::new(false),
            service_threads: AtomicUsize::new(0),
            mains: AtomicUsize::new(0),
            deadlock_reported: AtomicBool::new(false),
            accounting: AtomicU32::new(0),
            accounting_periods: AtomicU32::new(0),
            clock: AtomicU64::new(started.0),
            simulation,
        }));
        for index in 0..procs {
            scheduler.idle.put_p(scheduler.ps.get(index));
        }
        scheduler
    }

    /// How many Ps are in use (`GOMAXPROCS`).
    pub fn procs(&self) -> usize {
        self.ps.in_use()
    }

    /// Makes at most so many Ms from now on, at least one. Returns the limit before. Those that there are stay.
    ///
    /// An M is needed for each P, and for each goroutine that blocks its thread. Beyond the limit goroutines wait for an M to come back;
    /// [`Hooks::thread_refused`](crate::env::Hooks::thread_refused) is told once.
    pub fn set_machine_limit(&self, n: u32) -> u32 {
        self.machine_limit.swap(n.max(1), Ordering::Relaxed)
    }

    /// Goroutines that exist.
    pub fn goroutines(&self) -> usize {
        let without = self.live.load(Ordering::Relaxed);
        let all = self
            .ps
            .iter()
            .map(P::live)
            .fold(without, usize::wrapping_add);
        // One may have been seen to end that was not yet there when its beginning was looked for.
        usize::try_from(all.cast_signed()).unwrap_or(0)
    }

    /// The engine given at creation.
    pub fn engine(&self) -> &V::Engine {
        &self.engine
    }

    /// The poller given at creation.
    pub fn poller(&self) -> &V::Poller {
        &self.poller
    }

    /// The hooks given at creation.
    pub fn hooks(&self) -> &V::Hooks {
        &self.hooks
    }

    /// Tells the deadlock check that one thread of the process belongs to the runtime and never
    /// wakes a goroutine by itself: a monitor, a collector's helper.
    pub fn add_service_thread(&self) {
        self.service_threads.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes that back: from now on the thread may wake a goroutine, until it is added again. Then
    /// it had better call [`check_deadlock`](Self::check_deadlock), because whoever fell asleep
    /// meanwhile relied on it.
    pub fn remove_service_thread(&self) {
        self.service_threads.fetch_sub(1, Ordering::SeqCst);
    }

    /// Reads the clock, and lets those know who are content with less.
    #[inline(never)]
    fn tick_clock(&self) -> Nanos {
        if let Some(simulation) = &self.simulation {
            return simulation.now();
        }
        let now = Nanos::now();
        if now.0 > self.clock.load(Ordering::Relaxed) + Nanos::from_millis(1).0 {
            self.clock.store(now.0, Ordering::Relaxed);
        }
        now
    }
}
