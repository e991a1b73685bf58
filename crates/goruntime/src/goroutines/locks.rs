//! Goroutines that wait for a lock for too long, and who holds it.
//!
//! While a goroutine waits for anything else with a lock in its hands, or for good, all that want the lock wait too, and nothing says why: each of them is in
//! order. The monitor says when to look. What each goroutine waits for is read without stopping anybody; only when one is late is the world stopped, to
//! see the calls of both.
//!
//! Invariant: a goroutine is told of once in a wait, by name or as one of the others that wait for the same holder.

use super::stalls::{self, Cause, Stall};
use super::{GoroutineStack, capture};
use crate::runtime::scheduler;
use gosched::goroutine::{GoroutineInfo, GoroutineState, WaitReason};
use std::collections::HashSet;
use std::time::Duration;

/// Reports at a time. When everything waits, the first few say why.
const AT_ONCE: usize = 8;

/// What the reporter remembers of them.
#[derive(Default)]
pub(super) struct LockWatch {
    /// Numbers of those that have been told of, and wait still.
    told: HashSet<u64>,
}

impl LockWatch {
    /// Reports those that have waited for `threshold` and longer.
    pub(super) fn look(&mut self, threshold: Duration) {
        let is_late = |info: &GoroutineInfo| waited(info).is_some_and(|time| time >= threshold);
        let mut late = HashSet::new();
        scheduler().for_each_goroutine(|info| {
            if is_late(&info) {
                late.insert(info.id.0);
            }
        });
        self.told.retain(|id| late.contains(id));
        if late.len() == self.told.len() {
            return;
        }
        match capture() {
            Ok(goroutines) => self.report(&goroutines, is_late),
            Err(why) => {
                eprintln!(
                    "goruntime: a goroutine waits for a lock, and cannot be looked at: {why}"
                );
                self.told = late;
            }
        }
    }

    fn report(&mut self, goroutines: &[GoroutineStack], is_late: impl Fn(&GoroutineInfo) -> bool) {
        let late: Vec<_> = goroutines.iter().filter(|g| is_late(&g.info)).collect();
        for _ in 0..AT_ONCE {
            let Some(first) = late.iter().find(|g| !self.told.contains(&g.id())) else {
                return;
            };
            let holder = first.info.held_by;
            let before = self.told.len();
            self.told.insert(first.id());
            if holder.is_some() {
                let same = late.iter().filter(|g| g.info.held_by == holder);
                self.told.extend(same.map(|g| g.id()));
            }
            let holder = holder.and_then(|id| goroutines.iter().find(|g| g.info.id == id));
            stalls::tell(&Stall {
                goroutine: (*first).clone(),
                lasted: first.waiting_for(),
                cause: Cause::WaitsForLock {
                    holder: holder.cloned().map(Box::new),
                    others: self.told.len() - before - 1,
                },
            });
        }
    }
}

/// How long it has waited for a lock, if it does.
fn waited(info: &GoroutineInfo) -> Option<Duration> {
    use WaitReason::{MutexLock, RwLockRead, RwLockWrite};
    matches!(
        info.state,
        GoroutineState::Waiting(MutexLock | RwLockRead | RwLockWrite)
    )
    .then(|| Duration::from_nanos(info.waiting_for.0))
}
