//! What happens, as four words.
//!
//! Kinds of waits and phases are numbers in a word: a number that is none of them cannot come out of a ring, since what was overwritten is not read; if it did, the event would be left out.

use gogc::Phase;
use gosched::goroutine::{GoroutineId, WaitReason};
use std::panic::Location;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    /// Of the scheduler.
    Scheduler(gosched::env::Event),
    /// A collection begins, with so many bytes of heap and this goal.
    CycleBegins {
        heap: u64,
        goal: u64,
    },
    Phase(Phase),
    /// It is over, and found so many bytes alive.
    CycleEnds {
        cycle: u64,
        live: u64,
    },
    /// All threads are asked to stop: by the collector, or by another.
    Stopping {
        by_collector: bool,
    },
    /// All stand still.
    Stopped,
    /// All go on.
    Started,
}

/// With when and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Event {
    /// In nanoseconds of the monotonic clock.
    pub(crate) time: u64,
    /// The P of the thread that it happened on.
    pub(crate) p: Option<u32>,
    pub(crate) what: What,
}

/// The kinds, as numbers.
const CREATED: u8 = 1;
const RUNNING: u8 = 2;
const PARKED: u8 = 3;
const READIED: u8 = 4;
const YIELDED: u8 = 5;
const FINISHED: u8 = 6;
const BLOCKING: u8 = 7;
const RETAKEN: u8 = 8;
const THREAD: u8 = 9;
const CYCLE_BEGINS: u8 = 10;
const PHASE: u8 = 11;
const CYCLE_ENDS: u8 = 12;
const STOPPING: u8 = 13;
const STOPPED: u8 = 14;
const STARTED: u8 = 15;

const PHASES: [Phase; 5] = [
    Phase::Off,
    Phase::SweepTermination,
    Phase::Mark,
    Phase::MarkTermination,
    Phase::Sweep,
];

impl Event {
    /// Time; kind, a small number, and one more than the P; two numbers.
    #[inline]
    pub(super) fn encode(self) -> [u64; 4] {
        use gosched::env::Event as E;
        let (kind, small, a, b) = match self.what {
            What::Scheduler(event) => match event {
                E::Created(g, site) => (CREATED, 0, g.0, address(site)),
                E::Running(g) => (RUNNING, 0, g.0, 0),
                E::Parked(g, reason) => (PARKED, reason as u8, g.0, 0),
                E::Readied(g) => (READIED, 0, g.0, 0),
                E::Yielded(g) => (YIELDED, 0, g.0, 0),
                E::Finished(g) => (FINISHED, 0, g.0, 0),
                E::Blocking(g) => (BLOCKING, 0, g.0, 0),
                E::Retaken(p) => (RETAKEN, 0, p.into(), 0),
                E::ThreadCreated(m) => (THREAD, 0, m.into(), 0),
            },
            What::CycleBegins { heap, goal } => (CYCLE_BEGINS, 0, heap, goal),
            What::Phase(phase) => (PHASE, phase as u8, 0, 0),
            What::CycleEnds { cycle, live } => (CYCLE_ENDS, 0, cycle, live),
            What::Stopping { by_collector } => (STOPPING, by_collector.into(), 0, 0),
            What::Stopped => (STOPPED, 0, 0, 0),
            What::Started => (STARTED, 0, 0, 0),
        };
        let p = self.p.map_or(0, |p| u64::from(p) + 1);
        let head = u64::from(kind) | u64::from(small) << 8 | p << 16;
        [self.time, head, a, b]
    }

    /// `None` for words that are no event.
    ///
    /// # Safety
    /// 1. The words are of `encode`.
    pub(super) unsafe fn decode([time, head, a, b]: [u64; 4]) -> Option<Event> {
        use gosched::env::Event as E;
        let (kind, small) = (head as u8, (head >> 8) as u8);
        let g = GoroutineId(a);
        let of_scheduler = |event| Some(What::Scheduler(event));
        let what = match kind {
            // SAFETY: (1): the address of a `&'static`.
            CREATED => of_scheduler(E::Created(g, unsafe { site(b)? })),
            RUNNING => of_scheduler(E::Running(g)),
            PARKED => of_scheduler(E::Parked(g, reason(small)?)),
            READIED => of_scheduler(E::Readied(g)),
            YIELDED => of_scheduler(E::Yielded(g)),
            FINISHED => of_scheduler(E::Finished(g)),
            BLOCKING => of_scheduler(E::Blocking(g)),
            RETAKEN => of_scheduler(E::Retaken(a as u32)),
            THREAD => of_scheduler(E::ThreadCreated(a as u32)),
            CYCLE_BEGINS => Some(What::CycleBegins { heap: a, goal: b }),
            PHASE => PHASES
                .get(usize::from(small))
                .map(|&phase| What::Phase(phase)),
            CYCLE_ENDS => Some(What::CycleEnds { cycle: a, live: b }),
            STOPPING => Some(What::Stopping {
                by_collector: small != 0,
            }),
            STOPPED => Some(What::Stopped),
            STARTED => Some(What::Started),
            _ => None,
        };
        let p = (head >> 16).checked_sub(1).map(|p| p as u32);
        Some(Event {
            time,
            p,
            what: what?,
        })
    }
}

fn address(site: &'static Location<'static>) -> u64 {
    (&raw const *site).expose_provenance() as u64
}

/// # Safety
/// 1. The address is from [`address`], or 0.
unsafe fn site(address: u64) -> Option<&'static Location<'static>> {
    // SAFETY: (1).
    unsafe { std::ptr::with_exposed_provenance::<Location<'static>>(address as usize).as_ref() }
}

fn reason(number: u8) -> Option<WaitReason> {
    WaitReason::ALL.get(usize::from(number)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gosched::env::Event as E;

    #[test]
    fn every_event_comes_out_as_it_went_in() {
        let g = GoroutineId(u64::MAX - 1);
        let here = Location::caller();
        let of_scheduler = [
            E::Created(g, here),
            E::Running(g),
            E::Parked(g, WaitReason::Synctest),
            E::Readied(g),
            E::Yielded(g),
            E::Finished(g),
            E::Blocking(g),
            E::Retaken(1023),
            E::ThreadCreated(7),
        ];
        let others = [
            What::CycleBegins {
                heap: 1 << 40,
                goal: 2,
            },
            What::Phase(Phase::Sweep),
            What::CycleEnds {
                cycle: 300,
                live: 5,
            },
            What::Stopping { by_collector: true },
            What::Stopping {
                by_collector: false,
            },
            What::Stopped,
            What::Started,
        ];
        for what in of_scheduler.map(What::Scheduler).into_iter().chain(others) {
            for p in [None, Some(0), Some(1023)] {
                let event = Event { time: 99, p, what };
                // SAFETY: of `encode`.
                assert_eq!(unsafe { Event::decode(event.encode()) }, Some(event));
            }
        }
        // SAFETY: no event refers to anything.
        assert_eq!(unsafe { Event::decode([0; 4]) }, None);
    }
}
