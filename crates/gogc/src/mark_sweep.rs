//! Tri-colour mark-sweep, with the world stopped or beside the mutators.
//!
//! Two methods that share everything but when the world stands still. [`Method::StopTheWorld`] stops it for all of marking: the simplest, with the best
//! throughput and the longest pauses; what everything else is measured against. [`Method::Concurrent`] stops it twice and shortly. Both then have the heap see to
//! finalizers and weak pointers, and sweep while mutators run. Nothing moves.
//!
//! | file | what |
//! | --- | --- |
//! | `stopped` | a cycle of the first method |
//! | `concurrent` | a cycle of the second, and why it is right |
//! | `generational` | a collector of its own: the first method on a part of the heap at a time |
//! | `check` | whether the marks are right, for tests |
//!
//! Locks: the collector's own are taken before the world is stopped, or by nobody but the one thread that has
//! the turn. So a thread that was stopped while waiting for a collection holds none that the cycle needs.

use crate::atomic::{AtomicBool, AtomicU8, AtomicU64, Mutex, MutexGuard, Ordering};
use std::fmt;
use std::sync::PoisonError;

use crate::assist::Account;
use crate::backoff::Backoff;
use crate::barrier::{Barrier, BarrierBuffer};
use crate::collector::{Collector, CycleError};
use crate::env::{Event, HeapView, ObjectAddr, RootSink, Roots, SweepStep, World};
use crate::mark::{Marker, Marking};
use crate::pacer::{Config, CycleReport, Pacer};
use crate::stats::{CycleStats, Phase, PhaseCpu, Reason};
use crate::turn::{Served, Turn, Turns};
use crate::units::{Bytes, Nanos};

mod check;
mod concurrent;
mod generational;
mod stopped;

pub use generational::{Generational, Thresholds};

/// Heap swept at a stretch when a sweep has to be finished.
const SWEEP_STRETCH: Bytes = Bytes::mib(1);

/// When the world stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// For all of marking.
    StopTheWorld,
    /// When marking begins and when it ends.
    #[default]
    Concurrent,
}

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
    method: Method,
    barrier: Barrier,
    phase: AtomicU8,
    turns: Turns,
    /// Shared by the thread that has the turn, the markers it has the world run, and, while the barrier is on, mutators.
    marking: Marking,
    account: Account,
    /// Processor time that marking beside mutators took in this cycle.
    spent: concurrent::Spent,
    /// A cycle whose end the world could not be stopped for. Of the thread that has the turn.
    begun: Mutex<Option<concurrent::Begun>>,
    /// When to go on with that, in nanoseconds; `u64::MAX` while there is none. For a look without the lock.
    retry_at: AtomicU64,
    pacer: Mutex<Pacer>,
    /// The pacer's trigger, for a look without its lock.
    trigger: AtomicU64,
    /// Processor time of all cycles so far, in nanoseconds.
    cpu: AtomicU64,
    checked: AtomicBool,
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
    pub fn new(heap: H, world: W, config: Config, method: Method) -> Result<Self, BuildError> {
        let marking = Marking::new(&world).ok_or(BuildError::NoMemory)?;
        let usage = heap.usage();
        let pacer = match method {
            Method::StopTheWorld => Pacer::new(config, &usage),
            Method::Concurrent => Pacer::concurrent(config, &usage),
        };
        Ok(MarkSweep {
            trigger: AtomicU64::new(pacer.trigger().0),
            heap,
            world,
            method,
            barrier: if W::SNAPSHOT {
                Barrier::deletions()
            } else {
                Barrier::new()
            },
            phase: AtomicU8::new(Phase::Off as u8),
            turns: Turns::default(),
            marking,
            account: Account::default(),
            spent: concurrent::Spent::default(),
            begun: Mutex::new(None),
            retry_at: AtomicU64::new(u64::MAX),
            pacer: Mutex::new(pacer),
            cpu: AtomicU64::new(0),
            checked: AtomicBool::new(false),
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

    /// When the world stands still.
    pub fn method(&self) -> Method {
        self.method
    }

    /// When [`collect_if_due`](Collector::collect_if_due) should be called, whatever the size of the heap: there is a cycle under way that nobody is at, because the
    /// world could not be stopped for its end. None if there is no such cycle.
    pub fn retry_at(&self) -> Option<Nanos> {
        let retry_at = self.retry_at.load(Ordering::Relaxed);
        (retry_at != u64::MAX).then_some(Nanos(retry_at))
    }

    /// Whether, at the end of each marking, with the world stopped, everything is to be marked once more in the plainest way, and compared. A
    /// reachable object without a mark is a panic. For tests: such a stop is as long as that takes.
    pub fn check_marks(&self, check: bool) {
        self.checked.store(check, Ordering::Relaxed);
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

    /// The sweep of the last cycle is finished, and a cycle begins.
    fn announce(&self, cycle: u64, reason: Reason) -> Announced {
        self.finish_sweep();
        let announced = Announced {
            started: self.world.now(),
            usage: self.heap.usage(),
            goal: lock(&self.pacer).goal(),
        };
        self.world.event(&Event::CycleStart {
            cycle,
            reason,
            usage: announced.usage,
            goal: announced.goal,
        });
        self.enter(Phase::SweepTermination, announced.started);
        announced
    }

    /// The world could not be stopped for a cycle to begin.
    fn not_begun(&self, why: W::Error) -> CycleError<W::Error> {
        let now = self.world.now();
        self.enter(Phase::Off, now);
        self.with_pacer(|pacer| pacer.attempt_failed(now));
        CycleError::NotStopped(why)
    }

    fn run_cycle(
        &self,
        turn: Turn<'_>,
        reason: Reason,
    ) -> Result<CycleStats, CycleError<W::Error>> {
        let (stats, report) = match self.method {
            Method::StopTheWorld => {
                self.run_stopped(turn.cycle, reason, |_| self.heap.start_mark())?
            }
            Method::Concurrent => self.run_concurrent(turn.cycle, reason)?,
        };
        self.with_pacer(|pacer| pacer.finish_cycle(&report));
        let stats = self.add_up(stats, report.ended);
        self.world.event(&Event::CycleEnd(stats));
        turn.complete(stats);
        Ok(stats)
    }

    /// Adds the cycle's processor time to that of all before.
    fn add_up(&self, stats: CycleStats, ended: Nanos) -> CycleStats {
        let lost = match self.method {
            // With the world stopped, what markers do not use is lost to the program nevertheless.
            Method::StopTheWorld => stats.cpu.total() + stats.cpu.idle,
            Method::Concurrent => stats.cpu.total(),
        };
        let so_far = self.cpu.fetch_add(lost.0, Ordering::Relaxed) + lost.0;
        let available = u128::from(ended.0) * stats.procs as u128;
        let percent = (u128::from(so_far) * 100)
            .checked_div(available)
            .unwrap_or(0);
        CycleStats {
            cpu_percent: percent.min(100) as u32,
            ..stats
        }
    }

    /// Scans what could not be remembered for want of memory. The world is stopped.
    fn recover(&self, cycle: u64) {
        if self.marking.forgot() {
            self.world.event(&Event::BuffersRefused { cycle });
            Marker::new(&self.heap, &self.world, &self.marking).recover();
        }
    }

    /// Marks from `roots` and from what is grey in the pool until nothing is grey, with the world stopped. Returns how many markers
    /// worked.
    fn mark_round(&self, cycle: u64, roots: &impl Roots) -> u64 {
        let (heap, world, marking) = (&self.heap, &self.world, &self.marking);
        marking.start_round();
        let workers = AtomicU64::new(0);
        world.run_workers(&|| {
            workers.fetch_add(1, Ordering::Relaxed);
            Marker::new(heap, world, marking).work(roots);
        });
        self.recover(cycle);
        workers.into_inner()
    }

    /// Keeps the objects that the heap wants to keep for their finalizers. The world is stopped.
    fn revive(&self, cycle: u64) {
        let mut marker = Marker::new(&self.heap, &self.world, &self.marking);
        self.heap
            .before_sweep(&mut |object| marker.shade_object(object));
        drop(marker);
        if self.marking.has_work() || self.marking.forgot() {
            self.mark_round(cycle, &NoRoots);
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

    #[cold]
    fn collect_if_really_due(&self) -> Result<Option<CycleStats>, CycleError<W::Error>> {
        let Some(turn) = self.turns.try_begin() else {
            return Ok(None);
        };
        // Asked again with the turn in hand: a cycle may have ended since.
        let (usage, now) = (self.heap.usage(), self.world.now());
        let due = match self.retry_at() {
            // What for is known since it began.
            Some(retry_at) => (now >= retry_at).then_some(Reason::HeapGoal),
            None => lock(&self.pacer).due(&usage, now),
        };
        match due {
            Some(reason) => self.run_cycle(turn, reason).map(Some),
            None => Ok(None),
        }
    }
}

/// What was known when a cycle began.
struct Announced {
    started: Nanos,
    usage: crate::env::HeapUsage,
    goal: Bytes,
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
        let heap = usage.size();
        if heap.0 < self.trigger.load(Ordering::Relaxed) && self.retry_at().is_none() {
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

    fn flush_barrier(&self, buffer: &mut BarrierBuffer) {
        // Off, nothing that was recorded matters any more; on, it does not go off before this returns.
        if self.barrier.is_on() {
            Marker::new(&self.heap, &self.world, &self.marking).absorb(buffer);
        }
        buffer.clear();
    }

    fn scan_newborn(&self, object: ObjectAddr) {
        if self.barrier.is_on() {
            Marker::new(&self.heap, &self.world, &self.marking).scan_later(object);
        }
    }

    fn assist(&self, allocated: Bytes) {
        if self.barrier.is_on()
            && let Some(work) = self.account.charge(allocated)
        {
            self.assist_by(work);
        }
    }

    fn owes(&self) -> bool {
        self.barrier.is_on() && self.account.owes()
    }

    fn may_hold_up(&self) -> bool {
        self.barrier.is_on() && self.account.is_charging()
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

    fn trigger(&self) -> Bytes {
        Bytes(self.trigger.load(Ordering::Relaxed))
    }

    fn last_cycle(&self) -> Option<CycleStats> {
        self.turns.last()
    }
}

impl<H: HeapView, W: World> Drop for MarkSweep<H, W> {
    fn drop(&mut self) {
        self.marking.dispose(&self.world);
    }
}

#[cfg(test)]
mod tests;
