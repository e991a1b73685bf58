//! The program as it is now, for the page; and Go's `expvar`.
//!
//! Invariant: what a look costs does not grow with the number of goroutines but for one walk of their list, in which nothing is stopped and nothing allocated
//! for each of them. Names of functions are looked up once.

use super::json::Json;
use crate::goroutines::symbols::{Symbols, forget};
use crate::metrics::{self, GoroutineState};
use crate::runtime::scheduler;
use gomem::profile::pprof::call;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::panic::Location;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Places that are listed, of goroutines' creation and of allocation.
const LISTED: usize = 25;

pub(super) fn live() -> String {
    let mut json = Json::default();
    json.object(|json| {
        json.key("process").object(process);
        json.key("scheduler").object(schedule);
        json.key("goroutines").object(goroutines);
        json.key("memory").object(memory);
        json.key("gc").object(collections);
        json.key("allocations").object(allocations);
    });
    json.into_string()
}

fn process(json: &mut Json) {
    json.key("pid").number(std::process::id());
    json.key("command").string(&command().join(" "));
    json.key("version").string(env!("CARGO_PKG_VERSION"));
    let uptime = crate::compose::world::process_start().elapsed();
    json.key("uptime").number(uptime.as_secs_f64());
}

fn command() -> Vec<String> {
    let lossy = |argument: std::ffi::OsString| argument.to_string_lossy().into_owned();
    std::env::args_os().map(lossy).collect()
}

fn schedule(json: &mut Json) {
    let mut s = gosched::Snapshot::default();
    scheduler().observe(&mut s);
    json.key("threads").number(s.machines);
    json.key("idle_threads").number(s.idle_machines);
    json.key("spinning").number(s.spinning);
    json.key("idle_procs").number(s.idle_procs);
    json.key("global_queue").number(s.global_queue);
    json.key("poll_waiters").number(s.poll_waiters);
    json.key("procs").list(&s.procs, |json, p| {
        json.object(|json| {
            json.key("queued").number(p.queued);
            json.key("timers").number(p.timers);
            json.key("tick").number(p.tick);
            json.key("busy").bool(p.m.is_some());
            json.key("syscall").bool(p.in_syscall);
            match p.current {
                Some(goroutine) => json.key("goroutine").number(goroutine),
                None => json.key("goroutine").null(),
            }
        });
    });
}

/// Goroutines that were started at one place.
#[derive(Default)]
struct Started {
    count: u64,
    states: BTreeMap<&'static str, u64>,
    longest: Duration,
}

fn goroutines(json: &mut Json) {
    let mut states: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut sites: HashMap<Option<&'static Location<'static>>, Started> = HashMap::new();
    let mut total = 0u64;
    scheduler().for_each_goroutine(|g| {
        let state = match g.state {
            GoroutineState::Runnable => "runnable",
            GoroutineState::Running => "running",
            GoroutineState::Syscall => "syscall",
            GoroutineState::Waiting(reason) => match reason.as_str() {
                "" => "waiting",
                reason => reason,
            },
        };
        total += 1;
        *states.entry(state).or_default() += 1;
        let site = sites.entry(g.site).or_default();
        site.count += 1;
        *site.states.entry(state).or_default() += 1;
        site.longest = site.longest.max(g.waiting_for.to_duration());
    });
    let mut sites: Vec<_> = sites.into_iter().collect();
    sites.sort_by_key(|(site, started)| (std::cmp::Reverse(started.count), *site));
    json.key("total").number(total);
    json.key("stalls").number(metrics::snapshot().stalls);
    json.key("states").object(|json| counts(json, &states));
    json.key("sites_total").number(sites.len());
    json.key("sites")
        .list(sites.iter().take(LISTED), |json, (site, started)| {
            json.object(|json| {
                let place = site.map_or("?".to_owned(), |s| format!("{}:{}", s.file(), s.line()));
                json.key("place").string(&place);
                json.key("count").number(started.count);
                json.key("longest").number(started.longest.as_secs_f64());
                json.key("states")
                    .object(|json| counts(json, &started.states));
            });
        });
}

fn counts(json: &mut Json, counts: &BTreeMap<&'static str, u64>) {
    for (name, count) in counts {
        json.key(name).number(count);
    }
}

fn memory(json: &mut Json) {
    let stats = gomem::heap().stats();
    let snapshot = metrics::snapshot();
    for (name, value) in [
        ("alloc", stats.heap_alloc as u64),
        ("malloc", stats.malloc_alloc as u64),
        (
            "collected",
            stats.heap_alloc.saturating_sub(stats.malloc_alloc) as u64,
        ),
        ("inuse", stats.heap_inuse as u64),
        (
            "idle",
            stats.heap_idle.saturating_sub(stats.heap_released) as u64,
        ),
        ("released", stats.heap_released as u64),
        ("sys", stats.heap_sys as u64),
        ("objects", stats.heap_objects),
        ("total_alloc", stats.total_alloc),
        ("live", snapshot.heap_live),
        ("goal", snapshot.heap_goal),
        ("rss", resident()),
    ] {
        json.key(name).number(value);
    }
    let limit = crate::collector::memory_limit();
    match limit < i64::MAX as u64 {
        true => json.key("limit").number(limit),
        false => json.key("limit").null(),
    }
}

/// Physical memory of the process.
fn resident() -> u64 {
    const PAGE: u64 = 4096;
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE
}

fn collections(json: &mut Json) {
    let snapshot = metrics::snapshot();
    let cycles = metrics::cycles();
    let pauses = metrics::pauses::GC.total.histogram();
    json.key("cycles").number(snapshot.gc_cycles);
    json.key("forced").number(cycles.forced);
    json.key("cpu").number(cycles.cpu.total().0 as f64 / 1e9);
    json.key("pauses").number(metrics::pauses::GC.count());
    json.key("pause_total")
        .number(metrics::pauses::GC.total.sum() as f64 / 1e9);
    json.key("pause_last")
        .number(snapshot.gc_pause_last_ns as f64 / 1e9);
    let longest = snapshot.gc_pause_max_ns as f64 / 1e9;
    json.key("pause_max").number(longest);
    for (name, part) in [("pause_p50", 0.5), ("pause_p99", 0.99)] {
        match pauses.quantile(part) {
            // A bound, which may lie above all of them.
            value if value.is_finite() => json.key(name).number(value.min(longest)),
            _ => json.key(name).null(),
        }
    }
}

/// A place of allocation.
struct Place {
    /// Addresses within its calls.
    stack: Vec<usize>,
    live: (u64, u64),
    allocated: (u64, u64),
}

fn allocations(json: &mut Json) {
    json.key("rate").number(gomem::profile::rate());
    let mut places: Vec<Place> = Vec::new();
    gomem::profile::for_each_site(|site| {
        places.push(Place {
            stack: site.stack.iter().map(|&pc| call(pc)).collect(),
            live: site.live,
            allocated: site.allocated,
        });
    });
    // By the program's function, whatever the sizes and the outer calls.
    let mut by_function: HashMap<Named, Place> = HashMap::new();
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.look_up(&places);
    for place in places {
        let name = names.of(&place);
        match by_function.get_mut(&name) {
            Some(sum) => {
                let add = |a: &mut (u64, u64), b: (u64, u64)| *a = (a.0 + b.0, a.1 + b.1);
                add(&mut sum.live, place.live);
                add(&mut sum.allocated, place.allocated);
            }
            None => drop(by_function.insert(name, place)),
        }
    }
    drop(names);
    let mut functions: Vec<_> = by_function.into_iter().collect();
    functions.sort_by_key(|(name, sum)| (std::cmp::Reverse(sum.live.1), name.clone()));
    json.key("sites")
        .list(functions.iter().take(LISTED), |json, (name, sum)| {
            json.object(|json| {
                json.key("function").string(&name.0);
                json.key("place").string(&name.1);
                json.key("live_objects").number(sum.live.0);
                json.key("live_bytes").number(sum.live.1);
                json.key("objects").number(sum.allocated.0);
                json.key("bytes").number(sum.allocated.1);
            });
        });
}

/// A function and a place in it.
type Named = (String, String);

static NAMES: Mutex<Names> = Mutex::new(Names {
    known: BTreeMap::new(),
    next: None,
});

/// The program's function in stacks that were looked up before.
struct Names {
    known: BTreeMap<Vec<usize>, Named>,
    /// Not to be looked up before this time: it takes a tenth of a second of processor time and more.
    next: Option<Instant>,
}

impl Names {
    /// Looks up what is new, if that has not been done for a while.
    fn look_up(&mut self, places: &[Place]) {
        const PERIOD: Duration = Duration::from_secs(10);
        let mut new = places
            .iter()
            .filter(|place| !self.known.contains_key(&place.stack));
        if new.next().is_none() || self.next.is_some_and(|next| Instant::now() < next) {
            return;
        }
        let mut symbols = Symbols::default();
        for place in places {
            self.known.entry(place.stack.clone()).or_insert_with(|| {
                let Some(call) = symbols.innermost_own(&place.stack) else {
                    return unnamed(place);
                };
                let place = call.place.map(|(file, line)| format!("{file}:{line}"));
                (call.function, place.unwrap_or_default())
            });
        }
        forget();
        self.next = Some(Instant::now() + PERIOD);
    }

    fn of(&self, place: &Place) -> Named {
        let known = self.known.get(&place.stack).cloned();
        known.unwrap_or_else(|| unnamed(place))
    }
}

fn unnamed(place: &Place) -> Named {
    let innermost = place.stack.first().copied().unwrap_or(0);
    (format!("{innermost:#x}"), String::new())
}

/// Go's `expvar`: `cmdline` and `memstats`.
pub(super) fn vars() -> String {
    let stats = gomem::heap().stats();
    let mut json = Json::default();
    json.object(|json| {
        json.key("cmdline")
            .list(command(), |json, argument| json.string(&argument));
        json.key("memstats").object(|json| {
            for (name, value) in metrics::mem_stats(&stats) {
                json.key(name).number(value);
            }
        });
    });
    json.into_string()
}
