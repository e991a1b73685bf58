//! How much of the processors marking beside the program may have.
//!
//! A quarter of the Ps' time is the collector's: so many threads of its team, one at least, work for a part of the time that adds up to it, in turns of
//! a millisecond. Besides, as many of its threads as there are processors to spare mark as long as there are: then nobody misses the time.
//! (Go has goroutines do it, which take a P. Here they are threads, because they must go on while the world stands still, and so the kernel decides
//! who runs; the pauses see to it that it gives them no more than their part.)
//!
//! To spare are Ps without work, and processors that are *lent*: their goroutine waits for the collector. It need not mark itself, and so need not be told what is to
//! be looked at: a thread of the team does it on its processor, as the kernel sees to.
//!
//! A thread that finds nothing to do, or has had its part, sleeps until somebody [calls](crate::world::calls), but looks again soon: nobody calls when a P becomes idle.

use crate::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use crate::runtime::scheduler;
use crate::world::calls::Calls;
use crate::world::workers::Team;
use gogc::{Background, Bytes, Processor};
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

/// Threads that work on processors to spare.
static ON_IDLE: AtomicUsize = AtomicUsize::new(0);

/// Processors that are lent.
static LENT: AtomicUsize = AtomicUsize::new(0);

/// Threads with nothing to do sleep on this.
static CALLS: Calls = Calls::new();

/// As long as this exists, the processor of the calling thread is the collector's to mark with.
pub(crate) struct Lent(());

/// The calling thread waits for the collector.
pub(crate) fn lend() -> Lent {
    LENT.fetch_add(1, SeqCst);
    CALLS.call();
    Lent(())
}

impl Drop for Lent {
    fn drop(&mut self) {
        LENT.fetch_sub(1, SeqCst);
    }
}

/// How many processors goroutines have no use for: Ps that nobody has, but for those that were taken from a goroutine which goes on running without, and
/// those that are lent.
fn idle_procs() -> usize {
    let mut without = 0;
    scheduler().for_each_machine(|machine| without += usize::from(machine.blocked));
    // A goroutine that waits for a collection has given up its P, and is lent.
    let all = scheduler().idle_procs() as usize + LENT.load(SeqCst);
    all.saturating_sub(without)
}

/// How many threads share a quarter of `procs` processors, and which part of its time each works.
fn quarter(procs: usize) -> (usize, f64) {
    let threads = procs.div_ceil(4);
    (
        threads,
        procs as f64 * gogc::pacer::UTILISATION / threads as f64,
    )
}

/// Whether a thread that works on such a processor may go on doing so. One that works on the quarter's gives back what it has before it rests.
pub(crate) fn go_on(on: Processor) -> bool {
    on == Processor::Idle && idle_procs() >= ON_IDLE.load(SeqCst)
}

/// Has the team, and the calling thread, run `step` until there is nothing to do.
pub(crate) fn mark(team: &Team, step: &(impl Fn(Bytes, Processor) -> Background + Sync)) {
    let (dedicated, part) = quarter(crate::max_procs());
    let members = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    team.run(&|| {
        let is_dedicated = members.fetch_add(1, Relaxed) < dedicated;
        work(&over, is_dedicated.then_some(part), step);
        // Whoever comes out does so because nothing is left.
        if !over.swap(true, SeqCst) {
            CALLS.call();
        }
    });
}

/// Works while there is a processor to spare, and where not for a part of the time, if there is one.
fn work(over: &AtomicBool, part: Option<f64>, step: &impl Fn(Bytes, Processor) -> Background) {
    let mut worked = Duration::ZERO;
    while !over.load(SeqCst) {
        let seen = CALLS.seen();
        // One is left to a thread of the quarter.
        let others = ON_IDLE
            .fetch_add(1, SeqCst)
            .max(usize::from(part.is_none()));
        let idle = idle_procs() > others;
        let begin = Instant::now();
        let idle_result = idle.then(|| step(STEP, Processor::Idle));
        ON_IDLE.fetch_sub(1, SeqCst);
        let result = match (idle_result, part) {
            (None, Some(_)) => Some(step(STEP, Processor::Dedicated)),
            (result, _) => result,
        };
        match result {
            Some(Background::Over) => return,
            Some(Background::Dry(_)) => {
                CALLS.sleep(seen, DRY);
                worked = Duration::ZERO;
            }
            Some(Background::Marked(_)) if idle => worked = Duration::ZERO,
            Some(Background::Marked(_)) => {
                worked += begin.elapsed();
                if worked >= TURN {
                    let part = part.unwrap_or(1.0);
                    CALLS.sleep(seen, worked.mul_f64((1.0 - part) / part));
                    worked = Duration::ZERO;
                }
            }
            None => {
                CALLS.sleep(seen, IDLE);
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
