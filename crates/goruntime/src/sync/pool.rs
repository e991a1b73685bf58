//! Values to be used again.
//!
//! A pool is cut into parts, and a goroutine takes from and puts into the part of the P that it runs with, so that two seldom meet; each has a lock all the same, since a P may be taken away
//! at any time. Who finds nothing in its part looks into the others.
//!
//! What is not used is dropped after a while. Go does that at each collection: what was put in before the last one becomes the *victims*, from which is taken when there is nothing else, and
//! which the next collection drops. Here it is done by time, because a program without collected objects never collects, and one that does not allocate seldom. The time runs only while
//! there is something in the pool.

use crate::runtime::{max_procs, scheduler};
use crate::time::{Duration, go_or_call};
use gosched::{Alarm, simulation};
use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

/// A value that is not used is dropped after between one and two of these.
const IDLE: Duration = Duration::from_secs(10);

/// More parts than this there are not.
const MOST_PARTS: usize = 256;

/// Values that can be used again: buffers and the like, of which any is as good as another. Go's `sync.Pool`.
///
/// What is put in may be gone at any time: values that nobody has taken for ten to twenty seconds are dropped.
///
/// ```
/// use goruntime::sync::Pool;
///
/// static BUFFERS: Pool<Vec<u8>> = Pool::new(|| Vec::with_capacity(4096));
///
/// let mut buffer = BUFFERS.get();
/// buffer.extend_from_slice(b"hello");
/// buffer.clear();
/// BUFFERS.put(buffer);
/// assert!(BUFFERS.get().capacity() >= 4096);
/// ```
pub struct Pool<T, F = fn() -> T> {
    make: F,
    parts: OnceLock<Arc<Parts<T>>>,
}

struct Parts<T> {
    all: Box<[Part<T>]>,
    /// The clock runs.
    is_watched: AtomicBool,
    alarm: OnceLock<Alarm>,
}

/// On a cache line of its own, and the one that is fetched with it.
#[repr(align(128))]
struct Part<T>(Mutex<Stock<T>>);

struct Stock<T> {
    /// The last in comes out first: its memory is warm.
    fresh: Vec<T>,
    /// What nobody has taken since the last time.
    victims: Vec<T>,
}

impl<T: Send + 'static, F: Fn() -> T> Pool<T, F> {
    /// An empty pool, for which `make` makes what is wanted beyond what is there.
    pub const fn new(make: F) -> Pool<T, F> {
        Pool {
            make,
            parts: OnceLock::new(),
        }
    }

    /// One of those that were put in, or a new one.
    pub fn get(&self) -> T {
        self.parts().take().unwrap_or_else(|| (self.make)())
    }

    /// Puts one in.
    pub fn put(&self, value: T) {
        let parts = self.parts();
        parts.own().lock().fresh.push(value);
        if !parts.is_watched.load(Relaxed) {
            parts.watch();
        }
    }

    fn parts(&self) -> &Arc<Parts<T>> {
        self.parts.get_or_init(|| Arc::new(Parts::new()))
    }
}

impl<T> Part<T> {
    fn lock(&self) -> MutexGuard<'_, Stock<T>> {
        // A panic between changes of the lists there is not.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As `lock`, unless somebody has it.
    fn try_lock(&self) -> Option<MutexGuard<'_, Stock<T>>> {
        match self.0.try_lock() {
            Ok(stock) => Some(stock),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T: Send + 'static> Parts<T> {
    fn new() -> Parts<T> {
        let part = |_| {
            Part(Mutex::new(Stock {
                fresh: Vec::new(),
                victims: Vec::new(),
            }))
        };
        let many = max_procs().next_power_of_two().min(MOST_PARTS);
        Parts {
            all: (0..many).map(part).collect(),
            is_watched: AtomicBool::new(false),
            alarm: OnceLock::new(),
        }
    }

    fn own(&self) -> &Part<T> {
        &self.all[self.own_index()]
    }

    fn own_index(&self) -> usize {
        let hint = match gosched::current_proc() {
            Some(p) => p as usize,
            None => thread_hint(),
        };
        hint & (self.all.len() - 1)
    }

    /// From its own part, then from another, and of what is fresh first.
    fn take(&self) -> Option<T> {
        let own = self.own_index();
        if let Some(value) = self.all[own].lock().fresh.pop() {
            return Some(value);
        }
        let others =
            || (1..=self.all.len()).filter_map(|n| self.all[(own + n) % self.all.len()].try_lock());
        others()
            .find_map(|mut stock| stock.fresh.pop())
            .or_else(|| others().find_map(|mut stock| stock.victims.pop()))
    }

    /// Starts the clock, if it does not run.
    #[cold]
    fn watch(self: &Arc<Self>) {
        // What a simulation puts in stays until the pool is dropped: its clock is none for what outlives it.
        if simulation::is_active() || self.is_watched.swap(true, Relaxed) {
            return;
        }
        let alarm = self.alarm.get_or_init(|| {
            let this = Arc::downgrade(self);
            scheduler().alarm(move |_| {
                if let Some(this) = this.upgrade() {
                    // Dropping is the program's code.
                    go_or_call(Location::caller(), move || this.age());
                }
            })
        });
        alarm.set(crate::time::now() + IDLE);
    }

    /// Drops the victims, and makes all that is left victims.
    fn age(self: &Arc<Self>) {
        for part in &self.all {
            let dropped = {
                let mut stock = part.lock();
                let fresh = mem::take(&mut stock.fresh);
                mem::replace(&mut stock.victims, fresh)
            };
            drop(dropped);
        }
        // In this order: who puts one in after the look finds the clock stopped, and starts it.
        self.is_watched.store(false, SeqCst);
        if !self.all.iter().all(|part| part.lock().is_empty()) {
            self.watch();
        }
    }
}

impl<T> Stock<T> {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.victims.is_empty()
    }
}

impl<T, F> fmt::Debug for Pool<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool(..)")
    }
}

/// A number that differs between threads that run at the same time, mostly.
fn thread_hint() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    // Thread-locals of two threads are pages apart.
    HERE.with(|here| std::ptr::from_ref(here).addr() >> 12)
}

#[cfg(test)]
mod tests;
