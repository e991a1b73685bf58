//! Cycles as plain data: what asks for one, the phases it passes through, what it was like.

use crate::units::{Bytes, Nanos};

/// What asks for a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The heap has grown as far as `GOGC` lets it.
    HeapGoal,
    /// The memory limit is near.
    MemoryLimit,
    /// There was none for a long time.
    Periodic,
    /// The program.
    Forced,
}

/// What a collector is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Nothing; all is swept.
    Off,
    /// Finishing the sweep of the last cycle, stopping the world.
    SweepTermination,
    /// Marking.
    Mark,
    /// Finalizers and weak pointers.
    MarkTermination,
    /// What is unmarked is being freed, while mutators run.
    Sweep,
}

impl Phase {
    /// The phase whose number is `n`.
    pub(crate) fn from_u8(n: u8) -> Phase {
        let all = [
            Phase::Off,
            Phase::SweepTermination,
            Phase::Mark,
            Phase::MarkTermination,
            Phase::Sweep,
        ];
        all[usize::from(n)]
    }
}

/// What marking has done, in sums over all markers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects marked.
    pub objects: u64,
    /// Heap taken by marked objects.
    pub marked: Bytes,
    /// Heap scanned for pointers.
    pub heap_scanned: Bytes,
    /// Stacks, thread-locals and registers scanned.
    pub stacks: Bytes,
    /// Statics scanned.
    pub globals: Bytes,
    /// Rust heap scanned.
    pub rust_heap: Bytes,
}

impl Tally {
    /// Bytes looked through for pointers: of objects and of all roots. What the pacer calls work.
    #[must_use]
    pub fn looked_at(&self) -> Bytes {
        self.heap_scanned + self.stacks + self.globals + self.rust_heap
    }
}

/// How long each part of a cycle took by the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseClock {
    /// Finishing the last sweep and stopping the world.
    pub sweep_termination: Nanos,
    /// Marking.
    pub mark: Nanos,
    /// Finalizers, weak pointers, starting the sweep and the world.
    pub mark_termination: Nanos,
}

/// Processor time spent in each part of a cycle. Parts during which the world stands still count for all its
/// processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseCpu {
    /// Finishing the last sweep and stopping the world.
    pub sweep_termination: Nanos,
    /// Marking by mutators, in proportion to what they allocate.
    pub assist: Nanos,
    /// Marking by workers.
    pub background: Nanos,
    /// Marking on processors that had nothing else to do.
    pub idle: Nanos,
    /// Finalizers, weak pointers, starting the sweep and the world.
    pub mark_termination: Nanos,
}

impl PhaseCpu {
    /// All processor time that the mutators could otherwise have had.
    #[must_use]
    pub fn total(&self) -> Nanos {
        self.sweep_termination + self.assist + self.background + self.mark_termination
    }
}

/// One cycle from the decision to collect until the world runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CycleStats {
    /// The number of the cycle, counting from 1.
    pub cycle: u64,
    /// What asked for it.
    pub reason: Reason,
    /// When it began, on the world's clock.
    pub started: Nanos,
    /// Times by the clock.
    pub clock: PhaseClock,
    /// Processor times.
    pub cpu: PhaseCpu,
    /// How long the world stood still without interruption.
    pub longest_pause: Nanos,
    /// Collected and external memory in use when the cycle began.
    pub heap_before: Bytes,
    /// The same when marking was over.
    pub heap_after_mark: Bytes,
    /// The same without what was found dead.
    pub heap_live: Bytes,
    /// The size of heap by which the cycle was to be over.
    pub goal: Bytes,
    /// What marking has done.
    pub marked: Tally,
    /// The number of processors that mutators use.
    pub procs: usize,
    /// The part of all processor time since the clock's origin that collection has taken, in percent.
    pub cpu_percent: u32,
}
