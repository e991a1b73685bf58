//! Reference counting, deferred, with cycle collection.
//!
//! An object carries the number of pointers to it *from other objects*. Roots are not counted: stacks change too often. So a count of zero does not mean that an object is
//! dead, but that only roots can lead to it; whether one does is looked up in a stop, in which all roots are scanned (Deutsch and Bobrow, *An Efficient, Incremental,
//! Automatic Garbage Collector*, CACM 1976). What is dead is freed, and what only it led to, and so on. The work is in proportion to what has changed since the last
//! stop, and to what dies; not to what lives.
//!
//! Objects that lead to each other in a circle have counts above zero when they are dead. They are found by trial deletion (Bacon and Rajan,
//! *Concurrent Cycle Collection in Reference Counted Systems*, ECOOP 2001), in the file `cycles`, or not at all ([`Cycles::Leaked`]).
//!
//! **Why deferred, and in stops.** Counting at once is the simplest there is, but each root is then a counted handle, and each copy of it a write to memory shared by all
//! processors. The embedders that this crate is for have roots that it can look at. Freeing in stops only, instead of whenever a count falls to zero,
//! is what makes it safe beside several mutators without a lock on every pointer.
//!
//! # Why counts are right
//!
//! The barrier records each store as a pair: the pointer that it deletes, the pointer that it writes; and each birth as a store of the object over itself, so that an
//! object to which nothing ever points is looked at once. Mutators hand over what they have recorded before they stop, and two that store to one place exchange the values (rules 2 and 6
//! of [`barrier`](crate::barrier)). So, *in a stop, an object's count is the number of pointers to it from objects that have not been freed*: each such pointer was
//! written once, by a store or at birth, and counted; and each that is not there any more was deleted by exactly one store, and discounted, or its object has died, which
//! discounts all that are in it. Between stops a count may be off, below zero even, as one mutator's pair is handed over before another's. Nothing is concluded from counts then.
//!
//! # Why what is freed is dead, and what is dead is freed
//!
//! In a stop a flag is set in each object that a root leads to. An object is freed when its count is zero and it has no flag: neither a root nor an object leads to it. Conversely,
//! say that an object is dead, in no circle and not led to by one. Going back along pointers from it one comes to an object to which no pointer leads. Its count is zero, and it fell
//! to that by a discount, at birth at the latest: since the last stop, and then it is in the list `fresh`; or before, or in the last stop, and then that did not free it because it had
//! a flag, and put it into `held`, which becomes `fresh` in the end. So it is looked at. What it leads to is discounted, and falls to zero in its turn.
//!
//! **When memory for a list is refused**, a flag is set instead, and what is missing is found by a walk over the heap: an object whose count is zero shows that itself, and every other
//! is taken for a suspect.

use std::sync::PoisonError;

use crate::atomic::{AtomicBool, AtomicU8, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::barrier::{Barrier, BarrierBuffer};
use crate::collector::{Collector, CycleError};
use crate::env::{CountedHeap, Event, HeapUsage, ObjectAddr, Stop, SweepStep, World};
use crate::list::List;
use crate::pacer::{Config, CycleReport, GcPercent, Pacer};
use crate::stats::{CycleStats, Phase, PhaseClock, PhaseCpu, Reason, Tally};
use crate::turn::{Served, Turn, Turns};
use crate::units::{Bytes, Nanos};

mod cycles;
mod note;
mod reclaim;

use reclaim::Reclaim;

/// Allocation from one stop to the next. A stop looks at all that was born since the last: a quarter of a millisecond.
const STEP: Bytes = Bytes::kib(256);

/// What becomes of circles of dead objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cycles {
    /// They are looked for when the heap is at its goal, or a collection is forced.
    #[default]
    Found,
    /// They stay forever.
    Leaked,
}

/// Objects to be looked at.
struct Lists {
    /// Their count has fallen since the last stop, or was zero in it. The objects have a note of it.
    fresh: List,
    /// Zero and led to by a root. In the end of a stop it becomes `fresh`.
    held: List,
    /// Their count has fallen, but not to zero: each circle of dead objects is led to by one of these, or goes through it.
    suspects: List,
    /// What a traversal has still to look at.
    work: List,
    /// Of `suspects`, those that have died and are not freed before they are off the list.
    zombies: usize,
    /// An object is missing in `fresh`.
    incomplete: bool,
    /// An object is missing in `suspects`.
    all_suspect: bool,
}

impl Lists {
    fn all(&mut self) -> [&mut List; 4] {
        [
            &mut self.fresh,
            &mut self.held,
            &mut self.suspects,
            &mut self.work,
        ]
    }
}

/// The collector.
pub struct Counting<H: CountedHeap, W: World> {
    heap: H,
    world: W,
    cycles: Cycles,
    barrier: Barrier,
    phase: AtomicU8,
    turns: Turns,
    /// All counts change under this lock. Mutators take it where they are not stopped.
    lists: Mutex<Lists>,
    pacer: Mutex<Pacer>,
    /// The size of heap at which there is a stop.
    trigger: AtomicU64,
    checked: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a stop did, and when.
struct Stopped {
    at: Nanos,
    reclaimed_at: Nanos,
    looked_for_cycles: bool,
    tally: Tally,
    usage: HeapUsage,
}

impl<H: CountedHeap, W: World> Counting<H, W> {
    /// A collector of `heap` for the mutators of `world`.
    pub fn new(heap: H, world: W, config: Config, cycles: Cycles) -> Self {
        let usage = heap.usage();
        let pacer = Pacer::new(config, &usage);
        Counting {
            trigger: AtomicU64::new(Self::next_trigger(&pacer, &usage).0),
            heap,
            world,
            cycles,
            barrier: Barrier::counts(),
            phase: AtomicU8::new(Phase::Off as u8),
            turns: Turns::default(),
            lists: Mutex::new(Lists {
                fresh: List::new(),
                held: List::new(),
                suspects: List::new(),
                work: List::new(),
                zombies: 0,
                incomplete: false,
                all_suspect: false,
            }),
            pacer: Mutex::new(pacer),
            checked: AtomicBool::new(false),
        }
    }

    /// The heap.
    pub fn heap(&self) -> &H {
        &self.heap
    }

    /// The world.
    pub fn world(&self) -> &W {
        &self.world
    }

    /// Whether, at the end of each stop, all counts are to be compared with the pointers that there are. A count that is off is a panic. For tests: such a stop looks at
    /// the whole heap.
    pub fn check_counts(&self, check: bool) {
        self.checked.store(check, Ordering::Relaxed);
    }

    fn next_trigger(pacer: &Pacer, usage: &HeapUsage) -> Bytes {
        match pacer.config().percent {
            GcPercent::Off => pacer.trigger(),
            GcPercent::Percent(_) => usage.size().saturating_add(STEP),
        }
    }

    fn with_pacer<R>(&self, f: impl FnOnce(&mut Pacer) -> R) -> R {
        let mut pacer = lock(&self.pacer);
        let result = f(&mut pacer);
        let trigger = Self::next_trigger(&pacer, &self.heap.usage());
        self.trigger.store(trigger.0, Ordering::Relaxed);
        result
    }

    fn enter(&self, phase: Phase, at: Nanos) {
        self.phase.store(phase as u8, Ordering::Release);
        self.world.event(&Event::PhaseStart { phase, at });
    }

    fn run_cycle(
        &self,
        turn: Turn<'_>,
        reason: Reason,
    ) -> Result<CycleStats, CycleError<W::Error>> {
        let world = &self.world;
        let (cycle, started) = (turn.cycle, world.now());
        let (before, goal) = (self.heap.usage(), lock(&self.pacer).goal());
        world.event(&Event::CycleStart {
            cycle,
            reason,
            usage: before,
            goal,
        });
        self.enter(Phase::SweepTermination, started);
        let stopping_at = world.now();
        let stop = |roots: &W::Roots| (self.stop(cycle, roots, reason, goal), world.now());
        let (stopped, ended) = match world.with_stopped(Stop::Whole, stop) {
            Ok(stopped) => stopped,
            Err(why) => {
                let now = world.now();
                self.enter(Phase::Off, now);
                self.with_pacer(|pacer| pacer.attempt_failed(now));
                return Err(CycleError::NotStopped(why));
            }
        };
        self.enter(Phase::Off, ended);
        self.with_pacer(|pacer| {
            // Otherwise the heap may hold circles that nobody has looked for: it says nothing about the size of what lives.
            if stopped.looked_for_cycles {
                pacer.finish_cycle(&CycleReport {
                    reason,
                    started,
                    ended,
                    usage: stopped.usage,
                    roots: stopped.tally.stacks + stopped.tally.globals,
                    concurrent: None,
                });
            }
        });
        let clock = PhaseClock {
            sweep_termination: stopped.at.saturating_sub(started),
            mark: stopped.reclaimed_at.saturating_sub(stopped.at),
            mark_termination: ended.saturating_sub(stopped.reclaimed_at),
        };
        let procs = world.procs();
        let of_all = |time: Nanos| Nanos(time.0 * procs as u64);
        let stats = CycleStats {
            cycle,
            reason,
            started,
            clock,
            cpu: PhaseCpu {
                sweep_termination: of_all(clock.sweep_termination),
                background: clock.mark,
                idle: Nanos(of_all(clock.mark).0 - clock.mark.0),
                mark_termination: of_all(clock.mark_termination),
                ..PhaseCpu::default()
            },
            longest_pause: ended.saturating_sub(stopping_at),
            heap_before: before.size(),
            heap_after_mark: before.size(),
            heap_live: stopped.usage.size(),
            goal,
            marked: stopped.tally,
            procs,
            cpu_percent: 0,
        };
        world.event(&Event::CycleEnd(stats));
        turn.complete(stats);
        Ok(stats)
    }

    /// What is done while the world stands still.
    fn stop(&self, cycle: u64, roots: &W::Roots, reason: Reason, goal: Bytes) -> Stopped {
        let at = self.world.now();
        self.enter(Phase::Mark, at);
        let mut lists = lock(&self.lists);
        let mut reclaim = Reclaim::new(&self.heap, &self.world, &mut lists);
        if reclaim.is_short_of_memory() {
            self.world.event(&Event::BuffersRefused { cycle });
        }
        reclaim.flag_roots(roots);
        reclaim.release_fresh();
        let reclaimed_at = self.world.now();
        self.enter(Phase::MarkTermination, reclaimed_at);
        let is_full = reason != Reason::HeapGoal || self.heap.usage().size() >= goal;
        if is_full && self.cycles == Cycles::Found {
            reclaim.find_cycles();
        }
        reclaim.unflag_roots(roots);
        if self.checked.load(Ordering::Relaxed) {
            reclaim.check();
        }
        let tally = reclaim.finish();
        Stopped {
            at,
            reclaimed_at,
            looked_for_cycles: is_full,
            tally,
            usage: self.heap.usage(),
        }
    }

    #[cold]
    fn collect_if_really_due(&self) -> Result<Option<CycleStats>, CycleError<W::Error>> {
        let Some(turn) = self.turns.try_begin() else {
            return Ok(None);
        };
        let (usage, now) = (self.heap.usage(), self.world.now());
        if usage.size().0 < self.trigger.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let due = lock(&self.pacer).due(&usage, now);
        self.run_cycle(turn, due.unwrap_or(Reason::HeapGoal))
            .map(Some)
    }
}

impl<H: CountedHeap, W: World> Collector for Counting<H, W> {
    type Error = W::Error;

    fn collect(&self, reason: Reason) -> Result<CycleStats, CycleError<W::Error>> {
        let served = match reason {
            Reason::Forced => self.turns.full(),
            _ => self.turns.any(),
        };
        match served {
            Served::Run(turn) => self.run_cycle(turn, reason),
            Served::Done(stats) => Ok(stats),
        }
    }

    #[inline]
    fn collect_if_due(&self) -> Result<Option<CycleStats>, CycleError<W::Error>> {
        if self.heap.usage().size().0 < self.trigger.load(Ordering::Relaxed) {
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
        let mut lists = lock(&self.lists);
        let mut reclaim = Reclaim::new(&self.heap, &self.world, &mut lists);
        for pair in buffer.words().chunks_exact(2) {
            reclaim.count(pair[1]);
            reclaim.discount(pair[0]);
        }
        buffer.clear();
    }

    fn scan_newborn(&self, object: ObjectAddr) {
        let mut lists = lock(&self.lists);
        Reclaim::new(&self.heap, &self.world, &mut lists).count_children(object);
    }

    fn assist(&self, _allocated: Bytes) {}

    /// There is nothing to sweep: what is dead is freed in the stop.
    fn sweep(&self, _limit: Bytes) -> SweepStep {
        SweepStep {
            swept: Bytes(0),
            done: true,
        }
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
        lock(&self.pacer).revise(&usage);
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

impl<H: CountedHeap, W: World> Drop for Counting<H, W> {
    fn drop(&mut self) {
        for list in lock(&self.lists).all() {
            list.dispose(&self.world);
        }
    }
}

#[cfg(test)]
mod tests;
