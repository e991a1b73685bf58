//! The collector's thread, and how the rest of the program asks for its services.
//!
//! One thread collects: it holds no collected object, so that it can stop everybody else, and a mutator that needs a collection
//! waits for it. Requests are two words under a lock that is never held while the world stands still.
//!
//! A mutator whose allocation reaches the trigger waits until the collection has begun (it would be stopped anyway), so that the heap
//! does not outgrow its goal while the collector's thread waits for a processor.

use crate::compose::heap::GoHeap;
use crate::compose::world::GoWorld;
use crate::settings::Settings;
use gogc::{BarrierBuffer, Bytes, Collector, HeapView, MarkSweep, Phase, Reason};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

type GoCollector = MarkSweep<GoHeap, GoWorld>;

static COLLECTOR: OnceLock<GoCollector> = OnceLock::new();
static REQUESTS: Mutex<Requests> = Mutex::new(Requests {
    due: false,
    periodic: false,
    forced: 0,
    cycles: 0,
    forced_done: 0,
});
/// The collector's thread waits here for requests.
static ASKED: Condvar = Condvar::new();
/// Mutators wait here for the end of a cycle.
static DONE: Condvar = Condvar::new();

/// When the last cycle ended, on the monotonic clock.
static LAST_END: AtomicU64 = AtomicU64::new(0);

/// How long a mutator at the trigger waits for the collection to begin before it goes on all the same. Bounds what
/// happens when it holds something that the collector's thread needs.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a sweep in the background does between two looks at the requests.
const SWEEP_STEP: Bytes = Bytes::mib(1);

struct Requests {
    due: bool,
    periodic: bool,
    /// Forced collections asked for so far.
    forced: u64,
    /// Cycles run so far, or tried.
    cycles: u64,
    /// Forced collections served so far.
    forced_done: u64,
}

fn requests() -> std::sync::MutexGuard<'static, Requests> {
    REQUESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the collector, once. Called by the first allocation of a collected object.
///
/// # Panics
/// When its thread or its first memory is refused, or signals cannot be handled.
pub(crate) fn start() {
    COLLECTOR.get_or_init(|| {
        let settings = crate::settings::get();
        let world = GoWorld::new().unwrap_or_else(|e| panic!("goruntime: no collector: {e}"));
        let collector = MarkSweep::new(GoHeap::default(), world, config(settings))
            .unwrap_or_else(|e| panic!("goruntime: no collector: {e}"));
        LAST_END.store(gosched::Nanos::now().0, Relaxed);
        gomem::critical::set_trigger_hook(on_trigger);
        arm(&collector);
        std::thread::Builder::new()
            .name("gc".into())
            .spawn(serve)
            .unwrap_or_else(|e| panic!("goruntime: no thread for the collector: {e}"));
        collector
    });
}

fn config(settings: &Settings) -> gogc::Config {
    gogc::Config {
        percent: settings.gc_percent,
        memory_limit: settings.memory_limit.map(Bytes),
    }
}

/// Is a mark under way that stores to collected objects have to be reported to?
#[inline]
pub(crate) fn barrier_on() -> bool {
    COLLECTOR.get().is_some_and(|c| c.barrier().is_on())
}

/// The write barrier: `new` takes the place of `old` in a collected object.
#[inline]
pub(crate) fn barrier(old: usize, new: usize) {
    if barrier_on() {
        shade(old, new);
    }
}

#[cold]
fn shade(old: usize, new: usize) {
    let Some(collector) = COLLECTOR.get() else {
        return;
    };
    let mut buffer = BarrierBuffer::new();
    let _ = buffer.record(old, new);
    collector.flush_barrier(&mut buffer);
}

/// Runs a whole collection and waits for its end.
pub(crate) fn collect() {
    start();
    crate::blocking(|| {
        let mut requests = requests();
        requests.forced += 1;
        let ticket = requests.forced;
        ASKED.notify_one();
        while requests.forced_done < ticket {
            requests = DONE.wait(requests).unwrap_or_else(PoisonError::into_inner);
        }
    });
}

/// Asks for a collection because there was none for a long time; does not wait.
pub(crate) fn collect_periodic() {
    if COLLECTOR.get().is_some() {
        requests().periodic = true;
        ASKED.notify_one();
    }
}

/// The size of heap at which the next cycle is to be over; 0 while nothing is collected.
pub(crate) fn goal() -> u64 {
    COLLECTOR.get().map_or(0, |c| c.goal().0)
}

/// When the last cycle ended, in nanoseconds of the monotonic clock (`now` while there is nothing to collect), and whether one is under way.
pub(crate) fn last_end(now: u64) -> (u64, bool) {
    let Some(collector) = COLLECTOR.get() else {
        return (now, false);
    };
    let running = !matches!(collector.phase(), Phase::Off | Phase::Sweep);
    (LAST_END.load(Relaxed), running)
}

/// Collected bytes have reached the trigger. Called by the allocator, outside its critical sections.
fn on_trigger() {
    if SERVING.get() {
        return; // the collector's own thread, which allocates nothing collected
    }
    let mut requests = requests();
    let cycles = requests.cycles;
    if !requests.due {
        requests.due = true;
        ASKED.notify_one();
    }
    while requests.cycles == cycles {
        let (next, timeout) = DONE
            .wait_timeout(requests, PATIENCE)
            .unwrap_or_else(PoisonError::into_inner);
        requests = next;
        if timeout.timed_out() {
            return;
        }
    }
}

thread_local! {
    static SERVING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The life of the collector's thread.
fn serve() {
    SERVING.set(true);
    let collector = COLLECTOR.wait();
    loop {
        let reason = wait_for_request(collector);
        let result = match reason {
            Request::Due => collector.collect_if_due().map(drop),
            Request::Periodic => collector.collect(Reason::Periodic).map(drop),
            Request::Forced(_) => collector.collect(Reason::Forced).map(drop),
        };
        if let Err(error) = result {
            complain(&error.to_string());
        }
        LAST_END.store(gosched::Nanos::now().0, Relaxed);
        let mut requests = requests();
        requests.cycles += 1;
        if let Request::Forced(ticket) = reason {
            requests.forced_done = ticket;
        }
        drop(requests);
        DONE.notify_all();
        collector.heap().hand_over_dead();
        arm(collector);
    }
}

/// Has the allocator call [`on_trigger`] when the collected heap has grown to the goal.
fn arm(collector: &GoCollector) {
    /// Room given when the goal is reached already, so that a program at its limit still gets something done between cycles.
    const LEAST: u64 = 256 << 10;
    let usage = collector.heap().usage();
    let now = usage.collected.saturating_add(usage.external);
    let room = collector.goal().saturating_sub(now).0.max(LEAST);
    let since = gomem::heap().allocated_since_cycle();
    gomem::heap().set_trigger(since.saturating_add(usize::try_from(room).unwrap_or(usize::MAX)));
}

enum Request {
    Due,
    Periodic,
    /// All forced collections asked for up to this one.
    Forced(u64),
}

/// Sweeps while nobody asks for anything, then sleeps.
fn wait_for_request(collector: &GoCollector) -> Request {
    let mut swept = false;
    loop {
        let mut requests = requests();
        if requests.forced > requests.forced_done {
            return Request::Forced(requests.forced);
        }
        if std::mem::take(&mut requests.due) {
            return Request::Due;
        }
        if std::mem::take(&mut requests.periodic) {
            return Request::Periodic;
        }
        if swept {
            drop(ASKED.wait(requests).unwrap_or_else(PoisonError::into_inner));
        } else {
            drop(requests);
            swept = collector.sweep(SWEEP_STEP).done;
        }
    }
}

/// Says once what keeps the collector from collecting.
fn complain(what: &str) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Relaxed) {
        eprintln!("goruntime: {what}");
    }
}
