//! When to collect: a pure controller.
//!
//! The **goal** is the size of heap at which the next cycle should be over. From `GOGC` it is
//!
//! ```text
//!   live + (live + stacks + globals) * GOGC / 100         at least 4 MiB * GOGC / 100
//! ```
//!
//! with what the last cycle found live, so that the work of a cycle, which is proportional to the sum in
//! parentheses, is paid for by a proportional amount of allocation (Go, `runtime/mgcpacer.go`). A memory
//! limit lowers it to what is left of the limit when everything that is not heap is subtracted, and what the
//! limit is already exceeded by once more, less 3 % for inaccuracies.
//!
//! "Live" counts the collected objects *and* the Rust heap. The Rust heap has to be scanned, so a cycle costs
//! that too; and a few dead collected objects may own most of it.
//!
//! The **trigger** is the size at which a cycle starts. Marking with the world stopped, nothing is allocated
//! meanwhile: the trigger is the goal. Marking beside mutators starts earlier, by what they are going to allocate meanwhile: the
//! work of the last cycle, times the *cons/mark ratio*, bytes allocated per byte looked through if both had the same processor time, times
//! the ratio of the times that they are to have, three to one. The ratio is the largest that the last four cycles have seen. The trigger lies between
//! 70 % and 95 % of the way from what is live to the goal, so that neither a wrong estimate collects all the time, nor no time is left.
//!
//! **Assists.** If mutators allocate faster than that, they have to mark. The *assist ratio* is the work left over the room left: whoever allocates a
//! byte owes as many bytes of work, and the debt is paid by what background workers do beyond what is owed, or else by marking. More work than
//! in the last cycle is taken for the worst, all that is allocated, with a tenth more room.
//!
//! The [`Limiter`] sees to it that all this never takes more than half of the processors' time for long: assists end before the program does.
//!
//! A limit below what is live, or hardly above, would make every allocation collect. So where a limit leaves [less than an eighth](TIGHT) of what is live, a cycle that
//! only the limit asked for is followed by at least as long a time in which the limit alone does not ask again: at most half of the
//! time goes into collection, and the limit is exceeded rather than the program stalled. Go draws the line in
//! the same place. Otherwise the limit is kept: what is allocated between two cycles pays for them.

use crate::env::HeapUsage;
use crate::stats::Reason;
use crate::units::{Bytes, Nanos};

mod limiter;

pub use limiter::Limiter;

/// The smallest goal at `GOGC=100`, as in Go.
const MIN_HEAP: Bytes = Bytes::mib(4);

/// The smallest growth that leads to a cycle, even at `GOGC=0`: what Go gives a cycle as its least runway.
const MIN_RUNWAY: Bytes = Bytes::kib(64);

/// The part of a memory limit, in percent, that is left free for inaccuracies, as in Go.
const LIMIT_HEADROOM_PERCENT: u64 = 3;

/// The least that is left free of a memory limit, as in Go.
const LIMIT_HEADROOM_MIN: Bytes = Bytes::mib(1);

/// The part of processor time that marking beside mutators is to take, as in Go.
pub const UTILISATION: f64 = 0.25;

/// Where on the way from what is live to the goal the trigger lies, at least and at most, as in Go.
const TRIGGER_RANGE: (f64, f64) = (0.7, 0.95);

/// Cycles whose largest cons/mark ratio is believed in, as in Go.
const REMEMBERED: usize = 4;

/// The least work that is taken to be left, as in Go: assists neither stop before the end nor have no ratio.
const LEAST_WORK: Bytes = Bytes(1000);

/// How much further than the goal the heap may grow when there turns out to be more work than in the last cycle.
const OVERSHOOT: f64 = 1.1;

/// A memory limit that leaves no more room than what is live divided by this is taken for one that cannot be kept.
const TIGHT: u64 = 8;

/// The wait before another attempt, when the world could not be stopped.
pub(crate) const RETRY_AFTER: Nanos = Nanos::millis(10);

/// How much the heap may grow, relative to what is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcPercent {
    /// By so many percent.
    Percent(u32),
    /// Without bound: collections happen for the memory limit or by force only.
    Off,
}

impl GcPercent {
    /// What a value of `GOGC` says: `off`, or a number, of which a negative one means off as well. `None` if it says neither; Go takes that
    /// for 100.
    pub fn parse(text: &str) -> Option<GcPercent> {
        match text {
            "off" => Some(GcPercent::Off),
            _ => {
                let number = text.parse::<i32>().ok()?;
                Some(u32::try_from(number).map_or(GcPercent::Off, GcPercent::Percent))
            }
        }
    }
}

impl Default for GcPercent {
    fn default() -> Self {
        GcPercent::Percent(100)
    }
}

/// What the pacer aims at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Growth from one cycle to the next.
    pub percent: GcPercent,
    /// The most memory that the process should have from the system. `None` is no limit.
    pub memory_limit: Option<Bytes>,
}

/// A setting that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    value: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "malformed GOMEMLIMIT {:?}: expected `off`, or a number of bytes with an optional suffix B, KiB, MiB, GiB or TiB \
             (for example GOMEMLIMIT=512MiB)",
            self.value
        )
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The settings from the values of `GOGC` and `GOMEMLIMIT`, where they are set.
    ///
    /// As in Go, a `GOGC` that is not a number means 100, and a negative one means off.
    ///
    /// # Errors
    /// If `GOMEMLIMIT` is malformed: a limit that the operator believes in must not be ignored silently.
    pub fn parse(gogc: Option<&str>, memory_limit: Option<&str>) -> Result<Config, ConfigError> {
        let percent = gogc.and_then(GcPercent::parse).unwrap_or_default();
        let memory_limit = match memory_limit {
            None | Some("" | "off") => None,
            Some(text) => Some(Bytes::parse(text).ok_or_else(|| ConfigError {
                value: text.to_owned(),
            })?),
        };
        Ok(Config {
            percent,
            memory_limit,
        })
    }
}

/// What the pacer learns from a cycle.
#[derive(Clone, Copy, Debug)]
pub struct CycleReport {
    /// What asked for the cycle.
    pub reason: Reason,
    /// When it began.
    pub started: Nanos,
    /// When the world ran again.
    pub ended: Nanos,
    /// Memory in use now, with only the marked objects counted as collected.
    pub usage: HeapUsage,
    /// Stacks and statics that were scanned.
    pub roots: Bytes,
    /// What marking beside mutators was like; `None` if they stood still.
    pub concurrent: Option<ConcurrentReport>,
}

/// What the pacer learns from a cycle that marked beside mutators.
#[derive(Clone, Copy, Debug)]
pub struct ConcurrentReport {
    /// Memory in use when the cycle began.
    pub heap_at_start: Bytes,
    /// The same when marking was over.
    pub heap_at_end: Bytes,
    /// Bytes looked through: of objects and of all roots.
    pub scanned: Bytes,
    /// The part of all processor time, from 0 to 1, that workers and assists took.
    pub utilisation: f64,
    /// The part that was spent on processors which had nothing else to do.
    pub idle: f64,
}

/// The controller. It has no clock and no memory of its own to look at: all it knows it is told.
#[derive(Clone, Debug)]
pub struct Pacer {
    config: Config,
    /// Collected memory after the last cycle.
    live_collected: Bytes,
    /// External memory after the last cycle, or what is left of it when what that cycle found dead has been dropped.
    live_external: Bytes,
    /// Stacks and statics scanned in the last cycle.
    roots: Bytes,
    /// Derived from `GOGC`; [`Bytes`]`(u64::MAX)` if off.
    percent_goal: Bytes,
    /// Derived from the memory limit; [`Bytes`]`(u64::MAX)` if there is none.
    limit_goal: Bytes,
    /// The limit alone asks for no cycle before.
    limit_again_at: Nanos,
    /// Nothing asks for a cycle before: the last attempt failed.
    retry_at: Nanos,
    /// Marking goes on beside mutators.
    concurrent: bool,
    /// What the last cycle looked through.
    scanned: Bytes,
    /// The cons/mark ratios of the last cycles, the latest first.
    cons_mark: [f64; REMEMBERED],
    limiter: Limiter,
}

const UNBOUNDED: Bytes = Bytes(u64::MAX);

impl Pacer {
    /// A pacer before the first cycle, for marking with the world stopped.
    #[must_use]
    pub fn new(config: Config, usage: &HeapUsage) -> Pacer {
        let mut pacer = Pacer {
            config,
            live_collected: Bytes(0),
            live_external: Bytes(0),
            roots: Bytes(0),
            percent_goal: UNBOUNDED,
            limit_goal: UNBOUNDED,
            limit_again_at: Nanos(0),
            retry_at: Nanos(0),
            concurrent: false,
            scanned: Bytes(0),
            cons_mark: [0.0; REMEMBERED],
            limiter: Limiter::default(),
        };
        pacer.revise(usage);
        pacer
    }

    /// The same, for marking beside mutators.
    #[must_use]
    pub fn concurrent(config: Config, usage: &HeapUsage) -> Pacer {
        Pacer {
            concurrent: true,
            ..Pacer::new(config, usage)
        }
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config
    }

    /// Puts other settings in force.
    pub fn reconfigure(&mut self, config: Config, usage: &HeapUsage) {
        self.config = config;
        self.revise(usage);
    }

    /// The size of heap (collected and external) by which the next cycle should be over; `u64::MAX` without
    /// bound.
    #[must_use]
    pub fn goal(&self) -> Bytes {
        self.percent_goal.min(self.limit_goal)
    }

    /// The size of heap at which the next cycle should start; below it, [`due`](Self::due) need not be asked.
    #[must_use]
    pub fn trigger(&self) -> Bytes {
        self.trigger_for(self.goal())
    }

    /// What the last cycle found live.
    fn live(&self) -> Bytes {
        self.live_collected.saturating_add(self.live_external)
    }

    fn trigger_for(&self, goal: Bytes) -> Bytes {
        if !self.concurrent || goal == UNBOUNDED {
            return goal;
        }
        let room = goal.saturating_sub(self.live()).0 as f64;
        let cons_mark = self.cons_mark.iter().copied().fold(0.0, f64::max);
        let meanwhile = cons_mark * (1.0 - UTILISATION) / UTILISATION * self.scanned.0 as f64;
        let (least, most) = TRIGGER_RANGE;
        let part = (room - meanwhile).clamp(room * least, room * most);
        self.live().saturating_add(Bytes(part as u64))
    }

    /// Why a cycle should start now, if it should.
    #[must_use]
    pub fn due(&self, usage: &HeapUsage, now: Nanos) -> Option<Reason> {
        let heap = usage.size();
        if usage.collected == Bytes(0) || now < self.retry_at {
            return None;
        }
        if heap >= self.trigger_for(self.percent_goal) {
            return Some(Reason::HeapGoal);
        }
        let limited = heap >= self.trigger_for(self.limit_goal);
        let may_ask = now >= self.limit_again_at || !self.limit_is_tight();
        (limited && may_ask).then_some(Reason::MemoryLimit)
    }

    /// Whether the limit leaves next to nothing to be allocated.
    fn limit_is_tight(&self) -> bool {
        self.limit_goal.saturating_sub(self.live()).0 <= self.live().0 / TIGHT
    }

    /// From the last call until `now`, all `procs` processors together spent `collection` on collection.
    pub fn note_time(&mut self, now: Nanos, collection: Nanos, procs: usize) {
        self.limiter.update(now, collection, procs);
    }

    /// Bytes of work that whoever allocates a byte owes, with so much memory in use and `scanned` bytes looked through. None if collection has to stand
    /// back.
    #[must_use]
    pub fn assist_ratio(&self, usage: &HeapUsage, scanned: Bytes) -> f64 {
        if self.limiter.is_full() {
            return 0.0;
        }
        let heap = usage.size();
        let goal = match self.goal() {
            // A cycle that nothing but force asked for has no goal of its own: let the heap grow by as much as it does by default.
            UNBOUNDED => self.live().saturating_add(self.live().max(MIN_HEAP)),
            goal => goal,
        };
        let (mut expected, mut goal) = (self.scanned.0 as f64, goal.0 as f64);
        let all = heap.saturating_add(self.roots).0 as f64;
        if scanned.0 as f64 >= expected || heap.0 as f64 >= goal {
            expected = expected.max(all);
            goal = goal.max(heap.0 as f64) * OVERSHOOT;
        }
        let work = (expected - scanned.0 as f64).max(LEAST_WORK.0 as f64);
        let room = (goal - heap.0 as f64).max(1.0);
        work / room
    }

    /// Takes the results of a cycle into account.
    pub fn finish_cycle(&mut self, report: &CycleReport) {
        self.live_collected = report.usage.collected;
        self.live_external = report.usage.external;
        self.roots = report.roots;
        if let Some(concurrent) = report.concurrent {
            self.learn(&concurrent);
        }
        self.revise(&report.usage);
        let took = report.ended.saturating_sub(report.started);
        self.limit_again_at = if report.reason == Reason::MemoryLimit {
            report.ended + took
        } else {
            report.ended
        };
    }

    /// Takes note of how fast mutators allocated, compared with marking.
    fn learn(&mut self, report: &ConcurrentReport) {
        self.scanned = report.scanned;
        let busy = report.utilisation.clamp(0.0, 0.99);
        let allocated = report.heap_at_end.saturating_sub(report.heap_at_start).0 as f64;
        let marking = busy + report.idle.max(0.0);
        let ratio = allocated * marking / (report.scanned.0.max(1) as f64 * (1.0 - busy));
        self.cons_mark.rotate_right(1);
        self.cons_mark[0] = ratio;
    }

    /// A cycle that was due could not be run: asks for none for a while.
    pub fn attempt_failed(&mut self, now: Nanos) {
        self.retry_at = now + RETRY_AFTER;
    }

    /// Computes the goals again, for memory use that has changed since.
    pub fn revise(&mut self, usage: &HeapUsage) {
        self.live_external = self.live_external.min(usage.external);
        self.percent_goal = self.goal_by_percent();
        self.limit_goal = self.goal_by_limit(usage);
    }

    fn goal_by_percent(&self) -> Bytes {
        let GcPercent::Percent(percent) = self.config.percent else {
            return UNBOUNDED;
        };
        let share = |of: Bytes| {
            let part = u128::from(of.0) * u128::from(percent) / 100;
            Bytes(u64::try_from(part).unwrap_or(u64::MAX))
        };
        self.live()
            .saturating_add(share(self.live().saturating_add(self.roots)))
            .max(share(MIN_HEAP))
            .max(self.live().saturating_add(MIN_RUNWAY))
    }

    fn goal_by_limit(&self, usage: &HeapUsage) -> Bytes {
        let Some(limit) = self.config.memory_limit else {
            return UNBOUNDED;
        };
        let heap = usage.size();
        let other = usage.mapped.saturating_sub(usage.idle).saturating_sub(heap);
        let excess = usage.mapped.saturating_sub(limit);
        let room = limit.saturating_sub(other.saturating_add(excess));
        let headroom = Bytes(room.0 / 100 * LIMIT_HEADROOM_PERCENT).max(LIMIT_HEADROOM_MIN);
        room.saturating_sub(headroom).max(self.live())
    }
}

#[cfg(test)]
mod cycles;
#[cfg(test)]
mod tests;
