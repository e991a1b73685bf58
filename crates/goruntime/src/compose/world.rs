//! The collector's world: every thread and goroutine of the process, stopped by signal.
//!
//! Implements gogc's `World` over [`crate::world`] and the scheduler's list of goroutines. Roots are gathered when everybody
//! stands still, as ranges of memory, and scanned in parallel by the collector's own team of threads: in the stop or beside the program.

use super::roots::{GoRoots, Loaded, Sources, gather};
use super::rust_heap::RustHeap;
use super::stacks::Stacks;
use super::{background, barrier};
use crate::events::{self, What};
use crate::metrics;
use crate::world::modules::{self, with_known_modules};
use crate::world::stop::{self, StopError};
use crate::world::workers::Team;
use gogc::{Background, Bytes, Event, GcTrace, Hooks, Nanos, Processor, Stop, World};
use std::fmt;
use std::ptr::{NonNull, null_mut};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The process.
pub(crate) struct GoWorld {
    team: Team,
    origin: Instant,
    sources: Sources,
    /// Of the thread that collects.
    cycle: Mutex<Cycle>,
}

/// What a cycle remembers from one of its parts to the next, and of the cycle before.
struct Cycle {
    modules: modules::Known,
    /// Of those modules.
    loaded: Option<Loaded>,
    /// Of this cycle, for the trace.
    pauses: Vec<Pause>,
    stacks: Arc<Stacks>,
    rust_heap: RustHeap,
}

/// One stop of the world.
struct Pause {
    stop: Stop,
    /// Until everybody stood still.
    stopping: Duration,
    /// Until it was known then what is to be looked at.
    gathering: Duration,
    /// All of it.
    total: Duration,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = (self.total - self.stopping).saturating_sub(self.gathering);
        let [stopping, gathering, rest] =
            [self.stopping, self.gathering, rest].map(|time| time.as_micros());
        write!(f, "{:?} {stopping}+{gathering}+{rest} us", self.stop)
    }
}

impl GoWorld {
    /// Makes the team and installs the stop signal's handler.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub(crate) fn new() -> Result<GoWorld, std::io::Error> {
        super::gates::install()?;
        Ok(GoWorld {
            team: Team::new(crate::max_procs() - 1),
            origin: process_start(),
            sources: Sources::new(),
            cycle: Mutex::new(Cycle {
                modules: modules::Known::default(),
                loaded: None,
                pauses: Vec::with_capacity(8),
                stacks: Arc::default(),
                rust_heap: RustHeap::new(crate::settings::get().track_writes),
            }),
        })
    }

    fn cycle(&self) -> MutexGuard<'_, Cycle> {
        self.cycle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many threads help the one that collects.
    pub(crate) fn helpers(&self) -> usize {
        self.team.tids().len()
    }
}

/// When the runtime was first used: what traces count time from.
pub(crate) fn process_start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

impl Hooks for GoWorld {
    fn event(&self, event: &Event) {
        note(event);
        if let Event::CycleStart { goal, .. } = event {
            crate::collector::cycle_begins(*goal);
        }
        if let Event::CycleEnd(stats) = event {
            let mut cycle = self.cycle();
            cycle.rust_heap.release();
            gomem::heap().forget_cached();
            metrics::record_cycle(stats);
            let settings = crate::settings::get();
            if settings.gc_trace {
                eprintln!("{}", GcTrace(stats));
            }
            if settings.gc_trace_pauses {
                let pauses: Vec<String> = cycle.pauses.iter().map(Pause::to_string).collect();
                eprintln!("gc {} pauses: {}", stats.cycle, pauses.join(", "));
            }
            cycle.pauses.clear();
        }
    }
}

/// Has the event in the traces that are being taken.
fn note(event: &Event) {
    match event {
        Event::CycleStart { usage, goal, .. } => events::note_other(What::CycleBegins {
            heap: (usage.collected + usage.external).0,
            goal: goal.0,
        }),
        Event::PhaseStart { phase, .. } => events::note_other(What::Phase(*phase)),
        Event::CycleEnd(stats) => events::note_other(What::CycleEnds {
            cycle: stats.cycle,
            live: stats.heap_live.0,
        }),
        Event::BuffersRefused { .. } => {}
    }
}

// SAFETY:
// 1. `with_world_stopped` returns evidence that every thread but the caller and the team stands still; the caller is the
//    collector's own thread, and neither it nor the team mutates.
// 2. Threads stop and start through acquire and release operations on their slots, or on their word that they rest, and on the epoch.
// 3. `acquire` maps fresh pages.
// 4., 7. `Team::run` runs the body on the caller at least and waits for all.
// 5. See the table at the head of `roots`.
// 6. The pools of goroutines' stacks are never unmapped, nor is the address space of the Rust heap.
// 8. The collector is called from critical sections of the allocator only, and objects are born and initialised in one.
unsafe impl World for GoWorld {
    type Roots = GoRoots;
    type Error = StopError;

    fn with_stopped<R>(&self, stop: Stop, f: impl FnOnce(&GoRoots) -> R) -> Result<R, StopError> {
        let Cycle {
            modules,
            loaded,
            pauses,
            stacks,
            rust_heap,
        } = &mut *self.cycle();
        // The loader's lock first: no stopped thread may hold it. Then the world.
        with_known_modules(modules, |modules, changed| {
            if changed {
                *loaded = None;
            }
            let loaded = match loaded {
                Some(known) => known,
                None => loaded.insert(Loaded::of(modules)?),
            };
            let pause = metrics::pauses::GC.begin();
            let begin = Instant::now();
            let (mut stopped_at, mut gathered_at, mut over_at) = (begin, begin, begin);
            let result = stop::with_world_stopped(self.team.tids(), |stopped| {
                stopped_at = Instant::now();
                let _until_here = pause.stopped();
                if stop != Stop::End {
                    barrier::clear();
                }
                let sources = &self.sources;
                let roots = gather(stop, loaded, stopped, sources, stacks, rust_heap)?;
                gathered_at = Instant::now();
                let result = f(&roots);
                over_at = Instant::now();
                Ok(result)
            });
            pauses.push(Pause {
                stop,
                stopping: stopped_at - begin,
                gathering: gathered_at - stopped_at,
                total: over_at - begin,
            });
            result?
        })
    }

    fn with_running<R>(&self, round: u32, f: impl FnOnce(&GoRoots, Bytes) -> R) -> R {
        if round == 0 {
            crate::collector::mark_has_begun();
        }
        let mut cycle = self.cycle();
        // The order matters: pages are watched before the blocks that lie in caches are noted.
        let (part, amount) = cycle.rust_heap.round(round);
        let stacks = (round == 0).then(|| cycle.stacks.clone());
        let roots = GoRoots::beside(stacks, part);
        drop(cycle);
        let result = f(&roots, amount);
        drop(roots);
        // Not left to the stop that comes.
        gomem::heap().forget_cached();
        result
    }

    fn mark_in_background(&self, step: &(impl Fn(Bytes, Processor) -> Background + Sync)) {
        background::mark(&self.team, step);
    }

    fn go_on(&self, on: Processor) -> bool {
        background::go_on(on)
    }

    fn run_workers(&self, body: &(impl Fn() + Sync)) {
        self.team.run(body);
    }

    fn procs(&self) -> usize {
        crate::max_procs()
    }

    fn now(&self) -> Nanos {
        Nanos(self.origin.elapsed().as_nanos() as u64)
    }

    fn thread_time(&self) -> Nanos {
        let mut used = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: writes to a place of its own. It cannot fail: every thread has the clock.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut used) };
        Nanos(used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64)
    }

    fn acquire(&self, bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: a fresh private mapping; touches nothing that exists.
        let at = unsafe {
            libc::mmap(
                null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return None;
        }
        NonNull::new(at.cast())
    }

    unsafe fn release(&self, memory: NonNull<u8>, bytes: usize) {
        // SAFETY: from `acquire` with the same size, and no longer used.
        unsafe { libc::munmap(memory.as_ptr().cast(), bytes) };
    }
}
