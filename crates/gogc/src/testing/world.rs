//! A world that is a lock.
//!
//! A mutator is whoever is inside [`SimWorld::mutate`], which holds the lock shared; stopping the world takes
//! it exclusively. Roots are vectors that the test fills; each remembers whether it was touched since it was presented to a collector. The clock moves by a
//! microsecond at each look.

use std::alloc::{self, Layout};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use crate::atomic::yield_now;
use crate::env::{Background, Event, Hooks, Processor, RootKind, RootSink, Roots, Stop, World};
use crate::units::{Bytes, Nanos};
use crate::word::WORD;

/// Roots of a [`SimWorld`], as they were at one moment, each entry being one job.
#[derive(Clone, Debug, Default)]
pub struct SimRoots {
    areas: Vec<(RootKind, Vec<usize>)>,
    /// The areas that are not among these.
    others: Vec<(RootKind, Vec<usize>)>,
}

/// The root areas of the world.
#[derive(Default)]
struct Areas {
    all: Vec<(RootKind, Vec<usize>)>,
    /// Touched since it was presented; one for each area.
    changed: Vec<bool>,
}

impl Areas {
    /// All areas, or those that have changed; with `forget`, none has changed from now on.
    fn snapshot(&mut self, changed_only: bool, forget: bool) -> SimRoots {
        let mut roots = SimRoots::default();
        for (area, changed) in self.all.iter().zip(&self.changed) {
            let to = if *changed || !changed_only {
                &mut roots.areas
            } else {
                &mut roots.others
            };
            to.push(area.clone());
        }
        if forget {
            self.changed.fill(false);
        }
        roots
    }
}

// SAFETY: every area is a job of its own and is presented whole; no lock is taken.
unsafe impl Roots for SimRoots {
    fn jobs(&self) -> usize {
        self.areas.len()
    }

    fn scan(&self, job: usize, sink: &mut impl RootSink) {
        let (kind, words) = &self.areas[job];
        match kind {
            RootKind::Handle => words.iter().for_each(|&word| sink.word(*kind, word)),
            // SAFETY: a vector of words is aligned and readable, and lives as long as `self`.
            _ => unsafe { sink.range(*kind, words.as_ptr(), words.len()) },
        }
    }

    fn scan_all(&self, sink: &mut impl RootSink) {
        (0..self.jobs()).for_each(|job| self.scan(job, sink));
        let others = SimRoots {
            areas: self.others.clone(),
            others: Vec::new(),
        };
        (0..others.jobs()).for_each(|job| others.scan(job, sink));
    }
}

/// The world was told not to let itself be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopRefused;

impl fmt::Display for StopRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

/// The world.
pub struct SimWorld {
    workers: usize,
    in_turn: bool,
    /// Of a step in the background.
    budget: Bytes,
    roots: Mutex<Areas>,
    running: RwLock<()>,
    clock: AtomicU64,
    /// Stops that are granted before the next is refused.
    stops_granted: AtomicUsize,
    lies: AtomicBool,
    memory_in_use: AtomicUsize,
    memory_peak: AtomicUsize,
    memory_allowed: AtomicUsize,
    events: Mutex<Vec<Event>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimWorld {
    /// A world that marks with so many threads at once.
    #[must_use]
    pub fn new(workers: usize) -> SimWorld {
        SimWorld {
            workers,
            in_turn: false,
            budget: Bytes(256),
            roots: Mutex::default(),
            running: RwLock::default(),
            clock: AtomicU64::new(0),
            stops_granted: AtomicUsize::new(usize::MAX),
            lies: AtomicBool::new(false),
            memory_in_use: AtomicUsize::new(0),
            memory_peak: AtomicUsize::new(0),
            memory_allowed: AtomicUsize::new(usize::MAX),
            events: Mutex::default(),
        }
    }

    /// A world that runs its workers one after the other.
    #[must_use]
    pub fn one_after_the_other(workers: usize) -> SimWorld {
        SimWorld {
            in_turn: true,
            ..SimWorld::new(workers)
        }
    }

    /// Adds a root area and returns its number.
    pub fn add_root(&self, kind: RootKind, words: Vec<usize>) -> usize {
        let mut roots = lock(&self.roots);
        roots.all.push((kind, words));
        roots.changed.push(true);
        roots.all.len() - 1
    }

    /// Changes a root area.
    pub fn with_root<R>(&self, area: usize, f: impl FnOnce(&mut Vec<usize>) -> R) -> R {
        let mut roots = lock(&self.roots);
        roots.changed[area] = true;
        f(&mut roots.all[area].1)
    }

    /// All words of all root areas, with what else they stand for (see [`RootKind::Stack`]).
    #[must_use]
    pub fn root_words(&self) -> Vec<usize> {
        let areas = lock(&self.roots);
        let words = areas.all.iter().flat_map(|(kind, words)| {
            let ends = words.iter().filter_map(|&word| kind.end_at(word));
            words.iter().copied().chain(ends)
        });
        words.collect()
    }

    /// Runs `f` as a mutator: not while the world is stopped. `f` must not collect, which would wait for itself.
    pub fn mutate<R>(&self, f: impl FnOnce() -> R) -> R {
        let _running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        f()
    }

    /// Whether attempts to stop the world are to fail.
    pub fn refuse_stop(&self, refuse: bool) {
        self.refuse_stop_after(if refuse { 0 } else { usize::MAX });
    }

    /// All attempts to stop the world but the next few are to fail.
    pub fn refuse_stop_after(&self, granted: usize) {
        self.stops_granted.store(granted, Ordering::Relaxed);
    }

    /// Whether roots that have never been presented are to be passed off as unchanged: what a collector must not survive.
    pub fn lie_about_changes(&self, lie: bool) {
        self.lies.store(lie, Ordering::Relaxed);
    }

    /// Limits the memory that can be acquired at any one time.
    pub fn allow_memory(&self, bytes: usize) {
        self.memory_allowed.store(bytes, Ordering::Relaxed);
    }

    /// The memory acquired and not released.
    #[must_use]
    pub fn memory_in_use(&self) -> usize {
        self.memory_in_use.load(Ordering::Relaxed)
    }

    /// The most memory that was acquired at any one time.
    #[must_use]
    pub fn memory_peak(&self) -> usize {
        self.memory_peak.load(Ordering::Relaxed)
    }

    /// The events since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.events))
    }
}

fn layout(bytes: usize) -> Layout {
    match Layout::from_size_align(bytes, 64) {
        Ok(layout) if bytes > 0 => layout,
        _ => panic!("a collector asked for {bytes} bytes"),
    }
}

impl Hooks for SimWorld {
    fn event(&self, event: &Event) {
        lock(&self.events).push(*event);
    }
}

// SAFETY: mutators hold the lock shared, so none runs while it is held exclusively, and it orders what they
// do (1, 2); memory comes from the allocator with the alignment asked for (3); scoped threads are joined (4, 7); what changes in an area comes after the
// flag that says so (5), and what is presented is a copy (6); mutators call the collector's parts of this kind within `mutate`, or are alone (8).
unsafe impl World for SimWorld {
    type Roots = SimRoots;
    type Error = StopRefused;

    fn with_stopped<R>(
        &self,
        stop: Stop,
        f: impl FnOnce(&SimRoots) -> R,
    ) -> Result<R, StopRefused> {
        let granted = self.stops_granted.load(Ordering::Relaxed);
        if granted == 0 {
            return Err(StopRefused);
        }
        if granted != usize::MAX {
            self.refuse_stop_after(granted - 1);
        }
        let _stopped = self.running.write().unwrap_or_else(PoisonError::into_inner);
        let roots = match stop {
            Stop::Whole => lock(&self.roots).snapshot(false, false),
            Stop::Begin => {
                // Nothing has been presented in this cycle.
                let lies = self.lies.load(Ordering::Relaxed);
                lock(&self.roots).changed.fill(!lies);
                SimRoots::default()
            }
            Stop::End => lock(&self.roots).snapshot(true, false),
        };
        Ok(f(&roots))
    }

    fn with_running<R>(&self, _round: u32, f: impl FnOnce(&SimRoots, Bytes) -> R) -> R {
        let roots = lock(&self.roots).snapshot(true, true);
        let words: usize = roots.areas.iter().map(|(_, words)| words.len()).sum();
        f(&roots, Bytes((words * WORD) as u64))
    }

    fn mark_in_background(&self, step: &(impl Fn(Bytes, Processor) -> Background + Sync)) {
        self.run_workers(&|| {
            loop {
                match step(self.budget, Processor::Dedicated) {
                    Background::Marked(_) => {}
                    Background::Dry(_) => yield_now(),
                    Background::Over => return,
                }
            }
        });
    }

    fn run_workers(&self, body: &(impl Fn() + Sync)) {
        if self.in_turn {
            (0..self.workers).for_each(|_| body());
            return;
        }
        std::thread::scope(|scope| {
            for _ in 1..self.workers {
                scope.spawn(body);
            }
            body();
        });
    }

    fn procs(&self) -> usize {
        self.workers
    }

    fn now(&self) -> Nanos {
        Nanos(self.clock.fetch_add(1000, Ordering::Relaxed))
    }

    fn acquire(&self, bytes: usize) -> Option<NonNull<u8>> {
        let allowed = self.memory_allowed.load(Ordering::Relaxed);
        self.memory_in_use
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= allowed)
            })
            .ok()?;
        self.memory_peak
            .fetch_max(self.memory_in_use(), Ordering::Relaxed);
        // SAFETY: the layout's size is not zero.
        NonNull::new(unsafe { alloc::alloc(layout(bytes)) })
    }

    unsafe fn release(&self, memory: NonNull<u8>, bytes: usize) {
        self.memory_in_use.fetch_sub(bytes, Ordering::Relaxed);
        // SAFETY: acquired with the same layout, by the caller's obligation.
        unsafe { alloc::dealloc(memory.as_ptr(), layout(bytes)) };
    }
}
