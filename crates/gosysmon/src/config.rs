//! The constants of the policy, each with its reason. The defaults are Go's (`runtime/proc.go`).

use crate::units::Nanos;

/// How a [`Monitor`](crate::Monitor) behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The sleep while there is something to do: about what a system call may take before it counts as
    /// blocking, and long enough that the monitor costs little of one processor.
    pub min_sleep: Nanos,
    /// The longest sleep while anything runs: the precision with which slices and polls are watched over.
    pub max_sleep: Nanos,
    /// Rounds with nothing to do before sleeps begin to double: with the sleep above, a millisecond, so that
    /// a program that blocks often does not find its monitor asleep.
    pub idle_rounds: u32,
    /// A P that one goroutine has held for so long is taken: what others wait at most for their turn.
    pub slice: Nanos,
    /// A P whose system call has lasted so long is taken even if there is nothing else to do: it would keep
    /// the monitor awake.
    pub idle_syscall: Nanos,
    /// The network is polled if nobody has for so long: the delay that connections see when all Ps are busy.
    pub poll_period: Nanos,
    /// A collection is asked for if there was none for so long: garbage of a program that has gone quiet is
    /// freed, and its finalizers run. `None` never asks.
    pub gc_period: Option<Nanos>,
    /// Time to wait before asking again for a collection that was asked for and has not happened.
    pub gc_retry: Nanos,
    /// A worker that has been at one task for so long, without having said that it may be, is reported: longer than anything that a program
    /// computes between two looks at its channels, and short enough for whoever waits in front of it. `None` never reports.
    pub stall: Option<Nanos>,
    /// Waiters for locks are looked at so often: a lock that nobody gives back is noticed half as late again as a stall at most. `None` never looks.
    pub lock_period: Option<Nanos>,
    /// Percent of the memory limit from which on memory is given back: late enough to let a program have what it was given, early enough for a collection
    /// to end before the limit is reached.
    pub memory_high_percent: u32,
    /// Percent of the time that tasks may stall for want of memory before memory is given back. The kernel's own tools begin to worry at five to ten.
    pub memory_stall_percent: u32,
    /// The shortest time from one relief to the next: about what a collection of a large heap takes.
    pub relief_period: Nanos,
    /// While nothing runs and there is a limit or a count of stalls, memory is looked at so often: others in the group may press.
    pub idle_memory_period: Nanos,
    /// The scheduler's state is traced so often. `None` never traces. While tracing there is no deep sleep.
    pub trace_period: Option<Nanos>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            min_sleep: Nanos::micros(20),
            max_sleep: Nanos::millis(10),
            idle_rounds: 50,
            slice: Nanos::millis(10),
            idle_syscall: Nanos::millis(10),
            poll_period: Nanos::millis(10),
            gc_period: Some(Nanos::secs(120)),
            gc_retry: Nanos::secs(10),
            stall: Some(Nanos::secs(10)),
            lock_period: Some(Nanos::secs(5)),
            memory_high_percent: 90,
            memory_stall_percent: 10,
            relief_period: Nanos::secs(1),
            idle_memory_period: Nanos::secs(5),
            trace_period: None,
        }
    }
}
