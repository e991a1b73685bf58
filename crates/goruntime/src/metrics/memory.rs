//! Memory as Go's `runtime.MemStats` has it, for readers of that.

use super::pauses;
use gomem::Stats;

/// Names of fields with their values, those that mean something here.
pub(crate) fn mem_stats(stats: &Stats) -> Vec<(&'static str, u64)> {
    let cycles = super::cycles();
    let snapshot = super::snapshot();
    vec![
        ("Alloc", stats.heap_alloc as u64),
        ("TotalAlloc", stats.total_alloc),
        ("Sys", (stats.heap_sys + stats.other_sys) as u64),
        ("Mallocs", stats.mallocs),
        ("Frees", stats.frees),
        ("HeapAlloc", stats.heap_alloc as u64),
        ("HeapSys", stats.heap_sys as u64),
        ("HeapIdle", stats.heap_idle as u64),
        ("HeapInuse", stats.heap_inuse as u64),
        ("HeapReleased", stats.heap_released as u64),
        ("HeapObjects", stats.heap_objects),
        ("OtherSys", stats.other_sys as u64),
        ("NextGC", snapshot.heap_goal),
        ("LastGC", cycles.last_end),
        ("PauseTotalNs", pauses::GC.total.sum()),
        ("NumGC", snapshot.gc_cycles),
        ("NumForcedGC", cycles.forced),
    ]
}
