//! Memory pressure: when the process had better give back what it can, before the system takes what it likes.
//!
//! A container's limit is not announced: the kernel first reclaims, which stalls whoever allocates, and then kills. Two signs come before that. What is in use nears the
//! limit; and tasks stall for want of memory ("pressure stall information", which Linux counts for each group and for the machine). At either, memory that the
//! program has freed is given back, and a collection frees more.
//!
//! Invariants: relief is asked for at most once per period; when it does not help, because the memory is needed, the pauses double up to a minute, so a program
//! that lives near its limit does not spend its time on collections.

use crate::config::Config;
use crate::units::Nanos;

/// What a process may use and uses, itself and others in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in use that cannot be had back by dropping caches.
    pub used: u64,
    /// Bytes that may be in use; `u64::MAX` for no limit.
    pub limit: u64,
    /// For how long tasks have stalled for want of memory, altogether; 0 where that is not known.
    pub stalled: Nanos,
}

/// The longest pause between two attempts that do not help.
const LONGEST_PAUSE: Nanos = Nanos::secs(60);

/// Stalls are measured over so long at least.
const WINDOW: Nanos = Nanos::millis(1000);

/// Relief has helped if so many percent less are in use.
const HELPED_PERCENT: u64 = 2;

/// What is remembered.
#[derive(Debug)]
pub(crate) struct PressureWatch {
    high_percent: u32,
    stall_percent: u32,
    period: Nanos,
    pause: Nanos,
    /// When the stalls were last measured, and how long they were then.
    window: Option<(Nanos, Nanos)>,
    /// Tasks stalled much in the last window.
    stalls: bool,
    /// When relief was last asked for, and what was in use then.
    asked: Option<(Nanos, u64)>,
    /// When there was pressure last.
    pressed: Nanos,
}

impl PressureWatch {
    pub(crate) fn new(config: &Config) -> PressureWatch {
        PressureWatch {
            high_percent: config.memory_high_percent,
            stall_percent: config.memory_stall_percent,
            period: config.relief_period,
            pause: config.relief_period,
            window: None,
            stalls: false,
            asked: None,
            pressed: Nanos(0),
        }
    }

    /// Whether memory is to be given back.
    pub(crate) fn is_due(&mut self, now: Nanos, memory: Memory) -> bool {
        self.measure(now, memory.stalled);
        let high = u128::from(memory.limit) * u128::from(self.high_percent);
        let near = memory.limit != u64::MAX && u128::from(memory.used) * 100 >= high;
        if !near && !self.stalls {
            return false;
        }
        // Who was well for so long is no hopeless case.
        let recovered = now.saturating_sub(self.pressed) >= LONGEST_PAUSE;
        self.pressed = now;
        if let Some((at, used)) = self.asked {
            if now.saturating_sub(at) < self.pause && !recovered {
                return false;
            }
            let helped = memory.used < used - used / 100 * HELPED_PERCENT;
            self.pause = if helped || recovered {
                self.period
            } else {
                Nanos(self.pause.0 * 2).min(LONGEST_PAUSE)
            };
        }
        self.asked = Some((now, memory.used));
        true
    }

    fn measure(&mut self, now: Nanos, stalled: Nanos) {
        let Some((since, before)) = self.window else {
            self.window = Some((now, stalled));
            return;
        };
        let passed = now.saturating_sub(since);
        if passed >= WINDOW {
            let share = stalled.saturating_sub(before).0.saturating_mul(100) / passed.0;
            self.stalls = share >= u64::from(self.stall_percent);
            self.window = Some((now, stalled));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn watch() -> PressureWatch {
        PressureWatch::new(&Config::default())
    }

    /// When relief is asked for in ten minutes, looked at every 100 ms; `memory` is told of each relief.
    fn reliefs(mut memory: impl FnMut(Nanos, usize) -> Memory) -> Vec<Nanos> {
        let mut watch = watch();
        let mut asked = Vec::new();
        for step in 0..6000 {
            let now = Nanos::millis(step * 100);
            if watch.is_due(now, memory(now, asked.len())) {
                asked.push(now);
            }
        }
        asked
    }

    fn used(used: u64) -> Memory {
        Memory {
            used,
            limit: GIB,
            stalled: Nanos(0),
        }
    }

    #[test]
    fn none_far_from_the_limit_or_without_one() {
        assert_eq!(reliefs(|_, _| used(GIB * 8 / 10)), []);
        let unlimited = Memory {
            used: 100 * GIB,
            limit: u64::MAX,
            stalled: Nanos(0),
        };
        assert_eq!(reliefs(|_, _| unlimited), []);
    }

    #[test]
    fn once_where_it_helps() {
        let memory = |_, count| used(if count == 0 { GIB * 95 / 100 } else { GIB / 2 });
        assert_eq!(reliefs(memory), [Nanos(0)]);
    }

    #[test]
    fn ever_more_seldom_where_it_does_not() {
        let asked = reliefs(|_, _| used(GIB * 95 / 100));
        let pauses: Vec<u64> = asked
            .windows(2)
            .map(|w| (w[1] - w[0]).0 / 1_000_000_000)
            .collect();
        assert_eq!(pauses[..6], [1, 2, 4, 8, 16, 32]);
        assert!(pauses[6..].iter().all(|&pause| pause == 60), "{pauses:?}");
    }

    #[test]
    fn at_once_again_after_a_good_time() {
        let memory = |now: Nanos, _| {
            let high = now < Nanos::secs(40) || now >= Nanos::secs(300);
            used(if high { GIB * 95 / 100 } else { GIB / 2 })
        };
        let asked = reliefs(memory);
        let later: Vec<_> = asked.iter().filter(|at| **at >= Nanos::secs(300)).collect();
        assert_eq!(*later[0], Nanos::secs(300));
        assert_eq!(*later[1] - *later[0], Nanos::secs(1));
    }

    #[test]
    fn when_tasks_stall_though_no_limit_is_near() {
        let memory = |now: Nanos, _| Memory {
            used: GIB,
            limit: u64::MAX,
            // A fifth of the time from the tenth second on.
            stalled: Nanos(now.saturating_sub(Nanos::secs(10)).0 / 5),
        };
        let asked = reliefs(memory);
        assert!(
            asked[0] >= Nanos::secs(11) && asked[0] <= Nanos::secs(12),
            "{:?}",
            asked[0]
        );
        let little = |now: Nanos, _| Memory {
            used: GIB,
            limit: u64::MAX,
            stalled: Nanos(now.0 / 20),
        };
        assert_eq!(reliefs(little), []);
    }

    proptest! {
        /// Whatever is seen: never twice within a period, never without a sign.
        #[test]
        fn is_moderate(steps in prop::collection::vec((0u64..3_000_000_000, any::<u64>(), any::<u64>(), 0u64..1_000_000_000), 1..200)) {
            let mut watch = watch();
            let (mut now, mut stalled, mut last) = (Nanos(0), Nanos(0), None);
            for (step, used, limit, stall) in steps {
                now = now + Nanos(step);
                stalled = stalled + Nanos(stall.min(step));
                let due = watch.is_due(now, Memory { used, limit, stalled });
                if due {
                    let near = limit != u64::MAX && u128::from(used) * 100 >= u128::from(limit) * 90;
                    prop_assert!(near || watch.stalls);
                    prop_assert!(last.is_none_or(|last| now - last >= Config::default().relief_period));
                    last = Some(now);
                }
            }
        }
    }
}
