//! Goroutines that do not get on: what was found, with the calls that they are in, told to whoever wants to know.
//!
//! Of those that hold a thread the monitor says which; it allocates nothing and takes no lock, so it leaves their numbers in a few slots and wakes the [reporter]. By the time
//! that has looked, a goroutine may have got on after all, or be another's successor on its thread; then it is not reported.
//!
//! A slot is the monitor's while `goroutine` is 0, and the reporter's otherwise.

use super::{GoroutineStack, reporter};
use crate::atomic::{AtomicU64, Ordering::*};
use gosched::goroutine::GoroutineState;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// A goroutine that has not got on for long.
#[derive(Clone, Debug)]
pub struct Stall {
    /// The goroutine, with the calls that it is in.
    pub goroutine: GoroutineStack,
    /// For how long it is known to have been there.
    pub lasted: Duration,
    /// Why.
    pub cause: Cause,
}

/// Why a goroutine does not get on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// It holds a thread without returning to the scheduler: it computes, or is in a call that does not return. Others run meanwhile, for its P was
    /// taken; but whoever waits for this one waits for ever, if it never returns.
    HoldsThread,
    /// It waits for a [`Mutex`](crate::sync::Mutex) or [`RwLock`](crate::sync::RwLock).
    WaitsForLock {
        /// Who holds the mutex or writes, with the calls that it is in; `None` if that is not known, as of a plain thread and of readers.
        holder: Option<Box<GoroutineStack>>,
        /// How many others wait as long for the same holder.
        others: usize,
    },
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasted = self.lasted;
        match &self.cause {
            Cause::HoldsThread => writeln!(
                f,
                "goruntime: a goroutine has held its thread for {lasted:.1?}: it computes, or is in a call that does not return. (If it is meant to, have \
                 it in `goruntime::blocking`; GODEBUG=stalltrace=N reports after N milliseconds, 0 never.)\n"
            )?,
            Cause::WaitsForLock { others, .. } => {
                write!(
                    f,
                    "goruntime: a goroutine has waited for a lock for {lasted:.1?}"
                )?;
                if *others > 0 {
                    write!(f, ", and {others} more for the same holder")?;
                }
                writeln!(
                    f,
                    ". (GODEBUG=stalltrace=N reports after N milliseconds, 0 never.)\n"
                )?;
            }
        }
        self.goroutine.fmt(f)?;
        if let Cause::WaitsForLock {
            holder: Some(holder),
            ..
        } = &self.cause
        {
            write!(f, "\nthe lock is held by\n\n{holder}")?;
        }
        Ok(())
    }
}

type Hook = Arc<dyn Fn(&Stall) + Send + Sync>;

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);

/// Has stalls told to `hook`, instead of printed on standard error. It is called on a thread of the runtime's, and had better not stall itself.
///
/// Which goroutines these are: [`Stall`]. Each is told of once, ten seconds after it began, or after `GODEBUG=stalltrace=N` milliseconds.
pub fn on_stall(hook: impl Fn(&Stall) + Send + Sync + 'static) {
    *HOOK.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
}

struct Slot {
    goroutine: AtomicU64,
    nanos: AtomicU64,
}

static SLOTS: [Slot; 16] = [const {
    Slot {
        goroutine: AtomicU64::new(0),
        nanos: AtomicU64::new(0),
    }
}; 16];

/// Stalls reported.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many there were.
pub(crate) fn count() -> u64 {
    COUNT.load(Acquire)
}

/// Has a goroutine reported. From the monitor.
pub(crate) fn found(goroutine: u64, nanos: u64) {
    let free = SLOTS.iter().find(|slot| slot.goroutine.load(Acquire) == 0);
    if let Some(slot) = free {
        slot.nanos.store(nanos, Relaxed);
        slot.goroutine.store(goroutine, Release);
        reporter::report_stalls();
    }
}

/// Reports those that still do not get on. From the reporter, with what all goroutines do.
pub(super) fn report(goroutines: io::Result<Vec<GoroutineStack>>) {
    let goroutines = match goroutines {
        Ok(goroutines) => goroutines,
        Err(why) => {
            eprintln!("goruntime: a goroutine holds its thread, and cannot be looked at: {why}");
            Vec::new()
        }
    };
    for slot in &SLOTS {
        let id = slot.goroutine.load(Acquire);
        if id == 0 {
            continue;
        }
        let lasted = Duration::from_nanos(slot.nanos.load(Relaxed));
        slot.goroutine.store(0, Release);
        let stalled = |g: &&GoroutineStack| g.id() == id && g.info.state == GoroutineState::Running;
        if let Some(goroutine) = goroutines.iter().find(stalled) {
            tell(&Stall {
                goroutine: goroutine.clone(),
                lasted,
                cause: Cause::HoldsThread,
            });
        }
    }
}

pub(super) fn tell(stall: &Stall) {
    // Not under the lock: a hook may put another in its place.
    let hook = HOOK.read().unwrap_or_else(PoisonError::into_inner).clone();
    match hook {
        // A panic is not to end the thread that reports.
        Some(hook) => gosched::Panic::contain(|| hook(stall)),
        None => {
            // In one piece, whoever else prints.
            let text = format!("{stall}\n");
            // Nobody is left to be told of a failure.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
    COUNT.fetch_add(1, Release);
}
