//! Waits for locks and channels, by place: how long goroutines waited, and who made them wait.
//!
//! gosched tells of each wait ([`gosched::contention`]); here one in so many is kept, weighted so that sums are right on average: of a *block* profile a wait of at
//! least the rate always, a shorter one with the chance `length / rate`, standing for `rate / length` of its like; of a *mutex* profile one in `fraction`.
//!
//! Invariant: nothing here waits for what goroutines wait for, so that telling of a wait is no wait to be told of.

use super::{Kind, Profile};
use gomem::profile::pprof::call;
use gosched::Nanos;
use gosched::contention::{self, Watch};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Calls that are kept of a stack.
const DEPTH: usize = 64;

/// What waits have in common: leave these out, with all that they call.
const WAITING: &str = r"gosched::(contention|waiter|sync::raw)::.*|<?gosched::waiter::.*|goruntime::profile::.*|backtrace::.*";

const MUTEX: Kind = Kind {
    name: "mutex",
    types: &[("contentions", "count"), ("delay", "nanoseconds")],
    period: ("contentions", "count"),
    default: "delay",
    drop: WAITING,
};

const BLOCK: Kind = Kind {
    name: "block",
    ..MUTEX
};

static MUTEXES: Table = Table::new(1);
static BLOCKS: Table = Table::new(10_000);

/// Held by whoever changes a rate.
static CHANGES: Mutex<()> = Mutex::new(());

/// A kind of waits, sampled at a rate, which is 0 while they are not looked at.
struct Table {
    /// In force. Follows from the next three, which are changed together with it.
    rate: AtomicU64,
    /// What the program wants.
    set: AtomicU64,
    /// How many want it to be looked at for a while; and the rate for them, if the program wants none.
    watchers: AtomicU64,
    rate_of_watchers: u64,
    /// In parts, so that those who wake together seldom meet.
    parts: [Mutex<Option<Sums>>; PARTS],
}

const PARTS: usize = 16;

/// By place: return addresses of the calls.
type Sums = HashMap<Vec<usize>, Sum>;

#[derive(Clone, Copy, Default)]
struct Sum {
    waits: f64,
    nanos: f64,
}

impl Table {
    const fn new(rate_of_watchers: u64) -> Table {
        Table {
            rate: AtomicU64::new(0),
            set: AtomicU64::new(0),
            watchers: AtomicU64::new(0),
            rate_of_watchers,
            parts: [const { Mutex::new(None) }; PARTS],
        }
    }

    fn add(&self, calls: Vec<usize>, waits: f64, nanos: f64) {
        // Each goroutine has a stack of its own.
        let here = (&raw const calls).addr();
        let part = (here >> 12).wrapping_mul(0x9e37_79b9) >> 16;
        let sums = self.parts[part % PARTS].lock();
        let mut sums = sums.unwrap_or_else(PoisonError::into_inner);
        let sum = sums.get_or_insert_default().entry(calls).or_default();
        sum.waits += waits;
        sum.nanos += nanos;
    }

    fn profile(&self, kind: &'static Kind) -> Profile {
        let mut profile = Profile::new(kind, self.rate.load(Relaxed).max(1));
        for part in &self.parts {
            let sums = part.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (calls, sum) in sums.unwrap_or_default() {
                let calls = calls.into_iter().map(call).collect();
                let values = [sum.waits.round() as i64, sum.nanos.round() as i64];
                profile.add(calls, Vec::new(), &values);
            }
        }
        profile
    }

    /// Returns what the program wanted before.
    fn set_rate(&self, rate: u64) -> u64 {
        self.change(|| self.set.swap(rate, Relaxed))
    }

    fn change(&self, change: impl FnOnce() -> u64) -> u64 {
        static WATCH: Watch = Watch { waited, released };
        let _alone = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        let before = change();
        let rate = match self.set.load(Relaxed) {
            0 if self.watchers.load(Relaxed) > 0 => self.rate_of_watchers,
            rate => rate,
        };
        self.rate.store(rate, Relaxed);
        let is_on = |table: &Table| table.rate.load(Relaxed) != 0;
        contention::watch((is_on(&MUTEXES) || is_on(&BLOCKS)).then_some(&WATCH));
        before
    }
}

/// As long as this lives, waits of a kind are looked at: at the program's rate, or, if it wants none, each wait for a lock, and one for each ten microseconds of the others.
pub(crate) struct Watching(&'static Table);

impl Watching {
    /// For the profile of that name; `None` if it needs nobody to look.
    pub(crate) fn begin(profile: &str) -> Option<Watching> {
        let table = match profile {
            "mutex" => &MUTEXES,
            "block" => &BLOCKS,
            _ => return None,
        };
        table.change(|| table.watchers.fetch_add(1, Relaxed));
        Some(Watching(table))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.change(|| self.0.watchers.fetch_sub(1, Relaxed));
    }
}

/// Has one in `fraction` waits for a lock looked at from now on (Go's `runtime.SetMutexProfileFraction`); 0 for none, which it is at first. Returns what it was before.
///
/// Locks are [`sync::Mutex`](crate::sync::Mutex) and [`sync::RwLock`](crate::sync::RwLock); waits for std's are not seen.
pub fn set_mutex_fraction(fraction: u64) -> u64 {
    MUTEXES.set_rate(fraction)
}

/// Has one wait looked at for each `rate` of waiting, on average, from now on (Go's `runtime.SetBlockProfileRate`); a wait as long as that always is. Zero for none, which it is
/// at first. Returns what it was before.
///
/// Waits are those for channels, locks, condition variables, other goroutines and the like; not sleeps, nor those for the network.
pub fn set_block_rate(rate: Duration) -> Duration {
    let nanos = u64::try_from(rate.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(BLOCKS.set_rate(nanos))
}

pub(super) fn mutex() -> Profile {
    MUTEXES.profile(&MUTEX)
}

pub(super) fn block() -> Profile {
    BLOCKS.profile(&BLOCK)
}

/// The calling goroutine has waited.
#[inline(never)]
fn waited(time: Nanos) {
    let rate = BLOCKS.rate.load(Relaxed);
    if rate == 0 {
        return;
    }
    let nanos = time.0.max(1);
    let weight = (rate as f64 / nanos as f64).max(1.0);
    if chance() * weight < 1.0 {
        let calls = calls_above(waited as *const c_void);
        BLOCKS.add(calls, weight, weight * nanos as f64);
    }
}

/// The calling goroutine has let go of a lock, and so ended such waits for it.
#[inline(never)]
fn released(time: Nanos) {
    let fraction = MUTEXES.rate.load(Relaxed) as f64;
    if fraction != 0.0 && chance() * fraction < 1.0 {
        let calls = calls_above(released as *const c_void);
        MUTEXES.add(calls, fraction, fraction * time.0 as f64);
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    // Steele's splitmix64.
    static STATE: AtomicU64 = AtomicU64::new(0);
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let state = STATE.fetch_add(STEP, Relaxed).wrapping_add(STEP);
    let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 53) as f64
}

/// Return addresses of the calls outside of a function that is being called; of all if it cannot be found.
fn calls_above(function: *const c_void) -> Vec<usize> {
    let mut calls = Vec::with_capacity(DEPTH);
    let mut own = 0;
    backtrace::trace(|frame| {
        // The outermost return address is none.
        if frame.ip() as usize > 1 {
            calls.push(frame.ip() as usize);
        }
        if frame.symbol_address().cast_const() == function {
            own = calls.len();
        }
        calls.len() - own < DEPTH
    });
    calls.split_off(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn samples(table: &Table, waits: &[(u64, u32)], rate: u64) -> (f64, f64) {
        for &(nanos, count) in waits {
            for _ in 0..count {
                let weight = (rate as f64 / nanos as f64).max(1.0);
                if chance() * weight < 1.0 {
                    table.add(vec![1], weight, weight * nanos as f64);
                }
            }
        }
        let total = table.profile(&BLOCK).total();
        (total[0] as f64, total[1] as f64)
    }

    #[test]
    fn sums_are_right_on_average() {
        let (waits, nanos) = samples(&Table::new(0), &[(100, 200_000), (50_000, 300)], 10_000);
        assert!((waits / 200_300.0 - 1.0).abs() < 0.1, "{waits}");
        assert!((nanos / 35_000_000.0 - 1.0).abs() < 0.1, "{nanos}");
    }

    /// Two watch at the same time, and the program changes its mind: it is looked at until the last has gone, and at the program's rate while there is one.
    #[test]
    fn rates_hold_until_the_last_has_gone() {
        static TABLE: Table = Table::new(7);
        let rate = || TABLE.rate.load(Relaxed);
        let watch = || {
            TABLE.change(|| TABLE.watchers.fetch_add(1, Relaxed));
            Watching(&TABLE)
        };
        let first = watch();
        assert_eq!(rate(), 7);
        let second = watch();
        drop(first);
        assert_eq!(rate(), 7, "one still watches");
        assert_eq!(
            TABLE.set_rate(3),
            0,
            "the program did not set what others watch at"
        );
        assert_eq!(rate(), 3);
        drop(second);
        assert_eq!(rate(), 3, "the program wants it");
        let third = watch();
        assert_eq!((TABLE.set_rate(0), rate()), (3, 7));
        drop(third);
        assert_eq!(rate(), 0);
        // All at once.
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for _ in 0..1000 {
                        let _watching = watch();
                        assert_eq!(rate(), 7);
                    }
                });
            }
        });
        assert_eq!(rate(), 0);
    }

    #[inline(never)]
    fn innermost() -> Vec<usize> {
        let calls = calls_above(innermost as *const c_void);
        std::hint::black_box(&calls);
        calls
    }

    #[test]
    fn calls_begin_outside_of_the_function_that_asks() {
        let calls = innermost();
        let mut symbols = crate::goroutines::symbols::Symbols::default();
        // The test may be part of what calls it.
        let first = symbols.at(call(calls[0]));
        let mut names = first.iter().map(|place| place.function.as_str());
        let is_outside = names
            .next()
            .is_some_and(|name| name.contains("calls_begin_outside"));
        assert!(is_outside, "not called by this test");
    }
}
