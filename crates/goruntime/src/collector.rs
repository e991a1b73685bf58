//! The collector's thread, and how the rest of the program asks for its services.
//!
//! One thread collects: it holds no collected object, so that it can stop everybody else, and a mutator that needs a collection
//! waits for it. Requests are a few words under a lock that is never held while the world stands still.
//!
//! To the deadlock check the thread is one that wakes nobody as long as it sleeps, and a stranger that may wake anybody from the moment
//! that it is asked for something: what it finds dead may be what a goroutine waits to see dropped.
//!
//! A mutator whose allocation reaches the trigger asks for a collection and goes on. One whose allocation reaches the goal before marking has begun
//! waits until it has, so that the heap does not outgrow its goal while the collector's thread waits for a processor. While objects are marked,
//! whoever takes memory for new ones assists; and if more is owed than it finds to do, it waits a little, for the heap must not grow at the pace of mutators while
//! all work is in the hands of others. Whoever waits lends its processor to those who mark ([`background`]).

use crate::compose::heap::GoHeap;
use crate::compose::world::GoWorld;
use crate::compose::{background, barrier};
use crate::finalizer::{self, Task};
use crate::runtime::scheduler;
use gogc::{Bytes, Collector, MarkSweep, Method, ObjectAddr, Phase, Reason, Specials, World};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub(crate) type GoCollector = MarkSweep<GoHeap, GoWorld>;

static COLLECTOR: OnceLock<GoCollector> = OnceLock::new();
static REQUESTS: Mutex<Requests> = Mutex::new(Requests {
    due: false,
    periodic: false,
    forced: 0,
    cycles: 0,
    forced_done: 0,
    asleep: false,
});
/// The collector's thread waits here for requests.
static ASKED: Condvar = Condvar::new();
/// Mutators wait here for the end of a cycle.
static DONE: Condvar = Condvar::new();

/// When the last cycle ended, on the monotonic clock.
static LAST_END: AtomicU64 = AtomicU64::new(0);

/// How long a mutator waits for the collection to begin, or to end, when the heap has reached its goal, before it goes on all the same. Bounds what
/// happens when it holds something that the collector's thread needs.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a mutator that waits looks away.
const GLANCE: Duration = Duration::from_millis(1);

/// How long a mutator that owes waits for others to pay, after each of its assists, for every [`SPAN`] that the heap has grown by: then it goes on in debt. So while marking is
/// behind, no thread allocates more than some 30 MB a second.
const IN_DEBT: Duration = Duration::from_micros(250);

/// What a thread takes of small objects at a time.
const SPAN: u64 = 8 << 10;

/// The longest wait in debt.
const LONG_IN_DEBT: Duration = Duration::from_millis(10);

/// The pause before it looks again.
const DEBT_GLANCE: Duration = Duration::from_micros(20);

/// The size of heap at which the cycle under way is to be over.
static GOAL: AtomicU64 = AtomicU64::new(u64::MAX);

/// The size of heap from which on nobody takes memory before the cycle that is due marks.
static BOUND: AtomicU64 = AtomicU64::new(u64::MAX);

/// The size of heap up to which nobody has to assist any more.
static PAID: AtomicU64 = AtomicU64::new(0);

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
    /// The collector's thread waits, and the deadlock check counts on that.
    asleep: bool,
}

impl Requests {
    /// Wakes the collector's thread, which something has been asked of.
    fn wake(&mut self) {
        if std::mem::take(&mut self.asleep) {
            scheduler().remove_service_thread();
        }
        ASKED.notify_one();
    }
}

/// What the memory group allows, less a tenth; `u64::MAX` without a limit, or while none is known.
static GROUP_LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// The collector's settings: those of the environment, and the memory group's limit where the environment sets none.
fn config() -> gogc::Config {
    let settings = crate::settings::get();
    let mut config = settings.collector;
    let limit = GROUP_LIMIT.load(Relaxed);
    if settings.follow_group_limit && limit != u64::MAX {
        config.memory_limit = Some(gogc::Bytes(limit));
    }
    config
}

/// Has the collector keep the process within nine tenths of what its memory group may use, unless `GOMEMLIMIT` says otherwise. Of the rest live those that
/// no collector knows of: code, libraries, the kernel's buffers.
pub(crate) fn follow_group_limit(limit: u64) {
    let most = match limit {
        u64::MAX => limit,
        _ => limit - limit / 10,
    };
    if GROUP_LIMIT.swap(most, Relaxed) != most
        && crate::settings::get().follow_group_limit
        && let Some(collector) = COLLECTOR.get()
    {
        collector.reconfigure(config());
    }
}

fn requests() -> MutexGuard<'static, Requests> {
    REQUESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the collector, once. Called by the first allocation of a collected object.
///
/// # Panics
/// When its thread or its first memory is refused, or signals cannot be handled.
pub(crate) fn start() {
    let collector = COLLECTOR.get_or_init(|| {
        let settings = crate::settings::get();
        crate::world::keep_files();
        let world = GoWorld::new().unwrap_or_else(|e| panic!("goruntime: no collector: {e}"));
        let method = if settings.stop_the_world {
            Method::StopTheWorld
        } else {
            Method::Concurrent
        };
        let collector = MarkSweep::new(GoHeap::default(), world, config(), method)
            .unwrap_or_else(|e| panic!("goruntime: no collector: {e}"));
        collector.check_marks(settings.check_marks);
        gomem::heap().clobber_free(settings.clobber_free);
        LAST_END.store(gosched::Nanos::now().0, Relaxed);
        gomem::critical::set_trigger_hook(on_trigger);
        arm(&collector);
        std::thread::Builder::new()
            .name("gc".into())
            .spawn(serve)
            .unwrap_or_else(|e| panic!("goruntime: no thread for the collector: {e}"));
        // They work only while the collector's thread does.
        for _ in 0..collector.world().helpers() {
            scheduler().add_service_thread();
        }
        collector
    });
    // The limit may have become known before there was somebody to tell.
    collector.reconfigure(config());
}

/// Is a mark under way that stores to collected objects have to be reported to?
#[inline]
pub(crate) fn barrier_on() -> bool {
    COLLECTOR.get().is_some_and(|c| c.barrier().is_on())
}

/// Reports a store: `new` has taken the place of `old` in a collected object. Whoever calls this has seen the barrier on.
#[cold]
pub(crate) fn shade(old: usize, new: usize) {
    if let Some(collector) = COLLECTOR.get() {
        barrier::record(collector, |recorder| recorder.record(old, new));
    }
}

/// Reports all pointers that `each` gives its argument.
#[cold]
pub(crate) fn shade_each(each: impl FnOnce(&mut barrier::Recorder<'_, GoCollector>)) {
    if let Some(collector) = COLLECTOR.get() {
        barrier::record(collector, each);
    }
}

/// Has the collector scan an object that was just made. Called in the critical section in which that was.
#[cold]
pub(crate) fn scan_newborn(base: usize) {
    if let Some(collector) = COLLECTOR.get() {
        collector.scan_newborn(ObjectAddr(base));
    }
}

/// What is attached to collected objects, of which there are some.
#[inline]
pub(crate) fn specials() -> &'static Specials<Task> {
    match COLLECTOR.get() {
        Some(collector) => collector.heap().specials(),
        None => unreachable!("the first object has started the collector"),
    }
}

/// Runs a whole collection and waits for its end.
pub(crate) fn collect() {
    start();
    crate::blocking(|| {
        let mut requests = requests();
        requests.forced += 1;
        let ticket = requests.forced;
        requests.wake();
        let _lent = background::lend();
        while requests.forced_done < ticket {
            requests = DONE.wait(requests).unwrap_or_else(PoisonError::into_inner);
        }
    });
}

/// Asks for a collection because there was none for a long time; does not wait.
pub(crate) fn collect_periodic() {
    if COLLECTOR.get().is_some() {
        let mut requests = requests();
        requests.periodic = true;
        requests.wake();
    }
}

/// The size of heap at which the next cycle is to be over; 0 while nothing is collected.
pub(crate) fn goal() -> u64 {
    COLLECTOR.get().map_or(0, |c| c.goal().0)
}

/// `GOGC` in force; all ones for none.
pub(crate) fn percent() -> u64 {
    match config().percent {
        gogc::GcPercent::Percent(percent) => percent.into(),
        gogc::GcPercent::Off => u64::MAX,
    }
}

/// The memory limit in force; as in Go the largest signed number for none.
pub(crate) fn memory_limit() -> u64 {
    config()
        .memory_limit
        .map_or(i64::MAX as u64, |limit| limit.0)
}

/// When the last cycle ended, in nanoseconds of the monotonic clock (`now` while there is nothing to collect), and whether one is under way.
pub(crate) fn last_end(now: u64) -> (u64, bool) {
    let Some(collector) = COLLECTOR.get() else {
        return (now, false);
    };
    let running = !matches!(collector.phase(), Phase::Off | Phase::Sweep);
    (LAST_END.load(Relaxed), running)
}

/// The heap has reached the trigger, or objects are being marked and this thread has taken memory for more. Called by the allocator, outside
/// its critical sections.
fn on_trigger() {
    if SERVING.get() {
        return; // the collector's own thread, which allocates nothing collected
    }
    let Some(collector) = COLLECTOR.get() else {
        return;
    };
    if collector.barrier().is_on() {
        let grown = assist(collector);
        if collector.owes() || outgrown(collector) {
            hold_up(collector, grown);
        }
        return;
    }
    if finalizer::is_behind() {
        wait_while(requests(), |_| finalizer::is_behind());
        if (gomem::heap().heap_bytes() as u64) < collector.trigger().0 {
            return arm(collector);
        }
    }
    let mut requests = requests();
    let cycles = requests.cycles;
    if !requests.due {
        requests.due = true;
        requests.wake();
    }
    // Below the goal there is no need to wait; at the goal whoever takes memory comes here.
    if collector.method() == Method::Concurrent && !has_reached_bound() {
        return;
    }
    wait_while(requests, |requests| {
        requests.cycles == cycles && !is_marking(collector)
    });
}

/// Waits while the requests are so, but not for long: the collector's thread, or what is dropped, may wait for something that the caller has.
fn wait_while(mut requests: MutexGuard<'_, Requests>, goes_on: impl Fn(&Requests) -> bool) {
    let begin = Instant::now();
    while goes_on(&requests) && begin.elapsed() < PATIENCE {
        let (next, _) = DONE
            .wait_timeout(requests, GLANCE)
            .unwrap_or_else(PoisonError::into_inner);
        requests = next;
    }
}

fn is_marking(collector: &GoCollector) -> bool {
    collector.phase() == Phase::Mark
}

/// Pays for what the heap has grown by since somebody last did; returns that.
fn assist(collector: &GoCollector) -> Bytes {
    let _section = gomem::critical::enter();
    let size = gomem::heap().heap_bytes() as u64;
    let paid = PAID.fetch_max(size, Relaxed);
    let grown = Bytes(size.saturating_sub(paid));
    collector.assist(grown);
    grown
}

/// Has the heap reached its goal before marking is over? Then what matters is not any more who has marked how much.
fn outgrown(collector: &GoCollector) -> bool {
    gomem::heap().heap_bytes() as u64 >= GOAL.load(Relaxed) && collector.may_hold_up()
}

/// Waits until nothing is owed and the heap is below its goal, or marking is over, looking for work now and then; but not for long. The heap has grown by so much.
#[cold]
fn hold_up(collector: &GoCollector, grown: Bytes) {
    let begin = Instant::now();
    let _lent = background::lend();
    let spans = u32::try_from(grown.0.div_ceil(SPAN)).unwrap_or(u32::MAX);
    let in_debt = IN_DEBT.saturating_mul(spans.max(1)).min(LONG_IN_DEBT);
    loop {
        let elapsed = begin.elapsed();
        let is_held_up = outgrown(collector) && elapsed < PATIENCE;
        let is_paying = collector.owes() && elapsed < in_debt;
        if !(is_held_up || is_paying) {
            return;
        }
        std::thread::sleep(DEBT_GLANCE);
        assist(collector);
    }
}

/// Mutators that wait for marking to begin need not wait any longer. The world runs.
pub(crate) fn mark_has_begun() {
    DONE.notify_all();
}

/// A cycle begins, which is to be over when the heap has this size.
pub(crate) fn cycle_begins(goal: Bytes) {
    GOAL.store(goal.0, Relaxed);
}

/// Marking is over. Until the collector's thread has found out when the next cycle is due, it is after a quarter more than what lives, and not above the goal that there was. The
/// world is stopped.
pub(crate) fn mark_ends() {
    let live = gomem::heap().heap_bytes() as u64;
    let goal = Bytes(GOAL.load(Relaxed));
    arm_at(Bytes((live + live / 4).min(goal.0)), goal);
}

/// Marking begins: what was allocated before costs nothing. The world is stopped.
pub(crate) fn mark_begins() {
    PAID.store(gomem::heap().heap_bytes() as u64, Relaxed);
    gomem::heap().set_trigger(usize::MAX, usize::MAX);
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

/// Has the allocator call [`on_trigger`] when a cycle is due, and whenever somebody takes memory when it should be over.
fn arm(collector: &GoCollector) {
    arm_at(collector.trigger(), collector.goal());
}

/// The same, with these sizes of the heap.
fn arm_at(trigger: Bytes, goal: Bytes) {
    /// Room given when that is reached already, so that a program at its limit still gets something done between cycles.
    const LEAST: u64 = 256 << 10;
    let least = gomem::heap().heap_bytes() as u64 + LEAST;
    let [trigger, bound] = [trigger, goal].map(|size| size.0.max(least));
    BOUND.store(bound, Relaxed);
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    gomem::heap().set_trigger(bytes(trigger), bytes(bound));
}

/// Has the heap reached the size at which a cycle should be over?
fn has_reached_bound() -> bool {
    gomem::heap().heap_bytes() as u64 >= BOUND.load(Relaxed)
}

/// Some of what the last cycle found dead has been dropped: the blocks that it owned do not live any more.
pub(crate) fn some_are_dropped() {
    if let Some(collector) = COLLECTOR.get() {
        collector.revise();
    }
}

/// All of it has been dropped, and [that was said](some_are_dropped).
pub(crate) fn dead_are_dropped() {
    let Some(collector) = COLLECTOR.get() else {
        return;
    };
    let is_asked = requests().due;
    if !is_asked && matches!(collector.phase(), Phase::Off | Phase::Sweep) {
        arm(collector);
    }
    DONE.notify_all();
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
        if let Some(retry_at) = collector.retry_at() {
            // A cycle that could not be ended. While it is under way nobody asks for one, and whoever waits for what it finds dead is no deadlock.
            let wait = retry_at.saturating_sub(collector.world().now()).0;
            if wait == 0 {
                return Request::Due;
            }
            drop(
                ASKED
                    .wait_timeout(requests, Duration::from_nanos(wait))
                    .unwrap_or_else(PoisonError::into_inner),
            );
        } else if !swept {
            drop(requests);
            swept = collector.sweep(SWEEP_STEP).done;
        } else if !requests.asleep {
            requests.asleep = true;
            scheduler().add_service_thread();
            drop(requests);
            scheduler().check_deadlock();
        } else {
            drop(ASKED.wait(requests).unwrap_or_else(PoisonError::into_inner));
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
