//! The load meter: was the machine ours while something was measured?
//!
//! Two signs are watched. *Slowness*: a fixed piece of work, dependent arithmetic on every processor at once, is timed before and after each run,
//! and compared with the fastest that it has ever been; it notices what no counter of this system shows, such as a neighbour on the same host. (A walk
//! through memory was tried as well: on a shared host its time varies several times over without a trace of that in the runs.) *Foreign time*: processor time that the kernel counted during the run and that neither this tool nor its children
//! used, and time that the hypervisor gave to others.
//!
//! A run is disturbed when either is beyond its threshold. The thresholds are wide enough that an idle machine's own timers pass.

use std::fmt;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The work may take this many times its fastest.
const SLOW: f64 = 1.2;

/// Share of one processor that others may use.
const FOREIGN: f64 = 0.15;

/// Below this much foreign time nothing is concluded: the kernel counts in ticks of 10 ms.
const GRAIN: f64 = 0.04;

/// Why a run does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Disturbance {
    /// The fixed work took this many times its fastest.
    Slow(f64),
    /// Others used this share of a processor.
    Foreign(f64),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disturbance::Slow(times) => write!(
                f,
                "the machine ran {times:.1} times slower than at its best"
            ),
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
            own: used(libc::RUSAGE_SELF) + used(libc::RUSAGE_CHILDREN),
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

/// Seconds of processor time, as getrusage has them.
fn used(who: libc::c_int) -> f64 {
    // SAFETY: getrusage fills the struct, for which zero is valid.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// A reading before or after a run.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Duration,
    clocks: Clocks,
    /// How long the fixed work took, in seconds.
    work: f64,
}

/// See the head of the file.
pub struct Meter {
    begin: Instant,
    fastest: f64,
}

impl Meter {
    /// Finds out what the machine can do; takes about a second. Also says who disturbs already.
    pub fn calibrate() -> (Meter, Option<Disturbance>) {
        let mut meter = Meter {
            begin: Instant::now(),
            fastest: f64::INFINITY,
        };
        let before = meter.read();
        std::thread::sleep(Duration::from_millis(500));
        for _ in 0..10 {
            meter.read();
        }
        let after = meter.read();
        let disturbance = meter.judge(&before, &after);
        (meter, disturbance)
    }

    /// A reading of now; takes about 25 ms.
    pub fn read(&mut self) -> Reading {
        let work = work_everywhere().min(work_everywhere());
        self.fastest = self.fastest.min(work);
        Reading {
            at: self.begin.elapsed(),
            clocks: Clocks::read(),
            work,
        }
    }

    /// Was there a disturbance between these readings?
    pub fn judge(&self, before: &Reading, after: &Reading) -> Option<Disturbance> {
        let slow = before.work.max(after.work) / self.fastest;
        if slow > SLOW {
            return Some(Disturbance::Slow(slow));
        }
        let (a, b) = (&before.clocks, &after.clocks);
        let foreign = (b.busy - a.busy) - (b.own - a.own) + (b.stolen - a.stolen);
        let share = foreign / (after.at - before.at).as_secs_f64().max(1e-3);
        (foreign > GRAIN && share > FOREIGN).then_some(Disturbance::Foreign(share))
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

    const METER: fn() -> Meter = || Meter {
        begin: Instant::now(),
        fastest: 0.010,
    };

    #[test]
    fn what_we_use_ourselves_disturbs_nobody() {
        let (before, after) = (
            reading(1.0, 50.0, 0.0, 7.0, 0.010),
            reading(2.0, 52.0, 0.0, 8.95, 0.011),
        );
        assert_eq!(METER().judge(&before, &after), None);
    }

    #[test]
    fn what_others_use_does() {
        let before = reading(1.0, 50.0, 0.0, 7.0, 0.010);
        let busy = reading(2.0, 51.5, 0.0, 8.0, 0.010);
        assert_eq!(
            METER().judge(&before, &busy),
            Some(Disturbance::Foreign(0.5))
        );
        let stolen = reading(2.0, 51.0, 0.25, 8.0, 0.010);
        assert_eq!(
            METER().judge(&before, &stolen),
            Some(Disturbance::Foreign(0.25))
        );
    }

    #[test]
    fn a_tick_or_two_in_a_short_run_is_no_proof() {
        let (before, after) = (
            reading(1.0, 50.0, 0.0, 7.0, 0.010),
            reading(1.1, 50.13, 0.0, 7.1, 0.010),
        );
        assert_eq!(METER().judge(&before, &after), None);
    }

    #[test]
    fn slowness_before_or_after_counts() {
        let calm = reading(1.0, 0.0, 0.0, 0.0, 0.010);
        let slow = reading(2.0, 0.0, 0.0, 0.0, 0.020);
        assert_eq!(METER().judge(&calm, &slow), Some(Disturbance::Slow(2.0)));
        assert_eq!(
            METER().judge(&slow, &reading(3.0, 0.0, 0.0, 0.0, 0.010)),
            Some(Disturbance::Slow(2.0))
        );
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
