//! Figures of the running program, cheap enough to be asked for at any time.

pub use gosched::goroutine::{GoroutineId, GoroutineInfo, GoroutineState, WaitReason};

mod pauses;

pub use pauses::Pauses;

use gogc::CycleStats;
use pauses::Recorder;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Duration;

static CYCLES: AtomicU64 = AtomicU64::new(0);
static PAUSE_LAST: AtomicU64 = AtomicU64::new(0);
/// Until everybody stood still.
static STOPPING: Recorder = Recorder::new();
/// Until everybody was free to run again.
static PAUSES: Recorder = Recorder::new();
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

/// Keeps what a finished cycle has to tell.
pub(crate) fn record_cycle(stats: &CycleStats) {
    CYCLES.fetch_add(1, Relaxed);
    LIVE.store(stats.heap_live.0, Relaxed);
    PAUSE_LAST.store(stats.longest_pause.0, Relaxed);
}

/// The collector has stopped the world: how long it took until all threads stood still, and until they could run again.
pub(crate) fn record_pause(stopping: Duration, all: Duration) {
    STOPPING.record(stopping);
    PAUSES.record(all);
}

/// The stops of the world for the collector, by their length: from the first thread that is asked to stop until all may run again. Go's
/// `/sched/pauses/total/gc:seconds`.
pub fn gc_pauses() -> Pauses {
    PAUSES.read()
}

/// The part of each until all threads stood still. Go's `/sched/pauses/stopping/gc:seconds`.
pub fn gc_stopping() -> Pauses {
    STOPPING.read()
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
        gc_pause_max_ns: PAUSES.longest(),
        gc_pause_last_ns: PAUSE_LAST.load(Relaxed),
        gc_pause_total_ns: PAUSES.total(),
    }
}
