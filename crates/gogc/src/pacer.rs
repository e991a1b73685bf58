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
//! meanwhile: the trigger is the goal. A concurrent collector starts earlier, by what is allocated while it
//! marks.
//!
//! A limit below what is live would make every allocation collect. So a cycle that only the limit asked for
//! is followed by at least as long a time in which the limit alone does not ask again: at most half of the
//! time goes into collection, and the limit is exceeded rather than the program stalled. Go draws the line in
//! the same place.

use crate::env::HeapUsage;
use crate::stats::Reason;
use crate::units::{Bytes, Nanos};

/// The smallest goal at `GOGC=100`, as in Go.
const MIN_HEAP: Bytes = Bytes::mib(4);

/// The smallest growth that leads to a cycle, even at `GOGC=0`: what Go gives a cycle as its least runway.
const MIN_RUNWAY: Bytes = Bytes::kib(64);

/// The part of a memory limit, in percent, that is left free for inaccuracies, as in Go.
const LIMIT_HEADROOM_PERCENT: u64 = 3;

/// The least that is left free of a memory limit, as in Go.
const LIMIT_HEADROOM_MIN: Bytes = Bytes::mib(1);

/// The wait before another attempt, when the world could not be stopped.
const RETRY_AFTER: Nanos = Nanos::millis(10);

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
}

/// The controller. It has no clock and no memory of its own to look at: all it knows it is told.
#[derive(Clone, Debug)]
pub struct Pacer {
    config: Config,
    /// Collected and external memory after the last cycle.
    live: Bytes,
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
}

const UNBOUNDED: Bytes = Bytes(u64::MAX);

impl Pacer {
    /// A pacer before the first cycle.
    #[must_use]
    pub fn new(config: Config, usage: &HeapUsage) -> Pacer {
        let mut pacer = Pacer {
            config,
            live: Bytes(0),
            roots: Bytes(0),
            percent_goal: UNBOUNDED,
            limit_goal: UNBOUNDED,
            limit_again_at: Nanos(0),
            retry_at: Nanos(0),
        };
        pacer.revise(usage);
        pacer
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
        self.goal()
    }

    /// Why a cycle should start now, if it should.
    #[must_use]
    pub fn due(&self, usage: &HeapUsage, now: Nanos) -> Option<Reason> {
        let heap = usage.collected.saturating_add(usage.external);
        if usage.collected == Bytes(0) || now < self.retry_at {
            return None;
        }
        if heap >= self.percent_goal {
            return Some(Reason::HeapGoal);
        }
        (heap >= self.limit_goal && now >= self.limit_again_at).then_some(Reason::MemoryLimit)
    }

    /// Takes the results of a cycle into account.
    pub fn finish_cycle(&mut self, report: &CycleReport) {
        self.live = report.usage.collected.saturating_add(report.usage.external);
        self.roots = report.roots;
        let took = report.ended.saturating_sub(report.started);
        self.limit_again_at = if report.reason == Reason::MemoryLimit {
            report.ended + took
        } else {
            report.ended
        };
        self.revise(&report.usage);
    }

    /// A cycle that was due could not be run: asks for none for a while.
    pub fn attempt_failed(&mut self, now: Nanos) {
        self.retry_at = now + RETRY_AFTER;
    }

    /// Computes the goals again, for memory use that has changed since.
    pub fn revise(&mut self, usage: &HeapUsage) {
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
        self.live
            .saturating_add(share(self.live.saturating_add(self.roots)))
            .max(share(MIN_HEAP))
            .max(self.live.saturating_add(MIN_RUNWAY))
    }

    fn goal_by_limit(&self, usage: &HeapUsage) -> Bytes {
        let Some(limit) = self.config.memory_limit else {
            return UNBOUNDED;
        };
        let heap = usage.collected.saturating_add(usage.external);
        let other = usage.mapped.saturating_sub(usage.idle).saturating_sub(heap);
        let excess = usage.mapped.saturating_sub(limit);
        let room = limit.saturating_sub(other.saturating_add(excess));
        let headroom = Bytes(room.0 / 100 * LIMIT_HEADROOM_PERCENT).max(LIMIT_HEADROOM_MIN);
        room.saturating_sub(headroom).max(self.live)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heap(collected: Bytes) -> HeapUsage {
        HeapUsage {
            collected,
            mapped: collected,
            ..HeapUsage::default()
        }
    }

    fn config(percent: u32, limit: Option<Bytes>) -> Config {
        Config {
            percent: GcPercent::Percent(percent),
            memory_limit: limit,
        }
    }

    fn cycle(pacer: &mut Pacer, reason: Reason, at: u64, took: u64, live: Bytes, roots: Bytes) {
        pacer.finish_cycle(&CycleReport {
            reason,
            started: Nanos(at),
            ended: Nanos(at + took),
            usage: heap(live),
            roots,
        });
    }

    #[test]
    fn the_first_goal_is_the_minimum_heap() {
        assert_eq!(
            Pacer::new(config(100, None), &heap(Bytes(0))).goal(),
            Bytes::mib(4)
        );
        assert_eq!(
            Pacer::new(config(50, None), &heap(Bytes(0))).goal(),
            Bytes::mib(2)
        );
        assert_eq!(
            Pacer::new(config(0, None), &heap(Bytes(0))).goal(),
            MIN_RUNWAY
        );
    }

    #[test]
    fn a_steady_heap_doubles_between_cycles() {
        let mut pacer = Pacer::new(Config::default(), &heap(Bytes(0)));
        let mut heap_size = Bytes(0);
        let mut cycles = 0;
        for step in 0..10_000 {
            heap_size += Bytes::kib(64);
            if let Some(reason) = pacer.due(&heap(heap_size), Nanos(step)) {
                assert_eq!(reason, Reason::HeapGoal);
                cycles += 1;
                heap_size = Bytes::mib(10);
                cycle(&mut pacer, reason, step, 1, heap_size, Bytes(0));
                assert_eq!(pacer.goal(), Bytes::mib(20));
            }
        }
        // 4 MiB, then 10 MiB of allocation per cycle, out of 625 MiB in all.
        assert_eq!(cycles, 1 + (625 - 4) / 10);
    }

    #[test]
    fn stacks_and_statics_earn_growth_too() {
        let mut pacer = Pacer::new(Config::default(), &heap(Bytes(0)));
        cycle(
            &mut pacer,
            Reason::HeapGoal,
            0,
            1,
            Bytes::mib(10),
            Bytes::mib(6),
        );
        assert_eq!(pacer.goal(), Bytes::mib(26));
    }

    #[test]
    fn nothing_collected_nothing_due() {
        let pacer = Pacer::new(Config::default(), &heap(Bytes(0)));
        let usage = HeapUsage {
            external: Bytes::mib(1000),
            ..HeapUsage::default()
        };
        assert_eq!(pacer.due(&usage, Nanos(0)), None);
    }

    #[test]
    fn off_means_off_but_for_the_limit() {
        let off = Config {
            percent: GcPercent::Off,
            memory_limit: None,
        };
        assert_eq!(
            Pacer::new(off, &heap(Bytes(0))).due(&heap(Bytes(1 << 50)), Nanos(0)),
            None
        );
        let limited = Config {
            memory_limit: Some(Bytes::mib(100)),
            ..off
        };
        let pacer = Pacer::new(limited, &heap(Bytes(0)));
        assert_eq!(
            pacer.goal(),
            Bytes(Bytes::mib(100).0 - Bytes::mib(100).0 / 100 * 3)
        );
        assert_eq!(
            pacer.due(&heap(Bytes::mib(98)), Nanos(0)),
            Some(Reason::MemoryLimit)
        );
    }

    #[test]
    fn memory_that_is_not_heap_is_taken_off_the_limit() {
        let usage = HeapUsage {
            collected: Bytes::mib(20),
            external: Bytes::mib(10),
            mapped: Bytes::mib(60),
            idle: Bytes::mib(10),
        };
        let pacer = Pacer::new(config(1000, Some(Bytes::mib(50))), &usage);
        // 20 MiB are neither heap nor idle, and the limit is exceeded by 10: 20 MiB are left, less 1 of
        // headroom.
        assert_eq!(pacer.limit_goal, Bytes::mib(19));
    }

    /// A live heap above the limit: cycles take at most half of the time.
    #[test]
    fn a_hopeless_limit_does_not_stall_the_program() {
        let mut pacer = Pacer::new(config(5000, Some(Bytes::mib(10))), &heap(Bytes(0)));
        let (mut now, mut collecting) = (0, 0);
        while now < 1_000_000 {
            match pacer.due(&heap(Bytes::mib(50)), Nanos(now)) {
                Some(reason) => {
                    assert_eq!(reason, Reason::MemoryLimit);
                    cycle(&mut pacer, reason, now, 700, Bytes::mib(50), Bytes(0));
                    now += 700;
                    collecting += 700;
                }
                None => now += 10,
            }
        }
        assert!(collecting <= now / 2 + 700, "{collecting} of {now}");
        assert!(collecting >= now / 3, "the limit is given up too easily");
    }

    #[test]
    fn a_failed_attempt_is_not_repeated_at_once() {
        let mut pacer = Pacer::new(Config::default(), &heap(Bytes(0)));
        let usage = heap(Bytes::mib(8));
        pacer.attempt_failed(Nanos(5));
        assert_eq!(pacer.due(&usage, Nanos(6)), None);
        assert!(pacer.due(&usage, Nanos(5) + RETRY_AFTER).is_some());
    }

    #[test]
    fn settings_are_read_as_go_reads_them() {
        let percent = |text| Config::parse(Some(text), None).unwrap().percent;
        assert_eq!(percent("off"), GcPercent::Off);
        assert_eq!(percent("-1"), GcPercent::Off);
        assert_eq!(percent("20"), GcPercent::Percent(20));
        assert_eq!(percent("many"), GcPercent::Percent(100));
        let limit = |text| Config::parse(None, Some(text)).map(|config| config.memory_limit);
        assert_eq!(limit("off"), Ok(None));
        assert_eq!(limit("1024"), Ok(Some(Bytes::kib(1))));
        assert_eq!(limit("3B"), Ok(Some(Bytes(3))));
        assert_eq!(limit("512MiB"), Ok(Some(Bytes::mib(512))));
        assert_eq!(limit("2TiB"), Ok(Some(Bytes(2 << 40))));
        for bad in [
            "5GB",
            "MiB",
            "-5MiB",
            "+5",
            "1.5GiB",
            "99999999TiB",
            "5 MiB",
        ] {
            assert!(
                limit(bad)
                    .unwrap_err()
                    .to_string()
                    .contains("GOMEMLIMIT=512MiB"),
                "{bad}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 256 }))]

        #[test]
        fn goals_are_bounded_by_what_they_should_be(
            percent in 0u32..5000, limit in prop::option::of(0u64..1 << 40), live in 0u64..1 << 40,
            roots in 0u64..1 << 30, external in 0u64..1 << 40, mapped in 0u64..1 << 41, idle in 0u64..1 << 40,
        ) {
            let mut pacer = Pacer::new(config(percent, limit.map(Bytes)), &heap(Bytes(0)));
            let usage = HeapUsage {
                collected: Bytes(live),
                external: Bytes(external),
                mapped: Bytes(mapped),
                idle: Bytes(idle),
            };
            let report = CycleReport {
                reason: Reason::HeapGoal,
                started: Nanos(0),
                ended: Nanos(1),
                usage,
                roots: Bytes(roots),
            };
            pacer.finish_cycle(&report);
            prop_assert!(pacer.goal() >= Bytes(live + external), "a goal below the live heap");
            if let Some(limit) = limit {
                prop_assert!(pacer.goal() <= Bytes(limit.max(live + external)));
            } else {
                prop_assert!(pacer.goal() >= Bytes(live + external) + MIN_RUNWAY);
                let more = Pacer { config: config(percent + 1, None), ..pacer.clone() }.goal_by_percent();
                prop_assert!(more >= pacer.goal(), "a larger GOGC gives no smaller goal");
            }
        }
    }
}
