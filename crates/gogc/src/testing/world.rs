//! A world that is a lock.
//!
//! A mutator is whoever is inside [`SimWorld::mutate`], which holds the lock shared; stopping the world takes
//! it exclusively. Roots are vectors that the test fills. The clock moves by a microsecond at each look.

use std::alloc::{self, Layout};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use crate::env::{Event, Hooks, RootKind, RootSink, Roots, World};
use crate::units::Nanos;

/// The roots of a stopped [`SimWorld`], each entry being one job.
#[derive(Clone, Debug, Default)]
pub struct SimRoots {
    areas: Vec<(RootKind, Vec<usize>)>,
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
    roots: Mutex<SimRoots>,
    running: RwLock<()>,
    clock: AtomicU64,
    refuse_stop: AtomicBool,
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
            roots: Mutex::default(),
            running: RwLock::default(),
            clock: AtomicU64::new(0),
            refuse_stop: AtomicBool::new(false),
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
        roots.areas.push((kind, words));
        roots.areas.len() - 1
    }

    /// Changes a root area.
    pub fn with_root<R>(&self, area: usize, f: impl FnOnce(&mut Vec<usize>) -> R) -> R {
        f(&mut lock(&self.roots).areas[area].1)
    }

    /// All words of all root areas.
    #[must_use]
    pub fn root_words(&self) -> Vec<usize> {
        lock(&self.roots)
            .areas
            .iter()
            .flat_map(|(_, words)| words)
            .copied()
            .collect()
    }

    /// Runs `f` as a mutator: not while the world is stopped. `f` must not collect, which would wait for itself.
    pub fn mutate<R>(&self, f: impl FnOnce() -> R) -> R {
        let _running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        f()
    }

    /// Whether attempts to stop the world are to fail.
    pub fn refuse_stop(&self, refuse: bool) {
        self.refuse_stop.store(refuse, Ordering::Relaxed);
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
// do (1, 2); memory comes from the allocator with the alignment asked for (3); scoped threads are joined (4).
unsafe impl World for SimWorld {
    type Roots = SimRoots;
    type Error = StopRefused;

    fn with_stopped<R>(&self, f: impl FnOnce(&SimRoots) -> R) -> Result<R, StopRefused> {
        if self.refuse_stop.load(Ordering::Relaxed) {
            return Err(StopRefused);
        }
        let _stopped = self.running.write().unwrap_or_else(PoisonError::into_inner);
        let roots = lock(&self.roots).clone();
        Ok(f(&roots))
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
