//! The figures in Prometheus' text format (version 0.0.4), under the names that its client for Go gives them, so that dashboards and alerts made for
//! programs in Go work on this one.
//!
//! First those that the client has always had (`go_goroutines`, `go_memstats_...`, `process_...`), then all of [`all`](super::all), named by its rule:
//! `/sched/gomaxprocs:threads` is `go_sched_gomaxprocs_threads`, and what only grows ends in `_total`.

use super::pauses;
use super::{Histogram, Value, names};
use std::fmt::{Display, Write};
use std::fs;

/// Everything that there is, as the body of a response of the type `text/plain; version=0.0.4`.
///
/// ```
/// assert!(goruntime::metrics::prometheus().contains("\ngo_goroutines "));
/// ```
pub fn prometheus() -> String {
    let mut out = Exposition::default();
    of_go(&mut out);
    of_process(&mut out);
    let all = names::all();
    let wanted: Vec<&str> = all.iter().map(|figure| figure.name).collect();
    for (figure, value) in all.iter().zip(names::read(&wanted)) {
        let Some(value) = value else { continue };
        let is_histogram = matches!(value, Value::Histogram(_));
        let name = name_of(figure.name, figure.cumulative && !is_histogram);
        let kind = if figure.cumulative {
            "counter"
        } else {
            "gauge"
        };
        match value {
            Value::Uint64(value) => out.one(&name, kind, figure.description, value),
            Value::Float64(value) => out.one(&name, kind, figure.description, value),
            Value::Histogram(value) => out.histogram(&name, figure.description, &value),
        }
    }
    out.0
}

/// What the client calls a figure.
fn name_of(figure: &str, total: bool) -> String {
    let (path, unit) = figure.split_once(':').unwrap_or((figure, ""));
    let unit = unit.replace('/', "_per_");
    let end = if total { "_total" } else { "" };
    format!("go{path}_{unit}{end}").replace(['/', '-', '*'], "_")
}

/// The text so far.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // A string takes everything, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// A figure with one value.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }

    /// With bounds that double at least, since each is a time series.
    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let (mut below, mut sum, mut last) = (0, 0.0, 0.0);
        for (n, &count) in histogram.counts.iter().enumerate() {
            let (low, high) = (histogram.buckets[n], histogram.buckets[n + 1]);
            below += count;
            let middle = if high.is_finite() {
                (low + high) / 2.0
            } else {
                low
            };
            sum += count as f64 * middle;
            if high.is_finite() && high >= 2.0 * last {
                last = high;
                // Bounds are without here, and within there.
                let labels = format!("{{le=\"{}\"}}", high.next_down());
                self.line(&bucket, &labels, below);
            }
        }
        self.line(&bucket, "{le=\"+Inf\"}", below);
        self.line(&format!("{name}_sum"), "", sum);
        self.line(&format!("{name}_count"), "", below);
    }
}

fn of_go(out: &mut Exposition) {
    let name = "go_gc_duration_seconds";
    out.head(
        name,
        "summary",
        "For how long the world was stopped for collections, each time; of the last 256.",
    );
    let mut last = pauses::GC.last();
    last.sort_unstable();
    let quantile = |quarter: usize| match last.len() {
        0 => 0.0,
        len => last[(len - 1) * quarter / 4] as f64 / 1e9,
    };
    for (quarter, text) in (0..).zip(["0", "0.25", "0.5", "0.75", "1"]) {
        out.line(name, &format!("{{quantile=\"{text}\"}}"), quantile(quarter));
    }
    out.line(
        &format!("{name}_sum"),
        "",
        pauses::GC.total.sum() as f64 / 1e9,
    );
    out.line(&format!("{name}_count"), "", pauses::GC.count());

    let snapshot = super::snapshot();
    let stats = gomem::heap().stats();
    let last_gc = super::cycles().last_end as f64 / 1e9;
    out.one(
        "go_goroutines",
        "gauge",
        "Goroutines that there are.",
        snapshot.goroutines,
    );
    out.one(
        "go_threads",
        "gauge",
        "Threads that run goroutines.",
        snapshot.threads,
    );
    let name = "go_info";
    out.head(name, "gauge", "The version of the runtime.");
    let version = concat!("{version=\"goruntime", env!("CARGO_PKG_VERSION"), "\"}");
    out.line(name, version, 1);
    for (name, kind, help, value) in [
        (
            "alloc_bytes",
            "gauge",
            "Bytes of objects that live.",
            stats.heap_alloc as u64,
        ),
        (
            "alloc_bytes_total",
            "counter",
            "Bytes ever allocated.",
            stats.total_alloc,
        ),
        (
            "sys_bytes",
            "gauge",
            "Bytes had from the system.",
            (stats.heap_sys + stats.other_sys) as u64,
        ),
        (
            "mallocs_total",
            "counter",
            "Blocks ever allocated.",
            stats.mallocs,
        ),
        ("frees_total", "counter", "Blocks ever freed.", stats.frees),
        (
            "heap_alloc_bytes",
            "gauge",
            "Bytes of objects that live.",
            stats.heap_alloc as u64,
        ),
        (
            "heap_sys_bytes",
            "gauge",
            "Bytes had from the system for the heap.",
            stats.heap_sys as u64,
        ),
        (
            "heap_idle_bytes",
            "gauge",
            "Bytes of the heap that are free.",
            stats.heap_idle as u64,
        ),
        (
            "heap_inuse_bytes",
            "gauge",
            "Bytes of the heap in use.",
            stats.heap_inuse as u64,
        ),
        (
            "heap_released_bytes",
            "gauge",
            "Free bytes that were given back to the system.",
            stats.heap_released as u64,
        ),
        (
            "heap_objects",
            "gauge",
            "Blocks that live.",
            stats.heap_objects,
        ),
        (
            "other_sys_bytes",
            "gauge",
            "Bytes of the allocator's tables.",
            stats.other_sys as u64,
        ),
        (
            "next_gc_bytes",
            "gauge",
            "The size of heap at which the next collection is to be over.",
            snapshot.heap_goal,
        ),
    ] {
        out.one(&format!("go_memstats_{name}"), kind, help, value);
    }
    out.one(
        "go_memstats_last_gc_time_seconds",
        "gauge",
        "When the last collection ended, in seconds since 1970.",
        last_gc,
    );
}

/// What the kernel says of the process. What cannot be read is not there.
fn of_process(out: &mut Exposition) {
    // SAFETY: a number of the system's, and no memory of ours.
    let (page, ticks) = unsafe {
        (
            libc::sysconf(libc::_SC_PAGESIZE),
            libc::sysconf(libc::_SC_CLK_TCK),
        )
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, a name, may hold anything; what follows its last parenthesis begins with the third.
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    let field = |number: usize| fields.get(number - 3).copied();
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        let seconds = (user + system) / ticks as f64;
        out.one(
            "process_cpu_seconds_total",
            "counter",
            "Processor time used.",
            seconds,
        );
    }
    if let (Some(size), Some(resident)) = (field(23), field(24)) {
        out.one(
            "process_virtual_memory_bytes",
            "gauge",
            "Address space.",
            size,
        );
        out.one(
            "process_resident_memory_bytes",
            "gauge",
            "Memory.",
            resident * page as f64,
        );
    }
    if let (Some(start), Some(boot)) = (field(22), boot_time()) {
        let start = boot + start / ticks as f64;
        out.one(
            "process_start_time_seconds",
            "gauge",
            "When it was started, in seconds since 1970.",
            start,
        );
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // Not the one that is being read.
        let open = open.count().saturating_sub(1);
        out.one(
            "process_open_fds",
            "gauge",
            "Descriptors that are open.",
            open,
        );
    }
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is writable.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0 {
        out.one(
            "process_max_fds",
            "gauge",
            "Descriptors that may be open.",
            limit.rlim_cur,
        );
    }
}

/// In seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_clients() {
        for (figure, total, name) in [
            (
                "/sched/gomaxprocs:threads",
                false,
                "go_sched_gomaxprocs_threads",
            ),
            (
                "/gc/heap/allocs:bytes",
                true,
                "go_gc_heap_allocs_bytes_total",
            ),
            (
                "/gc/heap/allocs-by-size:bytes",
                false,
                "go_gc_heap_allocs_by_size_bytes",
            ),
            (
                "/cpu/classes/gc/pause:cpu-seconds",
                true,
                "go_cpu_classes_gc_pause_cpu_seconds_total",
            ),
        ] {
            assert_eq!(name_of(figure, total), name);
        }
    }

    #[test]
    fn buckets_count_what_is_below() {
        let mut out = Exposition::default();
        let histogram = Histogram {
            counts: vec![1, 2, 0, 4],
            buckets: vec![0.0, 1.0, 1.5, 2.0, f64::INFINITY],
        };
        out.histogram("h", "some", &histogram);
        let expected = format!(
            "# HELP h some\n# TYPE h histogram\nh_bucket{{le=\"{}\"}} 1\nh_bucket{{le=\"{}\"}} 3\nh_bucket{{le=\"+Inf\"}} 7\nh_sum 11\nh_count 7\n",
            1f64.next_down(),
            2f64.next_down()
        );
        assert_eq!(out.0, expected);
    }
}
