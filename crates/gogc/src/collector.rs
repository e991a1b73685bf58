//! The seam between methods of collection: what every collector offers to the runtime around it.
//!
//! The runtime is written against [`Collector`], so that reference counting, generations or concurrent
//! marking can take the place of [`MarkSweep`](crate::MarkSweep). It is used as a type parameter, never as a
//! trait object.

use std::fmt;

use crate::barrier::{Barrier, BarrierBuffer};
use crate::env::{ObjectAddr, SweepStep};
use crate::pacer::Config;
use crate::stats::{CycleStats, Phase, Reason};
use crate::units::Bytes;

/// Why there was no cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CycleError<E> {
    /// The world could not be stopped, for the reason that it gives. The heap is as it was; a later attempt
    /// may succeed.
    NotStopped(E),
}

impl<E: fmt::Display> fmt::Display for CycleError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CycleError::NotStopped(why) => {
                write!(
                    f,
                    "no garbage collection: the world could not be stopped: {why}"
                )
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for CycleError<E> {}

/// A method of collection at work.
///
/// [`flush_barrier`](Collector::flush_barrier), [`scan_newborn`](Collector::scan_newborn) and [`assist`](Collector::assist) are for mutators, in sections
/// in which the world does not stop (obligation 8 of [`World`](crate::World)).
pub trait Collector {
    /// Why the world could not be stopped.
    type Error;

    /// Runs a cycle and returns when it is over.
    ///
    /// [`Reason::Forced`] waits for a cycle that began after the call, and until everything is swept. For
    /// other reasons a cycle that is already running will do, and sweeping goes on in small steps.
    ///
    /// # Errors
    /// If the world cannot be stopped.
    fn collect(&self, reason: Reason) -> Result<CycleStats, CycleError<Self::Error>>;

    /// Runs a cycle if the pacer asks for one and none is running. Cheap if not: to be called when an
    /// allocation cache is refilled.
    ///
    /// # Errors
    /// If the world cannot be stopped. Then none is due for some milliseconds.
    fn collect_if_due(&self) -> Result<Option<CycleStats>, CycleError<Self::Error>>;

    /// What the collector is doing.
    fn phase(&self) -> Phase;

    /// The barrier that stores to collected objects pass.
    fn barrier(&self) -> &Barrier;

    /// Takes what a mutator's barrier has recorded, and empties the buffer.
    fn flush_barrier(&self, buffer: &mut BarrierBuffer);

    /// Has an object that was born marked be scanned: for one with so many pointers that to shade them one by one would take long. To be called when it is
    /// initialised, before the section ends in which it was allocated.
    fn scan_newborn(&self, object: ObjectAddr);

    /// The caller has allocated so many bytes. It may have to mark for that, some hundred microseconds at most. Cheap when nothing is marked.
    fn assist(&self, allocated: Bytes);

    /// Mutators have allocated faster than marking can bear, and more is owed than [`assist`](Self::assist) could pay, because all work is in the hands of
    /// others: whoever allocates had better wait before it does so again.
    fn owes(&self) -> bool {
        false
    }

    /// Sweeps some `limit` bytes of the heap, on behalf of whoever has time.
    fn sweep(&self, limit: Bytes) -> SweepStep;

    /// Whether mutators may be held up for the sake of the goal while objects are marked: not while collection, which has had more than half of the processors' time, has to
    /// stand back.
    fn may_hold_up(&self) -> bool {
        false
    }

    /// Puts other settings in force; returns those before.
    fn reconfigure(&self, config: Config) -> Config;

    /// Computes the goal again for the present use of memory; to be called now and then under a memory limit.
    fn revise(&self);

    /// The size of heap by which the next cycle should be over.
    fn goal(&self) -> Bytes;

    /// The size of heap at which the next cycle begins.
    fn trigger(&self) -> Bytes;

    /// The last cycle.
    fn last_cycle(&self) -> Option<CycleStats>;
}
