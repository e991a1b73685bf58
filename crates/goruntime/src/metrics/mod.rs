//! Figures of the running program.
//!
//! [`snapshot`] has the few that a program wants to know of itself; [`all`] and [`read`] have what Go's `runtime/metrics` has, under its names; [`prometheus()`] writes
//! them for that collector, under the names that its Go client gives them. All of them are cheap enough to be asked for each second.

mod histogram;
mod memory;
mod names;
pub(crate) mod pauses;
mod prometheus;

pub use histogram::Histogram;
pub use names::{Description, Value, all, read};
pub use prometheus::prometheus;

pub use gosched::goroutine::{GoroutineId, GoroutineInfo, GoroutineState, WaitReason};
pub(crate) use memory::mem_stats;

use gogc::stats::{PhaseCpu, Tally};
use gogc::{CycleStats, Nanos, Reason};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

static CYCLES: AtomicU64 = AtomicU64::new(0);
static PAUSE_LAST: AtomicU64 = AtomicU64::new(0);
static PAUSE_MAX: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicU64 = AtomicU64::new(0);

/// The program at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Goroutines alive.
    pub goroutines: u64,
    /// Ps.
    pub procs: u32,
    /// Ps that run a goroutine or look for one.
    pub busy_procs: u32,
    /// Threads that run goroutines.
    pub threads: u32,
    /// Goroutines that were reported because they did not get on; see [`Stall`](crate::goroutines::Stall).
    pub stalls: u64,
    /// Bytes of collected objects that the last collection found alive.
    pub heap_live: u64,
    /// Bytes of heap at which the next collection is to be over.
    pub heap_goal: u64,
    /// Bytes of objects in use, collected and other.
    pub heap_alloc: u64,
    /// Bytes of address space that hold or held objects.
    pub heap_sys: u64,
    /// Bytes of that given back to the system.
    pub heap_released: u64,
    /// Collections completed.
    pub gc_cycles: u64,
    /// The longest stop of the world, in nanoseconds.
    pub gc_pause_max_ns: u64,
    /// The longer stop of the last collection, in nanoseconds.
    pub gc_pause_last_ns: u64,
    /// All stops of all collections together, in nanoseconds.
    pub gc_pause_total_ns: u64,
}

/// What all cycles together came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cycles {
    /// Those that the program asked for.
    pub(crate) forced: u64,
    pub(crate) cpu: PhaseCpu,
    /// What the last one looked through.
    pub(crate) marked: Tally,
    /// When the last one ended, in nanoseconds since 1970; 0 if there was none.
    pub(crate) last_end: u64,
}

static ALL: Mutex<Option<Cycles>> = Mutex::new(None);

pub(crate) fn cycles() -> Cycles {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.unwrap_or_default()
}

/// Keeps what a finished cycle has to tell. Called when the world runs again.
pub(crate) fn record_cycle(stats: &CycleStats) {
    CYCLES.fetch_add(1, Relaxed);
    LIVE.store(stats.heap_live.0, Relaxed);
    PAUSE_LAST.store(stats.longest_pause.0, Relaxed);
    PAUSE_MAX.fetch_max(stats.longest_pause.0, Relaxed);
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let all = all.get_or_insert_default();
    all.forced += u64::from(stats.reason == Reason::Forced);
    let add = |sum: &mut Nanos, part: Nanos| *sum = Nanos(sum.0 + part.0);
    add(&mut all.cpu.sweep_termination, stats.cpu.sweep_termination);
    add(&mut all.cpu.assist, stats.cpu.assist);
    add(&mut all.cpu.background, stats.cpu.background);
    add(&mut all.cpu.idle, stats.cpu.idle);
    add(&mut all.cpu.mark_termination, stats.cpu.mark_termination);
    all.marked = stats.marked;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    all.last_end = now.map_or(0, |time| time.as_nanos() as u64);
}

/// Every goroutine: what it does, why and for how long it has waited, where it was started, and what processor time it has used, if that is
/// accounted for.
pub fn goroutines() -> Vec<GoroutineInfo> {
    let mut all = Vec::new();
    crate::runtime::scheduler_here().for_each_goroutine(|g| all.push(g));
    all.sort_by_key(|g| g.id);
    all
}

/// Switches the accounting of processor time by goroutine on or off. While it is on, each switch between goroutines reads the thread's
/// processor clock, which is a system call.
pub fn set_cpu_accounting(on: bool) {
    crate::runtime::scheduler_here().set_cpu_accounting(on);
}

/// The figures of this moment.
pub fn snapshot() -> Snapshot {
    let scheduler = crate::runtime::scheduler();
    let mut s = gosched::Snapshot::default();
    scheduler.observe(&mut s);
    let heap = gomem::heap().stats();
    Snapshot {
        goroutines: s.goroutines as u64,
        procs: s.procs.len() as u32,
        busy_procs: (s.procs.len() as u32).saturating_sub(s.idle_procs),
        threads: s.machines,
        stalls: crate::goroutines::stall_count(),
        heap_live: LIVE.load(Relaxed),
        heap_goal: crate::collector::goal(),
        heap_alloc: heap.heap_alloc as u64,
        heap_sys: heap.heap_sys as u64,
        heap_released: heap.heap_released as u64,
        gc_cycles: CYCLES.load(Relaxed),
        gc_pause_max_ns: PAUSE_MAX.load(Relaxed),
        gc_pause_last_ns: PAUSE_LAST.load(Relaxed),
        gc_pause_total_ns: pauses::GC.total.sum(),
    }
}
