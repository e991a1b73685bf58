//! The collector's world: every thread and goroutine of the process, stopped by signal.
//!
//! Implements gogc's `World` over [`crate::world`] and the scheduler's list of goroutines. Roots are gathered when everybody
//! stands still, as ranges of memory, and scanned in parallel by the collector's own team of threads: in the stop or beside the program.

use super::roots::{Area, GoRoots, Sources, gather, statics};
use super::rust_heap::RustHeap;
use super::{background, barrier};
use crate::events::{self, What};
use crate::metrics::pauses;
use crate::world::modules::with_modules;
use crate::world::stop::{self, StopError};
use crate::world::workers::Team;
use gogc::{Background, Bytes, Event, GcTrace, Hooks, Nanos, Processor, Stop, World};
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// The process.
pub(crate) struct GoWorld {
    team: Team,
    origin: Instant,
    sources: Sources,
    /// Of the thread that collects.
    cycle: Mutex<Cycle>,
}

/// What a cycle remembers from one of its parts to the next.
struct Cycle {
    /// Stacks of goroutines that did not run when marking began.
    parked: Vec<Area>,
    rust_heap: RustHeap,
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
                parked: Vec::new(),
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
        if let Event::CycleEnd(stats) = event {
            self.cycle().rust_heap.release();
            crate::metrics::record_cycle(stats);
            if crate::settings::get().gc_trace {
                eprintln!("{}", GcTrace(stats));
            }
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
// 2. Threads stop and start through acquire and release operations on their slots and the epoch.
// 3. `acquire` maps fresh pages.
// 4., 7. `Team::run` runs the body on the caller at least and waits for all.
// 5. See the table at the head of `roots`.
// 6. The pools of goroutines' stacks are never unmapped, nor is the address space of the Rust heap.
// 8. The collector is called from critical sections of the allocator only, and objects are born and initialised in one.
unsafe impl World for GoWorld {
    type Roots = GoRoots;
    type Error = StopError;

    fn with_stopped<R>(&self, stop: Stop, f: impl FnOnce(&GoRoots) -> R) -> Result<R, StopError> {
        let Cycle { parked, rust_heap } = &mut *self.cycle();
        // The loader's lock first: no stopped thread may hold it. Then the world.
        with_modules(|modules| {
            let statics = statics(modules)?;
            let pause = pauses::GC.begin();
            stop::with_world_stopped(self.team.tids(), |stopped| {
                pause.stopped();
                if stop != Stop::End {
                    barrier::clear();
                }
                let sources = &self.sources;
                gather(stop, &statics, modules, stopped, sources, parked, rust_heap)
                    .map(|roots| f(&roots))
            })?
        })
    }

    fn with_running<R>(&self, round: u32, f: impl FnOnce(&GoRoots, Bytes) -> R) -> R {
        let mut cycle = self.cycle();
        // The order matters: pages are watched before the blocks that lie in caches are noted.
        let (part, amount) = cycle.rust_heap.round(round);
        let roots = GoRoots::beside(std::mem::take(&mut cycle.parked), part);
        drop(cycle);
        f(&roots, amount)
    }

    fn mark_in_background(&self, step: &(impl Fn(Bytes, Processor) -> Background + Sync)) {
        background::mark(&self.team, step);
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
