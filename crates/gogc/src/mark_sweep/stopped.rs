//! A cycle with the world stopped for all of marking.
//!
//! Finish the last sweep, stop the world, mark in parallel from all roots, let the heap see to finalizers and weak pointers, start the sweep, start the
//! world.
//!
//! Invariant: from `start_mark` to `start_sweep` the world stands still, so the reachable objects are the same throughout, and what is unmarked at the
//! end is unreachable. The write barrier is on for that time as it is for longer beside mutators; here none runs to see it.

use super::*;
use crate::env::Stop;
use crate::stats::{PhaseClock, Tally};

/// When the parts of a cycle ended and what was found, as known when the world is about to start again.
struct Marked {
    stopped_at: Nanos,
    marked_at: Nanos,
    tally: Tally,
    workers: u64,
    heap_after_mark: Bytes,
    heap_live: Bytes,
    ended: Nanos,
}

impl<H: HeapView, W: World> MarkSweep<H, W> {
    /// A cycle. `start` clears the marks, and may have objects be scanned besides those that the roots lead to.
    pub(super) fn run_stopped(
        &self,
        cycle: u64,
        reason: Reason,
        start: impl FnOnce(&mut Marker<'_, H, W>),
    ) -> Result<(CycleStats, CycleReport), CycleError<W::Error>> {
        let world = &self.world;
        let Announced {
            started,
            usage,
            goal,
        } = self.announce(cycle, reason);
        let stopping_at = world.now();
        let marked = match world.with_stopped(Stop::Whole, |roots| self.mark(cycle, roots, start)) {
            Ok(marked) => marked,
            Err(why) => return Err(self.not_begun(why)),
        };
        // SAFETY: the barrier is off, so no mutator uses the buffers, and neither does any marker.
        unsafe { self.marking.trim(world) };
        let ended = marked.ended;
        self.enter(Phase::Sweep, ended);

        let usage_after = self.heap.usage();
        let report = CycleReport {
            reason,
            started,
            ended,
            usage: usage_after,
            roots: marked.tally.stacks + marked.tally.globals,
            concurrent: None,
        };
        let clock = PhaseClock {
            sweep_termination: marked.stopped_at.saturating_sub(started),
            mark: marked.marked_at.saturating_sub(marked.stopped_at),
            mark_termination: ended.saturating_sub(marked.marked_at),
        };
        let procs = world.procs();
        let stats = CycleStats {
            cycle,
            reason,
            started,
            clock,
            heap_before: usage.size(),
            heap_after_mark: marked.heap_after_mark,
            heap_live: marked.heap_live,
            goal,
            marked: marked.tally,
            longest_pause: ended.saturating_sub(stopping_at),
            procs,
            cpu: processor_time(&clock, procs as u64, marked.workers),
            cpu_percent: 0,
        };
        Ok((stats, report))
    }

    /// The part of a cycle with the world stopped.
    fn mark(
        &self,
        cycle: u64,
        roots: &W::Roots,
        start: impl FnOnce(&mut Marker<'_, H, W>),
    ) -> Marked {
        let (heap, world) = (&self.heap, &self.world);
        let stopped_at = world.now();
        self.enter(Phase::Mark, stopped_at);
        self.marking.start_cycle();
        start(&mut Marker::new(heap, world, &self.marking));
        self.barrier.set(true);
        let workers = self.mark_round(cycle, roots);

        let marked_at = world.now();
        self.enter(Phase::MarkTermination, marked_at);
        self.revive(cycle);
        self.check(roots);
        let usage = heap.usage();
        let tally = self.marking.tally();
        self.barrier.set(false);
        heap.start_sweep(tally.marked);
        let live = heap.usage();
        Marked {
            stopped_at,
            marked_at,
            tally,
            workers,
            heap_after_mark: usage.size(),
            heap_live: live.size(),
            ended: world.now(),
        }
    }
}

/// The world standing still costs all its processors, whether markers use them or not; what markers do not use is idle to the program, but lost to it
/// nevertheless.
fn processor_time(clock: &PhaseClock, procs: u64, workers: u64) -> PhaseCpu {
    let of_all = |time: Nanos| Nanos(time.0 * procs);
    PhaseCpu {
        sweep_termination: of_all(clock.sweep_termination),
        assist: Nanos(0),
        background: Nanos(clock.mark.0 * workers.min(procs)),
        idle: Nanos(clock.mark.0 * procs.saturating_sub(workers)),
        mark_termination: of_all(clock.mark_termination),
    }
}
