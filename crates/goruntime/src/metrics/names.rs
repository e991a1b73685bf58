//! Figures under the names of Go's `runtime/metrics`: those of them that mean something here.
//!
//! Not there: what has no counterpart (cgo calls, tiny allocations, memory of `mspan` and `mcache`), and what would cost something at each switch to know
//! (`/sched/latencies:seconds`) or at each wait (`/sync/mutex/wait/total:seconds`).
//!
//! Invariant: figures that are read in one call are taken at one time, and what none of them asks for is not looked at.

use super::pauses;
use super::{Cycles, Histogram, Snapshot};
use crate::metrics::GoroutineState;
use gogc::Nanos;
use gomem::{BySize, Stats};
use std::cell::OnceCell;

/// A figure's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count, or an amount.
    Uint64(u64),
    /// A time in seconds.
    Float64(f64),
    /// How often what was how much.
    Histogram(Histogram),
}

/// What a figure is.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its name, a path and a unit: `/sched/goroutines:goroutines`.
    pub name: &'static str,
    /// What it means.
    pub description: &'static str,
    /// Whether it only grows.
    pub cumulative: bool,
    read: fn(&Sources) -> Value,
}

/// What figures are taken from, each looked up once, when the first asks for it.
#[derive(Default)]
struct Sources {
    stats: OnceCell<Stats>,
    by_size: OnceCell<BySize>,
    snapshot: OnceCell<Snapshot>,
    cycles: OnceCell<Cycles>,
    goroutines: OnceCell<States>,
}

/// Goroutines by what they do.
#[derive(Clone, Copy, Default)]
struct States {
    runnable: u64,
    running: u64,
    syscall: u64,
    waiting: u64,
}

impl Sources {
    fn stats(&self) -> &Stats {
        self.stats.get_or_init(|| gomem::heap().stats())
    }

    fn by_size(&self) -> &BySize {
        self.by_size.get_or_init(|| gomem::heap().stats_by_size())
    }

    fn snapshot(&self) -> &Snapshot {
        self.snapshot.get_or_init(super::snapshot)
    }

    fn cycles(&self) -> &Cycles {
        self.cycles.get_or_init(super::cycles)
    }

    fn goroutines(&self) -> &States {
        self.goroutines.get_or_init(|| {
            let mut states = States::default();
            crate::runtime::scheduler().for_each_goroutine(|g| match g.state {
                GoroutineState::Runnable => states.runnable += 1,
                GoroutineState::Running => states.running += 1,
                GoroutineState::Syscall => states.syscall += 1,
                GoroutineState::Waiting(_) => states.waiting += 1,
            });
            states
        })
    }

    /// What gomem knows under this name.
    fn of_heap(&self, name: &str) -> Value {
        let metrics = self.stats().metrics();
        let found = metrics.iter().find(|(known, _)| *known == name);
        Value::Uint64(found.map_or(0, |&(_, value)| value))
    }

    fn by_block_size(&self, count: impl Fn(&gomem::ClassStats) -> u64) -> Value {
        let [large, small @ ..] = self.by_size();
        // From one more than the next smaller size, as in Go.
        let bounds = small.iter().map(|class| (class.size + 1) as f64);
        Value::Histogram(Histogram {
            counts: small.iter().chain([large]).map(count).collect(),
            buckets: [1.0]
                .into_iter()
                .chain(bounds)
                .chain([f64::INFINITY])
                .collect(),
        })
    }
}

fn seconds(time: Nanos) -> Value {
    Value::Float64(time.0 as f64 / 1e9)
}

fn histogram(times: &super::histogram::Times) -> Value {
    Value::Histogram(times.histogram())
}

macro_rules! figures {
    ($($kind:ident $name:literal, $description:literal, $read:expr;)*) => {
        &[$(Description {
            name: $name,
            description: $description,
            cumulative: figures!(@ $kind),
            read: $read,
        },)*]
    };
    (@ now) => { false };
    (@ sum) => { true };
}

use Value::Uint64;

const ALL: &[Description] = figures! {
    sum "/cpu/classes/gc/mark/assist:cpu-seconds",
        "Processor time that goroutines spent on marking, in proportion to what they allocated.",
        |s| seconds(s.cycles().cpu.assist);
    sum "/cpu/classes/gc/mark/dedicated:cpu-seconds",
        "Processor time that the collector's threads spent on marking.",
        |s| seconds(s.cycles().cpu.background);
    sum "/cpu/classes/gc/mark/idle:cpu-seconds",
        "Processor time spent on marking that goroutines had no use for.",
        |s| seconds(s.cycles().cpu.idle);
    sum "/cpu/classes/gc/pause:cpu-seconds",
        "Processor time of all Ps during which the collector had stopped the world.",
        |s| seconds(s.cycles().cpu.sweep_termination + s.cycles().cpu.mark_termination);
    sum "/cpu/classes/gc/total:cpu-seconds",
        "Processor time spent on collection; the sum of the others in /cpu/classes/gc.",
        |s| seconds(s.cycles().cpu.total() + s.cycles().cpu.idle);
    sum "/gc/cycles/automatic:gc-cycles",
        "Collections that the runtime began.",
        |s| Uint64(s.snapshot().gc_cycles.saturating_sub(s.cycles().forced));
    sum "/gc/cycles/forced:gc-cycles",
        "Collections that the program asked for.",
        |s| Uint64(s.cycles().forced);
    sum "/gc/cycles/total:gc-cycles",
        "Collections.",
        |s| Uint64(s.snapshot().gc_cycles);
    now "/gc/gogc:percent",
        "By how much the heap may grow before it is collected (GOGC); 2^64-1 for without end.",
        |_| Uint64(crate::collector::percent());
    now "/gc/gomemlimit:bytes",
        "The memory that the program is kept within (GOMEMLIMIT, or what the memory group allows); 2^63-1 without a limit.",
        |_| Uint64(crate::collector::memory_limit());
    sum "/gc/heap/allocs-by-size:bytes",
        "Blocks ever allocated, by size.",
        |s| s.by_block_size(|class| class.mallocs);
    sum "/gc/heap/allocs:bytes",
        "Bytes ever allocated.",
        |s| s.of_heap("/gc/heap/allocs:bytes");
    sum "/gc/heap/allocs:objects",
        "Blocks ever allocated.",
        |s| s.of_heap("/gc/heap/allocs:objects");
    sum "/gc/heap/frees-by-size:bytes",
        "Blocks ever freed, by size.",
        |s| s.by_block_size(|class| class.frees);
    sum "/gc/heap/frees:bytes",
        "Bytes ever freed.",
        |s| s.of_heap("/gc/heap/frees:bytes");
    sum "/gc/heap/frees:objects",
        "Blocks ever freed.",
        |s| s.of_heap("/gc/heap/frees:objects");
    now "/gc/heap/goal:bytes",
        "The size of heap at which the next collection is to be over.",
        |s| Uint64(s.snapshot().heap_goal);
    now "/gc/heap/live:bytes",
        "What the last collection found alive.",
        |s| Uint64(s.snapshot().heap_live);
    now "/gc/heap/objects:objects",
        "Blocks that live.",
        |s| s.of_heap("/gc/heap/objects:objects");
    sum "/gc/pauses:seconds",
        "The older name of /sched/pauses/total/gc:seconds.",
        |_| histogram(&pauses::GC.total);
    now "/gc/scan/globals:bytes",
        "Statics that the last collection looked through.",
        |s| Uint64(s.cycles().marked.globals.0);
    now "/gc/scan/heap:bytes",
        "Heap that the last collection looked through: collected objects, and blocks of the Rust heap.",
        |s| Uint64((s.cycles().marked.heap_scanned + s.cycles().marked.rust_heap).0);
    now "/gc/scan/stack:bytes",
        "Stacks that the last collection looked through.",
        |s| Uint64(s.cycles().marked.stacks.0);
    now "/gc/scan/total:bytes",
        "All that the last collection looked through.",
        |s| Uint64(s.cycles().marked.looked_at().0);
    now "/memory/classes/heap/free:bytes",
        "Memory that is free, and could be given back to the system.",
        |s| s.of_heap("/memory/classes/heap/free:bytes");
    now "/memory/classes/heap/objects:bytes",
        "Memory of objects that live, or are dead and not yet swept.",
        |s| s.of_heap("/memory/classes/heap/objects:bytes");
    now "/memory/classes/heap/released:bytes",
        "Memory that is free, and was given back to the system.",
        |s| s.of_heap("/memory/classes/heap/released:bytes");
    now "/memory/classes/heap/unused:bytes",
        "Memory that is kept for objects and holds none.",
        |s| s.of_heap("/memory/classes/heap/unused:bytes");
    now "/memory/classes/metadata/other:bytes",
        "The allocator's tables; address space, most of which is never touched.",
        |s| s.of_heap("/memory/classes/metadata/other:bytes");
    now "/memory/classes/total:bytes",
        "All that the allocator has from the system.",
        |s| s.of_heap("/memory/classes/total:bytes");
    now "/sched/gomaxprocs:threads",
        "How many goroutines run at the same time at most (GOMAXPROCS).",
        |s| Uint64(s.snapshot().procs.into());
    now "/sched/goroutines/not-in-go:goroutines",
        "Goroutines in a system call, or in what was declared to block.",
        |s| Uint64(s.goroutines().syscall);
    now "/sched/goroutines/runnable:goroutines",
        "Goroutines that could run, and do not.",
        |s| Uint64(s.goroutines().runnable);
    now "/sched/goroutines/running:goroutines",
        "Goroutines that run.",
        |s| Uint64(s.goroutines().running);
    now "/sched/goroutines/waiting:goroutines",
        "Goroutines that wait.",
        |s| Uint64(s.goroutines().waiting);
    now "/sched/goroutines:goroutines",
        "Goroutines.",
        |s| Uint64(s.snapshot().goroutines);
    sum "/sched/pauses/stopping/gc:seconds",
        "How long it took to stop the world for collections, each time.",
        |_| histogram(&pauses::GC.stopping);
    sum "/sched/pauses/stopping/other:seconds",
        "How long it took to stop the world for something else, each time.",
        |_| histogram(&pauses::OTHER.stopping);
    sum "/sched/pauses/total/gc:seconds",
        "How long the world was stopped for collections, each time.",
        |_| histogram(&pauses::GC.total);
    sum "/sched/pauses/total/other:seconds",
        "How long the world was stopped for something else, each time.",
        |_| histogram(&pauses::OTHER.total);
    now "/sched/threads/total:threads",
        "Threads that run goroutines.",
        |s| Uint64(s.snapshot().threads.into());
};

/// Every figure that there is, by name.
pub fn all() -> &'static [Description] {
    ALL
}

/// The values of these figures; `None` for a name that there is not.
///
/// ```
/// use goruntime::metrics::{self, Value};
///
/// let values = metrics::read(&["/sched/gomaxprocs:threads", "/no/such:thing"]);
/// assert!(matches!(values[0], Some(Value::Uint64(1..))));
/// assert_eq!(values[1], None);
/// ```
pub fn read(names: &[&str]) -> Vec<Option<Value>> {
    let sources = Sources::default();
    let value = |name: &&str| {
        let at = ALL.binary_search_by_key(name, |figure| figure.name).ok()?;
        Some((ALL[at].read)(&sources))
    };
    names.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_have_a_path_and_a_unit() {
        for pair in ALL.windows(2) {
            assert!(pair[0].name < pair[1].name, "{}", pair[1].name);
        }
        for figure in ALL {
            let (path, unit) = figure.name.split_once(':').unwrap();
            assert!(path.starts_with('/') && !unit.is_empty(), "{}", figure.name);
        }
    }

    #[test]
    fn each_can_be_read_and_histograms_have_bounds_in_order() {
        let kept = vec![1u8; 100];
        let names: Vec<&str> = ALL.iter().map(|figure| figure.name).collect();
        for (name, value) in names.iter().zip(read(&names)) {
            if let Value::Histogram(h) = value.unwrap() {
                assert_eq!(h.counts.len() + 1, h.buckets.len(), "{name}");
                assert!(h.buckets.is_sorted(), "{name}: {:?}", h.buckets);
            }
        }
        drop(kept);
    }
}
