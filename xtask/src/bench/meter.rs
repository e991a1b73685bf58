//! The load meter: did the contestants of a row run under like conditions?
//!
//! Two signs are watched. *Speed*: a fixed piece of work, dependent arithmetic on every processor at once, is timed before and after each run.
//! It notices what no counter of this system shows, such as a neighbour on the same host. (A walk through memory was tried as well: on a shared
//! host its time varies several times over without a trace of that in the runs.) *Foreign time*: processor time that the kernel counted during the
//! run and that neither this tool nor its children used, and time that the hypervisor gave to others.
//!
//! What is shown are ratios within a row and a round, so that is where speeds are compared: the largest group of runs whose readings are alike
//! stands, and a run outside of it, or one during which the speed changed, is disturbed. That the whole row ran slower than the machine can is no
//! disturbance. A shared machine is at its best for moments only; how far from it the readings were is told beside the results.
//!
//! Foreign time beyond its threshold disturbs a run by itself. The thresholds are wide enough that an idle machine's own timers pass.

use super::statistics::quantile;
use crate::process::processor_time;
use std::fmt;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The readings of a row in one round may differ by this factor.
const ALIKE: f64 = 1.25;

/// Share of one processor that others may use.
const FOREIGN: f64 = 0.15;

/// Below this much foreign time nothing is concluded: the kernel counts in ticks of 10 ms.
const GRAIN: f64 = 0.04;

/// A run with nobody else there, by the second in which it began, and the milliseconds of the work before and after.
#[cfg(test)]
pub fn alone(at: f64, work: [f64; 2]) -> Around {
    let [before, after] = [(at, work[0]), (at + 1.0, work[1])].map(|(at, work)| Reading {
        at: Duration::from_secs_f64(at),
        clocks: Clocks::default(),
        work: work / 1e3,
    });
    Around { before, after }
}

/// Why a run does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Disturbance {
    /// The machine's speed changed by this factor during the run, or from the row's other runs to this.
    Unlike(f64),
    /// Others used this share of a processor.
    Foreign(f64),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disturbance::Unlike(times) => {
                write!(f, "the machine's speed changed by a factor of {times:.1}")
            }
            Disturbance::Foreign(share) => {
                write!(f, "others used {:.0} % of a processor", share * 100.0)
            }
        }
    }
}

/// Processor time, in seconds, up to some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clocks {
    /// Used by anybody, all processors together.
    busy: f64,
    /// Taken by the hypervisor.
    stolen: f64,
    /// Used by this process and by its children that have ended.
    own: f64,
}

impl Clocks {
    /// Up to now. What cannot be read is zero, and then nothing is ever foreign.
    fn read() -> Clocks {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        // SAFETY: sysconf reads a constant.
        let tick = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64;
        let (busy, stolen) = parse_stat(&text).unwrap_or_default();
        Clocks {
            busy: busy / tick,
            stolen: stolen / tick,
            own: processor_time(libc::RUSAGE_SELF) + processor_time(libc::RUSAGE_CHILDREN),
        }
    }
}

/// Ticks of user and system time of all processors, and those stolen, from the text of `/proc/stat`. Time spent for interrupts is nobody's.
fn parse_stat(text: &str) -> Option<(f64, f64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let [user, nice, system, _idle, _wait, _irq, _soft, stolen, ..] = ticks[..] else {
        return None;
    };
    Some((user + nice + system, stolen))
}

/// A reading before or after a run.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Duration,
    clocks: Clocks,
    /// How long the fixed work took, in seconds.
    work: f64,
}

/// What was read before a run, and after it.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// Before.
    pub before: Reading,
    /// After.
    pub after: Reading,
}

impl Around {
    /// How long the fixed work took, in seconds: before and after.
    pub fn work(&self) -> [f64; 2] {
        [self.before.work, self.after.work]
    }

    fn fastest(&self) -> f64 {
        self.before.work.min(self.after.work)
    }

    fn slowest(&self) -> f64 {
        self.before.work.max(self.after.work)
    }

    /// Did others use the processors meanwhile?
    fn foreign(&self) -> Option<Disturbance> {
        let (a, b) = (&self.before.clocks, &self.after.clocks);
        let foreign = (b.busy - a.busy) - (b.own - a.own) + (b.stolen - a.stolen);
        let share = foreign / (self.after.at - self.before.at).as_secs_f64().max(1e-3);
        (foreign > GRAIN && share > FOREIGN).then_some(Disturbance::Foreign(share))
    }
}

/// Judges the runs of one row in one round, each against the others.
pub fn judge(runs: &[Around]) -> Vec<Option<Disturbance>> {
    let calm = || runs.iter().filter(|run| run.foreign().is_none());
    // Of equal groups the one with the latest run: what is repeated is likely to be like it.
    let group = calm()
        .map(|lowest| {
            let low = lowest.fastest();
            let is_alike = |run: &&Around| run.fastest() >= low && run.slowest() <= low * ALIKE;
            calm().filter(is_alike).collect::<Vec<_>>()
        })
        .max_by_key(|group| (group.len(), group.iter().map(|run| run.after.at).max()))
        .unwrap_or_default();
    let low = group.iter().map(|run| run.fastest()).reduce(f64::min);
    let high = group.iter().map(|run| run.slowest()).reduce(f64::max);
    let verdict = |run: &Around| {
        let (Some(low), Some(high)) = (low, high) else {
            return Some(Disturbance::Unlike(run.slowest() / run.fastest()));
        };
        let is_alike = run.fastest() >= low && run.slowest() <= low * ALIKE;
        (!is_alike).then(|| {
            Disturbance::Unlike((run.slowest() / low).max(high.max(run.slowest()) / run.fastest()))
        })
    };
    runs.iter()
        .map(|run| run.foreign().or_else(|| verdict(run)))
        .collect()
}

/// How fast the machine was, as shares of the best that was ever read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// In the middle of all readings.
    pub typical: f64,
    /// One reading in ten was below this.
    pub low: f64,
    /// One reading in ten was above this.
    pub high: f64,
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [typical, low, high] = [self.typical, self.low, self.high].map(|share| share * 100.0);
        write!(
            f,
            "The machine ran at {typical:.0} % of the best speed that was read, and at {low:.0} to {high:.0} % in eight of ten readings"
        )
    }
}

/// Takes the readings, and remembers how long the work took in each.
pub struct Meter {
    begin: Instant,
    works: Vec<f64>,
}

impl Meter {
    /// Finds out what the machine can do; takes about a second. Also says who disturbs already.
    pub fn calibrate() -> (Meter, Option<Disturbance>) {
        let mut meter = Meter {
            begin: Instant::now(),
            works: Vec::new(),
        };
        let before = meter.read();
        std::thread::sleep(Duration::from_millis(500));
        for _ in 0..10 {
            meter.read();
        }
        let after = meter.read();
        (meter, judge(&[Around { before, after }])[0])
    }

    /// A reading of now; takes about 25 ms.
    pub fn read(&mut self) -> Reading {
        let work = work_everywhere().min(work_everywhere());
        self.works.push(work);
        Reading {
            at: self.begin.elapsed(),
            clocks: Clocks::read(),
            work,
        }
    }

    /// Over all readings so far.
    pub fn speed(&self) -> Option<Speed> {
        let best = self.works.iter().copied().reduce(f64::min)?;
        let share = |at: f64| quantile(&self.works, at).map(|work| best / work);
        Some(Speed {
            typical: share(0.5)?,
            low: share(0.9)?,
            high: share(0.1)?,
        })
    }
}

/// Seconds that the fixed work takes, on every processor at once, where it takes longest.
fn work_everywhere() -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    let start = Barrier::new(processors);
    std::thread::scope(|scope| {
        let work = || {
            start.wait();
            work()
        };
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(0.0))
            .fold(0.0, f64::max)
    })
}

/// Some 10 ms: a chain of multiplications that no compiler can shorten.
fn work() -> f64 {
    const STEPS: usize = 6 << 20;
    let begin = Instant::now();
    let mut x = 1u64;
    for _ in 0..STEPS {
        x = x.wrapping_mul(6_364_136_223_846_793_005) ^ (x >> 29);
    }
    black_box(x);
    begin.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: f64, busy: f64, stolen: f64, own: f64, work: f64) -> Reading {
        Reading {
            at: Duration::from_secs_f64(at),
            clocks: Clocks { busy, stolen, own },
            work,
        }
    }

    /// A second in which others used so much, at an even speed.
    fn beside(busy: f64, stolen: f64, own: f64) -> Option<Disturbance> {
        let before = reading(1.0, 50.0, 0.0, 7.0, 0.010);
        let after = reading(2.0, 50.0 + busy, stolen, 7.0 + own, 0.010);
        judge(&[Around { before, after }])[0]
    }

    /// Runs one after the other, nobody else there, by the milliseconds of the work before and after each.
    fn runs(work: &[[f64; 2]]) -> Vec<Around> {
        let run = |(n, work): (usize, &[f64; 2])| alone(2.0 * n as f64, *work);
        work.iter().enumerate().map(run).collect()
    }

    fn disturbed(work: &[[f64; 2]]) -> Vec<bool> {
        let verdicts = judge(&runs(work));
        verdicts.iter().map(Option::is_some).collect()
    }

    #[test]
    fn what_we_use_ourselves_disturbs_nobody() {
        assert_eq!(beside(2.0, 0.0, 1.95), None);
    }

    #[test]
    fn what_others_use_does() {
        assert_eq!(beside(1.5, 0.0, 1.0), Some(Disturbance::Foreign(0.5)));
        assert_eq!(beside(1.0, 0.25, 1.0), Some(Disturbance::Foreign(0.25)));
    }

    #[test]
    fn a_tick_or_two_in_a_short_run_is_no_proof() {
        let before = reading(1.0, 50.0, 0.0, 7.0, 0.010);
        let after = reading(1.1, 50.13, 0.0, 7.1, 0.010);
        assert_eq!(judge(&[Around { before, after }]), [None]);
    }

    #[test]
    fn a_row_that_is_slow_as_a_whole_is_calm() {
        let slow = [[14.0, 13.0], [13.5, 15.0], [15.0, 14.0]];
        assert_eq!(disturbed(&slow), [false; 3]);
    }

    #[test]
    fn a_speed_that_changes_during_a_run_disturbs_it() {
        assert_eq!(
            judge(&runs(&[[10.0, 20.0]])),
            [Some(Disturbance::Unlike(2.0))]
        );
        let one = [[10.0, 10.0], [10.0, 14.0], [10.0, 11.0]];
        assert_eq!(disturbed(&one), [false, true, false]);
    }

    #[test]
    fn those_that_differ_from_most_are_disturbed_be_they_slow_or_fast() {
        let slow = [[10.0, 11.0], [10.5, 10.0], [16.0, 16.0], [10.0, 10.0]];
        assert_eq!(disturbed(&slow), [false, false, true, false]);
        let fast = [[16.0, 15.0], [10.0, 10.0], [16.0, 16.0], [15.0, 16.0]];
        assert_eq!(disturbed(&fast), [false, true, false, false]);
    }

    #[test]
    fn a_load_that_begins_in_the_middle_of_a_row_is_seen() {
        let begins = [[10.0, 10.0], [10.0, 20.0], [20.0, 20.0], [20.0, 21.0]];
        assert_eq!(disturbed(&begins), [true, true, false, false]);
    }

    #[test]
    fn of_two_that_differ_the_later_stands() {
        assert_eq!(disturbed(&[[10.0, 10.0], [14.0, 14.0]]), [true, false]);
        assert_eq!(disturbed(&[[14.0, 14.0], [10.0, 10.0]]), [true, false]);
        assert_eq!(disturbed(&[[10.0, 10.0], [11.0, 12.0]]), [false, false]);
    }

    #[test]
    fn a_run_beside_others_is_no_measure_for_the_rest() {
        let mut all = runs(&[[20.0, 20.0], [20.0, 20.0], [10.0, 10.0]]);
        for run in &mut all[..2] {
            run.after.clocks.busy = 0.9;
        }
        let verdicts = judge(&all);
        assert!(matches!(verdicts[0], Some(Disturbance::Foreign(_))));
        assert_eq!(verdicts[2], None);
    }

    #[test]
    fn speed_is_told_as_shares_of_the_best() {
        let meter = Meter {
            begin: Instant::now(),
            works: vec![0.010, 0.020, 0.020, 0.020, 0.040],
        };
        let speed = meter.speed().unwrap();
        assert_eq!(speed.typical, 0.5);
        assert!(speed.low < 0.4 && speed.high > 0.6, "{speed:?}");
        assert!(speed.to_string().contains("50 % of the best"));
    }

    #[test]
    fn the_kernels_text_is_understood() {
        let text = "cpu  100 20 30 4000 5 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(parse_stat(text), Some((150.0, 8.0)));
        assert_eq!(parse_stat("cpu 1 2\n"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_system_can_be_read() {
        let (before, begin) = (Clocks::read(), Instant::now());
        while begin.elapsed() < Duration::from_millis(50) {
            black_box(work());
        }
        let after = Clocks::read();
        assert!(after.own > before.own);
        assert!(after.busy >= before.busy && after.busy > 0.0);
    }
}
