//! The process's runtime: one scheduler, made on first use.

use crate::compose::engine;
use crate::compose::env::{GoEnv, GoHooks};
use crate::compose::monitor;
use crate::settings::{self, cannot_start};
use crate::world::cpus::Cpus;
use crate::world::stop;
use gosched::poll::epoll::Epoll;
use gosched::{Config, JoinHandle, RunError, Scheduler, SpawnError, SpawnOptions};
use std::panic::Location;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The scheduler, started if it has not been.
#[inline]
pub(crate) fn scheduler() -> &'static Scheduler<GoEnv> {
    static SCHEDULER: OnceLock<&'static Scheduler<GoEnv>> = OnceLock::new();
    SCHEDULER.get_or_init(start)
}

/// The scheduler that the caller's goroutines belong to: that of its simulation, or the process's.
#[inline]
pub(crate) fn scheduler_here() -> &'static Scheduler<GoEnv> {
    Scheduler::of_simulation().unwrap_or_else(scheduler)
}

#[cold]
fn start() -> &'static Scheduler<GoEnv> {
    crate::compose::world::process_start();
    let settings = settings::get();
    crate::limits::raise();
    if !settings.late_static_locals
        && let Err(why) = engine::refuse_late_locals()
    {
        eprintln!("goruntime: GODEBUG=latestatictls=0 has no effect: {why}");
    }
    let engine = engine::new().unwrap_or_else(|e| cannot_start(&e));
    let poller = Epoll::new().unwrap_or_else(|e| {
        cannot_start(&format!(
            "no descriptors for the network poller ({e}); raise the limit (ulimit -n)"
        ))
    });
    // Before there are threads that sleep.
    gosched::rest::set_hook(|sleep| stop::at_rest(sleep));
    let mut config = Config::default();
    match settings.procs {
        Some(procs) => config.procs = procs,
        None => FOLLOWS.store(true, Ordering::Relaxed),
    }
    let scheduler = Scheduler::new(config, engine, poller, GoHooks::OWN);
    engine::report_overflows();
    crate::goroutines::report_panics();
    monitor::start(scheduler);
    if crate::goroutines::start_reporter() {
        scheduler.add_service_thread();
    }
    scheduler
}

/// Runs `f` on a thread of the runtime's own: one whose being awake does not mean that the program may go on. (Whoever waits for its end is awake to the deadlock check.)
pub(crate) fn as_service_thread<T>(f: impl FnOnce() -> T) -> T {
    /// Also if it panics.
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            scheduler().remove_service_thread();
        }
    }
    scheduler().add_service_thread();
    let _over = Over;
    f()
}

/// Runs `f` as the main goroutine and returns what it returns. Other goroutines are not waited for. What `#[goruntime::main]` calls.
///
/// # Panics
/// When `f` panics, with the same payload; when it cannot be started.
#[track_caller]
pub fn run_main<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    match scheduler().run_main(f) {
        Ok(value) => value,
        Err(RunError::Panic(panic)) => panic.resume(),
        Err(RunError::Spawn(error)) => cannot_start(&error.to_string()),
    }
}

/// Starts a goroutine. Dropping the handle lets it run on.
///
/// A panic in `f` ends this goroutine only, and is handed to whoever joins it.
///
/// # Panics
/// When there is no memory for its stack; [`Builder::spawn`] returns that as an error.
///
/// ```
/// let sum = goruntime::go(|| 1 + 1);
/// assert_eq!(sum.join().unwrap(), 2);
/// ```
#[track_caller]
pub fn go<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match scheduler_here().spawn_at(SpawnOptions::default(), Location::caller(), f) {
        Ok(handle) => handle,
        Err(error) => panic!("{error}"),
    }
}

/// A goroutine with a name, a stack of its own size, or a thread of its own.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started before `spawn`"]
pub struct Builder {
    options: SpawnOptions,
}

impl Builder {
    /// The defaults.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Shown in dumps and in the report of a stack overflow.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.options.name = Some(name.into().into());
        self
    }

    /// The size of its stack in bytes, rounded up to a power of two, at most 1 GiB. Only what it touches costs memory.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.options.stack = Some(gosched::env::StackSpec { size: Some(bytes) });
        self
    }

    /// Locks it to the thread that it first runs on, which ends with it: see [`lock_os_thread`](crate::lock_os_thread).
    pub fn locked(mut self) -> Builder {
        self.options.locked = true;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When there is no memory for its stack.
    #[track_caller]
    pub fn spawn<T: Send + 'static>(
        self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, SpawnError> {
        self.spawn_at(Location::caller(), f)
    }

    /// Starts it, for a caller elsewhere.
    pub(crate) fn spawn_at<T: Send + 'static>(
        self,
        site: &'static Location<'static>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, SpawnError> {
        scheduler_here().spawn_at(self.options, site, f)
    }
}

/// How many goroutines run at the same time: the number of Ps (Go's `GOMAXPROCS(0)`).
pub fn max_procs() -> usize {
    scheduler_here().procs()
}

/// Whether the number of Ps follows what the system allows.
static FOLLOWS: AtomicBool = AtomicBool::new(false);

/// Has `n` goroutines run at the same time from now on (Go's `GOMAXPROCS(n)`). Returns how many it was before.
///
/// At first it is what the environment variable `GOMAXPROCS` says, or what the CPU affinity and the cgroup's quota allow. The latter are
/// read again every second, until this is called. In a simulation it is 1, and stays so.
pub fn set_max_procs(n: usize) -> usize {
    if gosched::simulation::is_active() {
        return 1;
    }
    FOLLOWS.store(false, Ordering::Relaxed);
    scheduler().set_procs(n)
}

/// Goes back to what the CPU affinity and the cgroup's quota allow, now and from now on (Go's `SetDefaultGOMAXPROCS`).
pub fn reset_max_procs() {
    FOLLOWS.store(true, Ordering::Relaxed);
    follow_system(scheduler(), &Cpus::find());
}

/// Takes what the system allows now for the number of Ps, if nobody has set another.
pub(crate) fn follow_system(scheduler: &'static Scheduler<GoEnv>, cpus: &Cpus) {
    if FOLLOWS.load(Ordering::Relaxed) {
        scheduler.set_procs(cpus.allowed());
    }
}

/// Makes at most `n` threads to run goroutines on from now on (Go's `debug.SetMaxThreads`); at first 10,000. Returns the limit before.
///
/// Each goroutine that blocks its thread, in [`blocking`](crate::blocking) or unawares, needs one. Where Go ends the process at the limit,
/// here goroutines wait until a thread comes back, and that is said once on standard error.
pub fn set_max_threads(n: u32) -> u32 {
    scheduler().set_machine_limit(n)
}
