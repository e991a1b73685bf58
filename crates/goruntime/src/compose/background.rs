//! How much of the processors marking beside the program may have.
//!
//! A quarter of the Ps' time is the collector's: so many threads of its team, one at least, work for a part of the time that adds up to it, in turns of
//! a millisecond. Besides, as many of its threads as there are Ps without work mark as long as there are: then nobody misses the time.
//! (Go has goroutines do it, which take a P. Here they are threads, because they must go on while the world stands still, and so the kernel decides
//! who runs; the pauses see to it that it gives them no more than their part.)

use crate::runtime::scheduler;
use crate::world::workers::Team;
use gogc::{Background, Bytes, Processor};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

/// What is looked through at a stretch: a millisecond or less, so that it is soon noticed when a processor is wanted. (What waits in a marker's queues is given to all
/// at the end of each, and then in no good order any more: much shorter ones took twice the time for a heap of small objects.)
const STEP: Bytes = Bytes::kib(512);

/// A thread that has worked for this long rests for as long as it owes.
const TURN: Duration = Duration::from_millis(1);

/// The pause before another look for work when others have it all.
const DRY: Duration = Duration::from_micros(50);

/// The pause before another look for an idle P.
const IDLE: Duration = Duration::from_micros(200);

/// How many processors goroutines have no use for: Ps that nobody has, but for those that were taken from a goroutine which goes on running without.
fn idle_procs() -> usize {
    let mut without = 0;
    scheduler().for_each_machine(|machine| without += usize::from(machine.blocked));
    (scheduler().idle_procs() as usize).saturating_sub(without)
}

/// How many threads share a quarter of `procs` processors, and which part of its time each works.
fn quarter(procs: usize) -> (usize, f64) {
    let threads = procs.div_ceil(4);
    (
        threads,
        procs as f64 * gogc::pacer::UTILISATION / threads as f64,
    )
}

/// Has the team, and the calling thread, run `step` until there is nothing to do.
pub(crate) fn mark(team: &Team, step: &(impl Fn(Bytes, Processor) -> Background + Sync)) {
    let (dedicated, part) = quarter(crate::max_procs());
    let members = AtomicUsize::new(0);
    let round = Round {
        on_idle: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    team.run(&|| {
        if members.fetch_add(1, Relaxed) < dedicated {
            round.work(part, step);
        } else {
            round.work_on_idle(step);
        }
    });
}

/// The members of the team at work.
struct Round {
    /// Those that work because a P is idle.
    on_idle: AtomicUsize,
    /// One of them was told that nothing is left.
    over: AtomicBool,
}

impl Round {
    /// Works for a part of the time, and for all of it while a P is idle.
    fn work(&self, part: f64, step: &impl Fn(Bytes, Processor) -> Background) {
        let mut worked = Duration::ZERO;
        loop {
            let idle = idle_procs() > 0;
            let begin = Instant::now();
            let on = if idle {
                Processor::Idle
            } else {
                Processor::Dedicated
            };
            match step(STEP, on) {
                Background::Over => return self.over.store(true, Relaxed),
                Background::Dry(_) => {
                    std::thread::sleep(DRY);
                    worked = Duration::ZERO;
                }
                Background::Marked(_) if idle => worked = Duration::ZERO,
                Background::Marked(_) => {
                    worked += begin.elapsed();
                    if worked >= TURN {
                        std::thread::sleep(worked.mul_f64((1.0 - part) / part));
                        worked = Duration::ZERO;
                    }
                }
            }
        }
    }

    /// Works while there are more idle Ps than others that do so.
    fn work_on_idle(&self, step: &impl Fn(Bytes, Processor) -> Background) {
        while !self.over.load(Relaxed) {
            let others = self.on_idle.fetch_add(1, Relaxed);
            // One is taken by a thread of the quarter.
            let spare = idle_procs().saturating_sub(1) > others;
            let result = spare.then(|| step(STEP, Processor::Idle));
            self.on_idle.fetch_sub(1, Relaxed);
            match result {
                Some(Background::Over) => return,
                Some(Background::Marked(_)) => {}
                Some(Background::Dry(_)) => std::thread::sleep(DRY),
                None => std::thread::sleep(IDLE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_together_have_a_quarter() {
        for procs in 1..100 {
            let (threads, part) = quarter(procs);
            assert!((threads as f64 * part - procs as f64 / 4.0).abs() < 1e-9);
            assert!(threads >= 1 && part > 0.0 && part <= 1.0);
        }
    }
}
