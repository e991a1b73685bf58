//! A cycle that marks while mutators run.
//!
//! ```text
//!  mutators  ──────┤ ├───────────────────────────────────────────┤ ├──────────────
//!  collector  sweep │B│ round 0: roots, heap   round 1 .. : changed │E│ sweep
//!                    └ barrier on, born black ──────────────────────┘
//! ```
//!
//! - **B**, a short stop: the heap has new objects be born black, the barrier goes on, and roots that had better not be looked at while mutators
//!   run (registers, stacks that run) are shaded.
//! - **Rounds**, beside the mutators: all other roots are scanned and the heap is marked; then what has changed of the roots, as long as
//!   that is worth while. Mutators shade what they store, and assist.
//! - **E**, a short stop: what may have changed of the roots since it was scanned is scanned again, and what turns out to be grey is marked. If that
//!   is more than a stop should take, the world runs on, and there is another round.
//!
//! # Why nothing is lost
//!
//! *Claim: when the last stop has marked all there is, whatever a mutator can reach is marked.*
//!
//! Say that a pointer is *safe* if it leads to a marked object. At the end nothing is grey, so every marked object was either born black or
//! scanned.
//!
//! 1. **Every root is safe.** A word of a root that has changed since it was presented, or begun to be a root, is presented in the stop and shaded
//!    (obligation 5 of [`World`]). Any other was shaded as it is now when it was presented: it led to an object, which was marked then, or to none, and an object
//!    that was made there since was born black.
//! 2. **Every pointer in an object that was scanned is safe.** As it was when scanned, it was shaded. If it was stored later, the
//!    barrier has recorded it: every store from *B* on does (see [`barrier`](crate::barrier) for a store that is interrupted), and what is recorded is shaded, at
//!    the latest in the stop, as a root.
//! 3. **Every pointer in an object that was born black is safe**: it was shaded when the object was made (obligation 6 of [`HeapView`]), or the object is
//!    scanned like one that was found; and if it was stored later, by the barrier.
//!
//! By induction along the path from a root, every reachable object is marked. ∎
//!
//! The proof uses half of the barrier, Dijkstra's: shading the new value. For that the roots are looked at once more in the end. The other half, Yuasa's, is
//! what makes the end short. Without it a mutator could take the head of a long list from an object not yet scanned to its stack, and all of the
//! list would be found white in the stop. With it the head is shaded when it is taken out. There remain pointers that move between places that have no
//! barrier, from the Rust heap to a stack for example: from one not yet scanned to one that is scanned again, or the other way round. What hides there is found by a
//! round that looks again at what has changed, and by the limit on what is marked in a stop.
//!
//! # Worlds that are a snapshot
//!
//! If all roots are presented in *B* ([`World::SNAPSHOT`]), none need be looked at in *E*, and the barrier records nothing but the old value of each store
//! (Yuasa's half). *Claim: every object that is reachable in B is marked in the end.* Take a path to it from a root, as it is in *B*. The first object on the path was
//! marked in *B*. Let each object up to *o* be marked, and the next be *p*. *o* was there in *B*, so it was not born black: it is scanned. If *p* still stands in it then,
//! it is shaded. Otherwise something was stored over it since *B*, and the first such store, whoever else stores there at the same time, has read *p* before and
//! records it. ∎ A mutator has pointers from its roots, from objects, and of those born since: so to what was reachable in *B*, or born black.
//!
//! # When the world cannot be stopped at the end
//!
//! Then marking is not over: the barrier stays on, and the cycle is remembered. The next request goes on with it, and so does a
//! look whether a collection is due, when some time has passed ([`MarkSweep::retry_at`]): while the barrier is on the heap has no trigger that would have anybody ask.

use super::*;
use crate::env::{Background, Processor, Stop};
use crate::mark::Slice;
use crate::pacer::{ConcurrentReport, RETRY_AFTER};
use crate::stats::{PhaseClock, Tally};

/// Rounds beside the mutators from one stop to the next, at most.
const ROUNDS: u32 = 4;

/// If no more of the roots has changed, the rest is left to the stop: some tens of microseconds of scanning.
const LITTLE: Bytes = Bytes::kib(256);

/// How much of the heap may be marked in a stop, unless it is the last attempt: some hundred microseconds.
const STOP_LIMIT: Bytes = Bytes::kib(512);

/// What a marker does in a stop between two looks at what all have done.
const STOP_SLICE: Bytes = Bytes::kib(64);

/// Stops that may be given up because there is too much to do in them. Each has marked more than the one before, but mutators may be
/// just as fast.
const ATTEMPTS: u32 = 4;

/// Time between two looks at how marking goes.
const REVISE_EVERY: Nanos = Nanos(200_000);

/// Processor time, in nanoseconds, by who spent it.
#[derive(Default)]
pub(super) struct Spent {
    assist: AtomicU64,
    background: AtomicU64,
    idle: AtomicU64,
    /// When the assist ratio was computed last.
    revised: AtomicU64,
    /// Of `assist` and `background`, what the pacer has been told of.
    told: AtomicU64,
}

/// A cycle under way.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    cycle: u64,
    reason: Reason,
    started: Nanos,
    usage: crate::env::HeapUsage,
    goal: Bytes,
    /// When mutators ran again.
    running_at: Nanos,
    longest_pause: Nanos,
}

/// What is known when marking is over.
struct Ended {
    tally: Tally,
    heap_after_mark: Bytes,
    /// With only what lives counted as collected, before mutators ran again: what they allocate from then on is not alive because it is young.
    live: crate::env::HeapUsage,
}

impl<H: HeapView, W: World> MarkSweep<H, W> {
    pub(super) fn run_concurrent(
        &self,
        cycle: u64,
        reason: Reason,
    ) -> Result<(CycleStats, CycleReport), CycleError<W::Error>> {
        let under_way = lock(&self.begun).take();
        if let Some(begun) = under_way {
            self.retry_at.store(u64::MAX, Ordering::Relaxed);
            let result = self.end(begun)?;
            // It began before it was asked for.
            if reason != Reason::Forced {
                return Ok(result);
            }
        }
        let begun = self.begin(cycle, reason)?;
        self.end(begun)
    }

    fn begin(&self, cycle: u64, reason: Reason) -> Result<Begun, CycleError<W::Error>> {
        let (heap, world) = (&self.heap, &self.world);
        let Announced {
            started,
            usage,
            goal,
        } = self.announce(cycle, reason);
        let begin = |roots: &W::Roots| {
            heap.start_mark();
            self.marking.start_cycle();
            self.barrier.set(true);
            let mut marker = Marker::new(heap, world, &self.marking);
            for job in 0..roots.jobs() {
                roots.scan(job, &mut marker);
            }
            drop(marker);
            world.now()
        };
        let ratio = lock(&self.pacer).assist_ratio(&usage, Bytes(0));
        self.account.open(ratio);
        self.spent.reset(started);
        let stopping_at = world.now();
        let running_at = match world.with_stopped(Stop::Begin, begin) {
            Ok(now) => now,
            Err(why) => return Err(self.not_begun(why)),
        };
        self.enter(Phase::Mark, running_at);
        Ok(Begun {
            cycle,
            reason,
            started,
            usage,
            goal,
            running_at,
            longest_pause: running_at.saturating_sub(stopping_at),
        })
    }

    fn end(&self, mut begun: Begun) -> Result<(CycleStats, CycleReport), CycleError<W::Error>> {
        let world = &self.world;
        let mut attempts = 0;
        let mut round = 0;
        let (stopping_at, ended_at, ended) = loop {
            #[cfg(explore)]
            if goexplore::planted("the barrier goes off while objects are marked") {
                self.barrier.set(false);
            }
            round = self.mark_beside_mutators(round);
            if attempts == 0 {
                self.heap.look_ahead();
            }
            let stopping_at = world.now();
            let last = attempts == ATTEMPTS;
            let stopped = world.with_stopped(Stop::End, |roots| {
                (self.try_end(&begun, roots, last), world.now())
            });
            let mut paused_until = |now: Nanos| {
                begun.longest_pause = begun.longest_pause.max(now.saturating_sub(stopping_at))
            };
            match stopped {
                Ok((ended, now)) => {
                    paused_until(now);
                    match ended {
                        Some(ended) => break (stopping_at, now, ended),
                        None => attempts += 1,
                    }
                }
                Err(why) => {
                    let now = world.now();
                    paused_until(now);
                    *lock(&self.begun) = Some(begun);
                    // The program runs for as long as it was held up in vain.
                    let retry_at = now + RETRY_AFTER.max(now.saturating_sub(stopping_at));
                    self.retry_at.store(retry_at.0, Ordering::Relaxed);
                    self.with_pacer(|pacer| pacer.attempt_failed(now));
                    return Err(CycleError::NotStopped(why));
                }
            }
        };
        // SAFETY: the barrier is off, so no mutator uses the buffers, and no marker is at work.
        unsafe { self.marking.trim(world) };
        let stops = Nanos(begun.longest_pause.0 * 2 * world.procs() as u64);
        let spent = self.spent.since_last_look() + stops;
        lock(&self.pacer).note_time(ended_at, spent, world.procs());
        self.enter(Phase::Sweep, ended_at);
        Ok(self.describe(&begun, stopping_at, ended_at, &ended))
    }

    /// Rounds, until little changes. `round` is the first's number; returns the next.
    fn mark_beside_mutators(&self, first: u32) -> u32 {
        let world = &self.world;
        for round in first..first + ROUNDS {
            let changed = world.with_running(round, |roots, amount| {
                self.marking.start_round();
                world.mark_in_background(&|budget, on| self.background(roots, budget, on));
                amount
            });
            if changed <= LITTLE {
                return round + 1;
            }
        }
        first + ROUNDS
    }

    /// One step of a background worker, or several in a row.
    fn background(&self, roots: &W::Roots, budget: Bytes, on: Processor) -> Background {
        let mut begin = self.world.now();
        let mut note = |done| {
            let end = self.world.now();
            let spent = match on {
                Processor::Dedicated => &self.spent.background,
                Processor::Idle => &self.spent.idle,
            };
            spent.fetch_add(end.saturating_sub(begin).0, Ordering::Relaxed);
            begin = end;
            self.account.earn(done);
            self.revise_assists(end);
        };
        let marker = Marker::new(&self.heap, &self.world, &self.marking);
        let (done, state) = marker.slices(roots, budget, |done| {
            let go_on = self.world.go_on(on);
            if go_on {
                note(done);
            }
            go_on
        });
        note(done);
        match state {
            Slice::More => Background::Marked(done),
            Slice::Dry => Background::Dry(done),
            Slice::Over => Background::Over,
        }
    }

    /// Computes anew what a byte costs, now and then.
    fn revise_assists(&self, now: Nanos) {
        let revised = self.spent.revised.load(Ordering::Relaxed);
        if now.0.saturating_sub(revised) < REVISE_EVERY.0
            || self
                .spent
                .revised
                .compare_exchange(revised, now.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let usage = self.heap.usage();
        let scanned = self.marking.tally().looked_at();
        let spent = self.spent.since_last_look();
        let procs = self.world.procs();
        let mut pacer = lock(&self.pacer);
        pacer.note_time(now, spent, procs);
        self.account.set_ratio(pacer.assist_ratio(&usage, scanned));
    }

    #[cold]
    pub(super) fn assist_by(&self, work: Bytes) {
        let begin = self.world.thread_time();
        let marker = Marker::new(&self.heap, &self.world, &self.marking);
        let (done, _) = marker.slice(&NoRoots, work);
        self.account.earn(done);
        let spent = self.world.thread_time().saturating_sub(begin);
        self.spent.assist.fetch_add(spent.0, Ordering::Relaxed);
    }

    /// In the stop that ends marking, unless there is too much left for it: then `None`, and nothing has changed but that more is marked.
    fn try_end(&self, begun: &Begun, roots: &W::Roots, last: bool) -> Option<Ended> {
        let (heap, world, marking) = (&self.heap, &self.world, &self.marking);
        self.enter(Phase::MarkTermination, world.now());
        marking.start_round();
        let before = marking.tally().heap_scanned;
        let too_much = || !last && marking.tally().heap_scanned.saturating_sub(before) > STOP_LIMIT;
        world.run_workers(&|| {
            #[cfg(explore)]
            if goexplore::planted("the last stop leaves what is grey") {
                return;
            }
            let mut backoff = Backoff::default();
            while !too_much() {
                match Marker::new(heap, world, marking).slice(roots, STOP_SLICE).1 {
                    Slice::More => backoff = Backoff::default(),
                    Slice::Dry => backoff.wait(),
                    Slice::Over => return,
                }
            }
        });
        let unfinished = marking.has_work() || !marking.all_claimed(roots.jobs());
        #[cfg(explore)]
        let unfinished = unfinished && !goexplore::planted("the last stop leaves what is grey");
        if unfinished {
            self.enter(Phase::Mark, world.now());
            return None;
        }
        self.recover(begun.cycle);
        self.revive(begun.cycle);
        self.check(roots);
        let usage = heap.usage();
        let tally = marking.tally();
        self.barrier.set(false);
        heap.start_sweep(tally.marked);
        Some(Ended {
            tally,
            heap_after_mark: usage.size(),
            live: heap.usage(),
        })
    }

    fn describe(
        &self,
        begun: &Begun,
        stopping_at: Nanos,
        ended_at: Nanos,
        ended: &Ended,
    ) -> (CycleStats, CycleReport) {
        let world = &self.world;
        let clock = PhaseClock {
            sweep_termination: begun.running_at.saturating_sub(begun.started),
            mark: stopping_at.saturating_sub(begun.running_at),
            mark_termination: ended_at.saturating_sub(stopping_at),
        };
        let procs = world.procs();
        let of_all = |time: Nanos| Nanos(time.0 * procs as u64);
        let [assist, background, idle] =
            [&self.spent.assist, &self.spent.background, &self.spent.idle]
                .map(|time| Nanos(time.load(Ordering::Relaxed)));
        let cpu = PhaseCpu {
            sweep_termination: of_all(clock.sweep_termination),
            assist,
            background,
            idle,
            mark_termination: of_all(clock.mark_termination),
        };
        let usage = ended.live;
        let available = of_all(clock.mark).0.max(1) as f64;
        let heap_before = begun.usage.size();
        let tally = ended.tally;
        let report = CycleReport {
            reason: begun.reason,
            started: begun.started,
            ended: ended_at,
            usage,
            roots: tally.stacks + tally.globals,
            concurrent: Some(ConcurrentReport {
                heap_at_start: heap_before,
                heap_at_end: ended.heap_after_mark,
                scanned: tally.looked_at(),
                utilisation: (assist + background).0 as f64 / available,
                idle: idle.0 as f64 / available,
            }),
        };
        let stats = CycleStats {
            cycle: begun.cycle,
            reason: begun.reason,
            started: begun.started,
            clock,
            cpu,
            longest_pause: begun.longest_pause,
            heap_before,
            heap_after_mark: ended.heap_after_mark,
            heap_live: usage.size(),
            goal: begun.goal,
            marked: tally,
            procs,
            cpu_percent: 0,
        };
        (stats, report)
    }
}

impl Spent {
    fn reset(&self, now: Nanos) {
        for time in [&self.assist, &self.background, &self.idle, &self.told] {
            time.store(0, Ordering::Relaxed);
        }
        self.revised.store(now.0, Ordering::Relaxed);
    }

    /// What was spent at the mutators' expense since the last call.
    fn since_last_look(&self) -> Nanos {
        let spent = self.assist.load(Ordering::Relaxed) + self.background.load(Ordering::Relaxed);
        Nanos(spent.saturating_sub(self.told.swap(spent, Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests;
