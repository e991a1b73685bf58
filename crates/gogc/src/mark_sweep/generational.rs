//! Generations by sticky mark bits: three ages, nothing moves.
//!
//! Most objects die young, so it pays to look at the young more often than at the rest. A collection is of an age and all younger ones; what survives it is a step
//! older. Instead of moving survivors to another place, as copying generations do, the heap keeps their *marks*: an object that is marked and too old to be collected is
//! taken for reached, and marking stops at it (Demers, Weiser, Hayes, Boehm, Bobrow and Shenker, *Combining Generational and Conservative Garbage
//! Collection: Framework and Implementations*, POPL 1990).
//!
//! | collection of | when | survivors become |
//! | --- | --- | --- |
//! | the young | [`Thresholds::young`] bytes have been allocated | middle |
//! | the middle, and the young | after [`Thresholds::middle`] of those | old |
//! | all | the heap is at its goal (`GOGC`, limit), or it is asked for | old |
//!
//! Each is done with the world stopped, by the markers of the whole-heap methods. The barrier is always on, and records the objects that are stored to. Of those the
//! older than young are *remembered*, once each.
//!
//! # Why nothing is lost
//!
//! Call an object *collected* if its age is among those of the collection, and *kept* otherwise. *Claim: a collected object that is reachable gets marked.* Take a
//! path to it from a root, and on it the last object that is kept. If there is none, marking goes along the path from the root, for it stops at kept objects only.
//! Otherwise let that object be *k*, and the next, which is collected and so younger, *c*. It is enough that *k* is scanned, and for that, that *k* is
//! remembered:
//!
//! 1. The pointer to *c* was stored to *k* after *k* had grown older than *c*. For when a collection made *k* older, it left none of its age or younger as it was: all
//!    survivors have got the same age as *k*, and *c*, being younger now, was born later. And all stores are recorded.
//! 2. If the collection is of the young, *c* was born since the last collection, so the store was since then too, and *k* is in the list `written`.
//! 3. If it is of the middle, *k* is old, and the store was since the last collection of the middle or of all, as *c* was born since. So *k* is in `written`, or one of the
//!    collections of the young since then has moved it from there to `kept`, which only the middle and the old clear.
//! 4. In a collection of all nothing is kept. ∎
//!
//! What is not reachable from the roots but from a remembered object that is itself dead survives until a collection of the dead one's age: that is the price of not looking.
//! If memory for the lists is refused, the next collection is of all, which needs no list.

use super::*;
use crate::env::{Age, AgedHeap};
use crate::list::List;
use crate::pacer::GcPercent;

/// When ages are collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Allocation from one collection to the next.
    pub young: Bytes,
    /// Collections of the young for one of the middle.
    pub middle: u32,
}

impl Default for Thresholds {
    /// A megabyte, about what the caches hold, and eight.
    fn default() -> Self {
        Thresholds {
            young: Bytes::mib(1),
            middle: 8,
        }
    }
}

/// Objects that may have pointers to younger ones.
struct Remembered {
    /// Not young, and stored to since the last collection. The heap has a note of each.
    written: List,
    /// Old, and stored to between the last collection that was not of the young and the last that was.
    kept: List,
    /// An object is missing.
    incomplete: bool,
}

/// The collector.
pub struct Generational<H: AgedHeap, W: World> {
    base: MarkSweep<H, W>,
    thresholds: Thresholds,
    remembered: Mutex<Remembered>,
    /// The size of heap at which the young are collected.
    young_trigger: AtomicU64,
    /// Collections of each age.
    counts: [AtomicU64; 3],
    /// Collections of the young since the last that was not.
    since_middle: AtomicU64,
}

impl<H: AgedHeap, W: World> Generational<H, W> {
    /// A collector of `heap` for the mutators of `world`.
    ///
    /// # Errors
    /// If the world refuses the first little memory.
    pub fn new(
        heap: H,
        world: W,
        config: Config,
        thresholds: Thresholds,
    ) -> Result<Self, BuildError> {
        let mut base = MarkSweep::new(heap, world, config, Method::StopTheWorld)?;
        base.barrier = Barrier::stored_to();
        let generational = Generational {
            base,
            thresholds,
            remembered: Mutex::new(Remembered {
                written: List::new(),
                kept: List::new(),
                incomplete: false,
            }),
            young_trigger: AtomicU64::new(0),
            counts: Default::default(),
            since_middle: AtomicU64::new(0),
        };
        generational.set_young_trigger();
        Ok(generational)
    }

    /// The heap.
    pub fn heap(&self) -> &H {
        self.base.heap()
    }

    /// The world.
    pub fn world(&self) -> &W {
        self.base.world()
    }

    /// As [`MarkSweep::check_marks`].
    pub fn check_marks(&self, check: bool) {
        self.base.check_marks(check);
    }

    /// The number of collections that there have been of the young, of the middle, and of all.
    pub fn collections(&self) -> [u64; 3] {
        std::array::from_fn(|age| self.counts[age].load(Ordering::Relaxed))
    }

    fn set_young_trigger(&self) {
        let usage = self.heap().usage();
        let heap = usage.size();
        let young = heap.saturating_add(self.thresholds.young);
        self.young_trigger.store(young.0, Ordering::Relaxed);
    }

    /// What a collection is of that nobody but the size of the young asked for.
    fn oldest_due(&self) -> Age {
        let since = self.since_middle.load(Ordering::Relaxed);
        if since >= u64::from(self.thresholds.middle) {
            Age::Middle
        } else {
            Age::Young
        }
    }

    /// Collects objects of the age `oldest` and below, which a collection that began after the call has done when this returns.
    ///
    /// # Errors
    /// If the world cannot be stopped.
    pub fn collect_ages(&self, oldest: Age) -> Result<CycleStats, CycleError<W::Error>> {
        loop {
            match self.base.turns.full() {
                Served::Run(turn) => return self.run_cycle(turn, Reason::Forced, oldest),
                // Somebody else's may have been of fewer.
                Served::Done(_) => {}
            }
        }
    }

    fn run_cycle(
        &self,
        turn: Turn<'_>,
        reason: Reason,
        oldest: Age,
    ) -> Result<CycleStats, CycleError<W::Error>> {
        let base = &self.base;
        let mut oldest = oldest;
        let start = |marker: &mut Marker<'_, H, W>| {
            // Until the world stands still, a mutator may find that it cannot be remembered what it has stored to.
            if lock(&self.remembered).incomplete {
                oldest = Age::Old;
            }
            base.heap.start_mark_of(oldest);
            self.scan_remembered(oldest, marker);
        };
        let (stats, report) = base.run_stopped(turn.cycle, reason, start)?;
        if oldest == Age::Old {
            // What a smaller collection leaves includes garbage: it says nothing about the size of what lives.
            base.with_pacer(|pacer| pacer.finish_cycle(&report));
        }
        self.counts[oldest as usize].fetch_add(1, Ordering::Relaxed);
        match oldest {
            Age::Young => self.since_middle.fetch_add(1, Ordering::Relaxed),
            Age::Middle | Age::Old => self.since_middle.swap(0, Ordering::Relaxed),
        };
        self.set_young_trigger();
        let stats = base.add_up(stats, report.ended);
        base.world.event(&Event::CycleEnd(stats));
        turn.complete(stats);
        Ok(stats)
    }

    /// Has what is remembered and not collected be scanned, and remembers what will still be needed. The world is stopped.
    fn scan_remembered(&self, oldest: Age, marker: &mut Marker<'_, H, W>) {
        let (heap, world) = (&self.base.heap, &self.base.world);
        let mut remembered = lock(&self.remembered);
        let Remembered {
            written,
            kept,
            incomplete,
        } = &mut *remembered;
        let mut scan = |word: usize| {
            let Some(object) = heap.resolve(word) else {
                unreachable!("what is remembered is too old to have been collected since");
            };
            let age = heap.age(object);
            if age > oldest {
                marker.scan_later(heap.start(object));
            }
            (object, age)
        };
        if oldest != Age::Young {
            while let Some(word) = kept.pop() {
                scan(word);
            }
            *incomplete = false;
        }
        while let Some(word) = written.pop() {
            let (object, age) = scan(word);
            heap.forget(object);
            let is_needed = oldest == Age::Young && age == Age::Old;
            if is_needed && kept.push(world, word).is_err() {
                *incomplete = true;
            }
        }
    }

    #[cold]
    fn collect_if_really_due(&self) -> Result<Option<CycleStats>, CycleError<W::Error>> {
        let base = &self.base;
        let Some(turn) = base.turns.try_begin() else {
            return Ok(None);
        };
        let (usage, now) = (base.heap.usage(), base.world.now());
        let pacer = lock(&base.pacer);
        let (due, percent) = (pacer.due(&usage, now), pacer.config().percent);
        drop(pacer);
        let heap = usage.size();
        let is_young_due =
            percent != GcPercent::Off && heap.0 >= self.young_trigger.load(Ordering::Relaxed);
        match due {
            Some(reason) => self.run_cycle(turn, reason, Age::Old).map(Some),
            None if is_young_due => self
                .run_cycle(turn, Reason::HeapGoal, self.oldest_due())
                .map(Some),
            None => Ok(None),
        }
    }
}

impl<H: AgedHeap, W: World> Collector for Generational<H, W> {
    type Error = W::Error;

    fn collect(&self, reason: Reason) -> Result<CycleStats, CycleError<W::Error>> {
        if reason == Reason::Forced {
            let stats = self.collect_ages(Age::Old)?;
            self.base.finish_sweep();
            return Ok(stats);
        }
        match self.base.turns.any() {
            Served::Run(turn) => self.run_cycle(turn, reason, Age::Old),
            Served::Done(stats) => Ok(stats),
        }
    }

    #[inline]
    fn collect_if_due(&self) -> Result<Option<CycleStats>, CycleError<W::Error>> {
        let usage = self.heap().usage();
        if usage.size() < self.trigger() {
            return Ok(None);
        }
        self.collect_if_really_due()
    }

    fn phase(&self) -> Phase {
        self.base.phase()
    }

    fn barrier(&self) -> &Barrier {
        self.base.barrier()
    }

    fn flush_barrier(&self, buffer: &mut BarrierBuffer) {
        let (heap, world) = (&self.base.heap, &self.base.world);
        for &word in buffer.words() {
            let Some(object) = heap.resolve(word) else {
                unreachable!("a mutator has stored to what is no object");
            };
            if heap.remember(object) {
                let mut remembered = lock(&self.remembered);
                if remembered.written.push(world, word).is_err() {
                    heap.forget(object);
                    remembered.incomplete = true;
                }
            }
        }
        buffer.clear();
    }

    /// There is nothing to do: what an object is born with is no older than itself, or older than young.
    fn scan_newborn(&self, _object: ObjectAddr) {}

    fn assist(&self, _allocated: Bytes) {}

    fn sweep(&self, limit: Bytes) -> SweepStep {
        self.base.sweep(limit)
    }

    fn reconfigure(&self, config: Config) -> Config {
        self.base.reconfigure(config)
    }

    fn revise(&self) {
        self.base.revise();
    }

    fn goal(&self) -> Bytes {
        self.base.goal()
    }

    fn trigger(&self) -> Bytes {
        let young = Bytes(self.young_trigger.load(Ordering::Relaxed));
        self.base.trigger().min(young)
    }

    fn last_cycle(&self) -> Option<CycleStats> {
        self.base.last_cycle()
    }
}

impl<H: AgedHeap, W: World> Drop for Generational<H, W> {
    fn drop(&mut self) {
        let mut remembered = lock(&self.remembered);
        remembered.written.dispose(&self.base.world);
        remembered.kept.dispose(&self.base.world);
    }
}

#[cfg(test)]
mod tests;
