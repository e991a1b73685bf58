//! A cycle as the line that Go prints under `GODEBUG=gctrace=1`.
//!
//! Tools parse this line, so its format is Go's to the letter (`runtime/extern.go` describes it,
//! `gcMarkTermination` in `runtime/mgc.go` prints it). Formatting allocates nothing.
//!
//! ```text
//! gc 7 @1.250s 3%: 0.012+1.2+0.003 ms clock, 0.024+0/0.34/1.2+0.006 ms cpu, 4->4->1 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 2 P
//! ```

use std::fmt;

use crate::stats::{CycleStats, Reason};
use crate::units::{Bytes, Nanos};

/// Displays a cycle as Go's trace line, without the line end.
#[derive(Clone, Copy, Debug)]
pub struct GcTrace<'a>(pub &'a CycleStats);

impl fmt::Display for GcTrace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0;
        let seconds = Decimal {
            value: s.started.0 / 1_000_000,
            decimals: 3,
        };
        write!(
            f,
            "gc {} @{seconds}s {}%: {}+{}+{} ms clock, {}+{}/{}/{}+{} ms cpu, {}->{}->{} MB, {} MB goal, \
             {} MB stacks, {} MB globals, {} P",
            s.cycle,
            s.cpu_percent,
            Millis(s.clock.sweep_termination),
            Millis(s.clock.mark),
            Millis(s.clock.mark_termination),
            Millis(s.cpu.sweep_termination),
            Millis(s.cpu.assist),
            Millis(s.cpu.background),
            Millis(s.cpu.idle),
            Millis(s.cpu.mark_termination),
            megabytes(s.heap_before),
            megabytes(s.heap_after_mark),
            megabytes(s.heap_live),
            megabytes(s.goal),
            megabytes(s.marked.stacks),
            megabytes(s.marked.globals),
            s.procs,
        )?;
        if s.reason == Reason::Forced {
            f.write_str(" (forced)")?;
        }
        Ok(())
    }
}

fn megabytes(bytes: Bytes) -> u64 {
    bytes.0 >> 20
}

/// `value / 10^decimals`, with that many decimals.
struct Decimal {
    value: u64,
    decimals: u32,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10u64.pow(self.decimals);
        let (whole, fraction) = (self.value / unit, self.value % unit);
        if self.decimals == 0 {
            return write!(f, "{whole}");
        }
        write!(
            f,
            "{whole}.{fraction:0width$}",
            width = self.decimals as usize
        )
    }
}

/// Milliseconds: whole ones from ten upwards, below that two significant digits, of which at most three
/// decimals.
struct Millis(Nanos);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.0;
        if nanos >= 10_000_000 {
            return write!(f, "{}", nanos / 1_000_000);
        }
        let mut value = nanos / 1_000;
        if value == 0 {
            return f.write_str("0");
        }
        let mut decimals = 3;
        while value >= 100 {
            value /= 10;
            decimals -= 1;
        }
        Decimal { value, decimals }.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{PhaseClock, PhaseCpu, Tally};

    fn stats() -> CycleStats {
        CycleStats {
            cycle: 7,
            reason: Reason::HeapGoal,
            started: Nanos(1_250_999_999),
            clock: PhaseClock {
                sweep_termination: Nanos(12_345),
                mark: Nanos(1_234_567),
                mark_termination: Nanos(3_999),
            },
            cpu: PhaseCpu {
                sweep_termination: Nanos(24_690),
                assist: Nanos(0),
                background: Nanos(349_999),
                idle: Nanos(1_200_000),
                mark_termination: Nanos(12_345_678),
            },
            longest_pause: Nanos(5),
            heap_before: Bytes::mib(4),
            heap_after_mark: Bytes(Bytes::mib(5).0 - 1),
            heap_live: Bytes::mib(1),
            goal: Bytes::mib(5),
            marked: Tally {
                stacks: Bytes::mib(2),
                globals: Bytes::kib(900),
                ..Tally::default()
            },
            procs: 2,
            cpu_percent: 3,
        }
    }

    #[test]
    fn the_whole_line() {
        assert_eq!(
            GcTrace(&stats()).to_string(),
            "gc 7 @1.250s 3%: 0.012+1.2+0.003 ms clock, 0.024+0/0.34/1.2+12 ms cpu, 4->4->1 MB, 5 MB goal, \
             2 MB stacks, 0 MB globals, 2 P"
        );
    }

    #[test]
    fn a_forced_cycle_says_so() {
        let forced = CycleStats {
            reason: Reason::Forced,
            ..stats()
        };
        assert!(GcTrace(&forced).to_string().ends_with(" P (forced)"));
        let periodic = CycleStats {
            reason: Reason::Periodic,
            ..stats()
        };
        assert!(GcTrace(&periodic).to_string().ends_with(" P"));
    }

    #[test]
    fn times_keep_two_digits_as_go_does() {
        let golden = [
            (0, "0"),
            (999, "0"),
            (1_000, "0.001"),
            (99_999, "0.099"),
            (100_000, "0.10"),
            (999_999, "0.99"),
            (1_000_000, "1.0"),
            (9_999_999, "9.9"),
            (10_000_000, "10"),
            (1_234_567_890, "1234"),
        ];
        for (nanos, text) in golden {
            assert_eq!(Millis(Nanos(nanos)).to_string(), text);
        }
    }
}
