//! Stop-the-world tri-colour mark-sweep: the method that everything else is measured against.
//!
//! One cycle: finish the last sweep, stop the world, mark in parallel from all roots, let the heap see to
//! finalizers and weak pointers, start the sweep, start the world. Sweeping goes on while mutators run.
//! Nothing moves.
//!
//! Invariant: from `start_mark` to `start_sweep` the world stands still, so the reachable objects are the
//! same throughout, and what is unmarked at the end is unreachable. The write barrier is switched on for that
//! time as a concurrent collector would do for longer; here no mutator runs to see it.
//!
//! Locks: the collector's own are taken before the world is stopped, or by nobody but the one thread that has
//! the turn. So a thread that was stopped while waiting for a collection holds none that the cycle needs.

use crate::atomic::{AtomicU8, AtomicU64, Mutex, MutexGuard, Ordering};
use std::fmt;
use std::sync::PoisonError;

use crate::backoff::Backoff;
use crate::barrier::{Barrier, BarrierBuffer};
use crate::collector::{Collector, CycleError};
use crate::env::{Event, HeapView, RootSink, Roots, SweepStep, World};
use crate::mark::{Marker, Marking};
use crate::pacer::{Config, CycleReport, Pacer};
use crate::stats::{CycleStats, Phase, PhaseClock, PhaseCpu, Reason, Tally};
use crate::turn::{Served, Turn, Turns};
use crate::units::{Bytes, Nanos};

/// Heap swept at a stretch when a sweep has to be finished.
const SWEEP_STRETCH: Bytes = Bytes::mib(1);

/// Why a collector could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The world refused memory for the first buffers of grey objects (64 KiB).
    NoMemory,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no memory for the collector's first buffers (64 KiB): raise the memory limit of the process \
             (ulimit -v, or its cgroup)",
        )
    }
}

impl std::error::Error for BuildError {}

/// The collector. Shared by all mutators, usually for the life of the process.
pub struct MarkSweep<H: HeapView, W: World> {
    heap: H,
    world: W,
    barrier: Barrier,
    phase: AtomicU8,
    turns: Turns,
    /// Used by the thread that has the turn, and the markers it has the world run.
    marking: Mutex<Marking>,
    pacer: Mutex<Pacer>,
    /// The pacer's trigger, for a look without its lock.
    trigger: AtomicU64,
    /// Processor time of all cycles so far, in nanoseconds.
    cpu: AtomicU64,
}

/// When the parts of a cycle ended and what was found, as known when the world is about to start again.
struct Stopped {
    stopped_at: Nanos,
    marked_at: Nanos,
    tally: Tally,
    workers: u64,
    heap_after_mark: Bytes,
}

/// The roots of a round that has none: the grey objects are in the pool already.
struct NoRoots;

// SAFETY: there is no root to present, and no lock to take.
unsafe impl Roots for NoRoots {
    fn jobs(&self) -> usize {
        0
    }

    fn scan(&self, _job: usize, _sink: &mut impl RootSink) {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<H: HeapView, W: World> MarkSweep<H, W> {
    /// A collector of `heap` for the mutators of `world`.
    ///
    /// # Errors
    /// If the world refuses the first little memory.
    pub fn new(heap: H, world: W, config: Config) -> Result<Self, BuildError> {
        let marking = Marking::new(&world).ok_or(BuildError::NoMemory)?;
        let pacer = Pacer::new(config, &heap.usage());
        Ok(MarkSweep {
            trigger: AtomicU64::new(pacer.trigger().0),
            heap,
            world,
            barrier: Barrier::new(),
            phase: AtomicU8::new(Phase::Off as u8),
            turns: Turns::default(),
            marking: Mutex::new(marking),
            pacer: Mutex::new(pacer),
            cpu: AtomicU64::new(0),
        })
    }

    /// The heap.
    pub fn heap(&self) -> &H {
        &self.heap
    }

    /// The world.
    pub fn world(&self) -> &W {
        &self.world
    }

    /// Changes the pacer and publishes its trigger.
    fn with_pacer<R>(&self, f: impl FnOnce(&mut Pacer) -> R) -> R {
        let mut pacer = lock(&self.pacer);
        let result = f(&mut pacer);
        self.trigger.store(pacer.trigger().0, Ordering::Relaxed);
        result
    }

    fn enter(&self, phase: Phase, at: Nanos) {
        self.phase.store(phase as u8, Ordering::Release);
        self.world.event(&Event::PhaseStart { phase, at });
    }

    fn sweep_some(&self, limit: Bytes) -> SweepStep {
        let step = self.heap.sweep(limit);
        if step.done {
            let (sweep, off) = (Phase::Sweep as u8, Phase::Off as u8);
            let _ = self
                .phase
                .compare_exchange(sweep, off, Ordering::Release, Ordering::Relaxed);
        }
        step
    }

    fn finish_sweep(&self) {
        let mut backoff = Backoff::default();
        loop {
            let step = self.sweep_some(SWEEP_STRETCH);
            if step.done {
                return;
            }
            if step.swept == Bytes(0) {
                backoff.wait();
            }
        }
    }

    fn run_cycle(
        &self,
        turn: Turn<'_>,
        reason: Reason,
    ) -> Result<CycleStats, CycleError<W::Error>> {
        let world = &self.world;
        self.finish_sweep();
        let started = world.now();
        let usage = self.heap.usage();
        let goal = lock(&self.pacer).goal();
        world.event(&Event::CycleStart {
            cycle: turn.cycle,
            reason,
            usage,
            goal,
        });
        self.enter(Phase::SweepTermination, started);

        let stopped = match world.with_stopped(|roots| self.mark(turn.cycle, roots)) {
            Ok(stopped) => stopped,
            Err(why) => {
                let now = world.now();
                self.enter(Phase::Off, now);
                self.with_pacer(|pacer| pacer.attempt_failed(now));
                return Err(CycleError::NotStopped(why));
            }
        };
        let ended = world.now();
        self.enter(Phase::Sweep, ended);

        let usage_after = self.heap.usage();
        let report = CycleReport {
            reason,
            started,
            ended,
            usage: usage_after,
            roots: stopped.tally.stacks + stopped.tally.globals,
        };
        self.with_pacer(|pacer| pacer.finish_cycle(&report));
        let stats = CycleStats {
            cycle: turn.cycle,
            reason,
            started,
            clock: PhaseClock {
                sweep_termination: stopped.stopped_at.saturating_sub(started),
                mark: stopped.marked_at.saturating_sub(stopped.stopped_at),
                mark_termination: ended.saturating_sub(stopped.marked_at),
            },
            heap_before: usage.collected + usage.external,
            heap_after_mark: stopped.heap_after_mark,
            heap_live: stopped.tally.marked + usage_after.external,
            goal,
            marked: stopped.tally,
            longest_pause: ended.saturating_sub(started),
            procs: world.procs(),
            cpu: PhaseCpu::default(),
            cpu_percent: 0,
        };
        let stats = self.account(stats, stopped.workers, ended);
        world.event(&Event::CycleEnd(stats));
        turn.complete(stats);
        Ok(stats)
    }

    /// Adds processor times. The world standing still costs all its processors, whether markers use them or
    /// not; what markers do not use is idle to the program, but lost to it nevertheless.
    fn account(&self, stats: CycleStats, workers: u64, ended: Nanos) -> CycleStats {
        let procs = stats.procs as u64;
        let of_all = |time: Nanos| Nanos(time.0 * procs);
        let cpu = PhaseCpu {
            sweep_termination: of_all(stats.clock.sweep_termination),
            assist: Nanos(0),
            background: Nanos(stats.clock.mark.0 * workers.min(procs)),
            idle: Nanos(stats.clock.mark.0 * procs.saturating_sub(workers)),
            mark_termination: of_all(stats.clock.mark_termination),
        };
        let lost = cpu.total() + cpu.idle;
        let so_far = self.cpu.fetch_add(lost.0, Ordering::Relaxed) + lost.0;
        let available = u128::from(ended.0) * u128::from(procs);
        let percent = (u128::from(so_far) * 100)
            .checked_div(available)
            .unwrap_or(0);
        CycleStats {
            cpu,
            cpu_percent: percent.min(100) as u32,
            ..stats
        }
    }

    /// The part of a cycle with the world stopped.
    fn mark(&self, cycle: u64, roots: &W::Roots) -> Stopped {
        let (heap, world) = (&self.heap, &self.world);
        let stopped_at = world.now();
        self.enter(Phase::Mark, stopped_at);
        heap.start_mark();
        self.barrier.set(true);
        let mut marking = lock(&self.marking);
        marking.start_cycle();
        let workers = self.mark_round(cycle, &mut marking, roots);

        let marked_at = world.now();
        self.enter(Phase::MarkTermination, marked_at);
        self.revive(cycle, &mut marking);
        let usage = heap.usage();
        let tally = marking.tally();
        self.barrier.set(false);
        heap.start_sweep(tally.marked);
        marking.trim(world);
        Stopped {
            stopped_at,
            marked_at,
            tally,
            workers,
            heap_after_mark: usage.collected + usage.external,
        }
    }

    /// Marks from `roots` and from what is grey in the pool until nothing is grey. Returns how many markers
    /// worked.
    fn mark_round(&self, cycle: u64, marking: &mut Marking, roots: &impl Roots) -> u64 {
        let (heap, world) = (&self.heap, &self.world);
        marking.start_round();
        let marking = &*marking;
        let workers = AtomicU64::new(0);
        world.run_workers(&|| {
            workers.fetch_add(1, Ordering::Relaxed);
            Marker::new(heap, world, marking).work(roots);
        });
        if marking.forgot() {
            world.event(&Event::BuffersRefused { cycle });
            Marker::new(heap, world, marking).recover();
        }
        workers.into_inner()
    }

    /// Keeps the objects that the heap wants to keep for their finalizers.
    fn revive(&self, cycle: u64, marking: &mut Marking) {
        let mut marker = Marker::new(&self.heap, &self.world, marking);
        self.heap
            .before_sweep(&mut |object| marker.shade_object(object));
        drop(marker);
        if marking.has_work() || marking.forgot() {
            self.mark_round(cycle, marking, &NoRoots);
        }
    }

    fn serve(
        &self,
        served: Served<'_>,
        reason: Reason,
    ) -> Result<CycleStats, CycleError<W::Error>> {
        match served {
            Served::Run(turn) => self.run_cycle(turn, reason),
            Served::Done(stats) => Ok(stats),
        }
    }
}

impl<H: HeapView, W: World> Collector for MarkSweep<H, W> {
    type Error = W::Error;

    fn collect(&self, reason: Reason) -> Result<CycleStats, CycleError<W::Error>> {
        if reason != Reason::Forced {
            return self.serve(self.turns.any(), reason);
        }
        let stats = self.serve(self.turns.full(), reason)?;
        self.finish_sweep();
        Ok(stats)
    }

    #[inline]
    fn collect_if_due(&self) -> Result<Option<CycleStats>, CycleError<W::Error>> {
        let usage = self.heap.usage();
        if usage.collected.saturating_add(usage.external).0 < self.trigger.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.collect_if_really_due()
    }

    fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::Acquire))
    }

    fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// The world stands still while the barrier is on, so nothing of interest can have been recorded.
    fn flush_barrier(&self, buffer: &mut BarrierBuffer) {
        buffer.clear();
    }

    fn sweep(&self, limit: Bytes) -> SweepStep {
        self.sweep_some(limit)
    }

    fn reconfigure(&self, config: Config) -> Config {
        let usage = self.heap.usage();
        self.with_pacer(|pacer| {
            let before = pacer.config();
            pacer.reconfigure(config, &usage);
            before
        })
    }

    fn revise(&self) {
        let usage = self.heap.usage();
        self.with_pacer(|pacer| pacer.revise(&usage));
    }

    fn goal(&self) -> Bytes {
        lock(&self.pacer).goal()
    }

    fn last_cycle(&self) -> Option<CycleStats> {
        self.turns.last()
    }
}

impl<H: HeapView, W: World> MarkSweep<H, W> {
    #[cold]
    fn collect_if_really_due(&self) -> Result<Option<CycleStats>, CycleError<W::Error>> {
        let Some(turn) = self.turns.try_begin() else {
            return Ok(None);
        };
        // Asked again with the turn in hand: a cycle may have ended since.
        let (usage, now) = (self.heap.usage(), self.world.now());
        let due = lock(&self.pacer).due(&usage, now);
        match due {
            Some(reason) => self.run_cycle(turn, reason).map(Some),
            None => Ok(None),
        }
    }
}

impl<H: HeapView, W: World> Drop for MarkSweep<H, W> {
    fn drop(&mut self) {
        self.marking
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .dispose(&self.world);
    }
}

#[cfg(test)]
mod tests;
