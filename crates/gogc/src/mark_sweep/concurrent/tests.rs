//! Marking beside mutators on the simulated heap, with the marks checked at the end of every cycle.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::barrier::Recorded;
use crate::env::RootKind;
use crate::mark_sweep::tests::{Sim, assert_exact, list, sim_by};
use crate::testing::{Shape, SimWorld, StopRefused};

const NODE: Shape = Shape {
    pointers: 2,
    data: 2,
    finalizer: false,
};

/// A mutator: a root area that stands for its stack, and a barrier buffer.
struct Mutator<'s> {
    sim: &'s Sim,
    stack: usize,
    number: usize,
    random: u64,
}

/// Slots of a stack.
const SLOTS: usize = 8;

impl<'s> Mutator<'s> {
    fn new(sim: &'s Sim, number: usize) -> Mutator<'s> {
        let stack = sim.world().add_root(RootKind::Stack, vec![0; SLOTS]);
        Mutator {
            sim,
            stack,
            number,
            random: 0x9E37_79B9 + number as u64,
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 33) as usize % below
    }

    /// A store as a mutator has to make it, in a section in which the world does not stop.
    fn store(&self, object: usize, index: usize, value: usize) {
        let (heap, mut buffer) = (self.sim.heap(), BarrierBuffer::new());
        let old = heap.load(object, index);
        let recorded = self
            .sim
            .barrier()
            .write(ObjectAddr(object), old, value, || &mut buffer);
        assert_eq!(recorded, Recorded::HasRoom);
        self.sim.flush_barrier(&mut buffer);
        heap.store(object, index, value);
    }

    fn new_node(&self, next: usize) -> Option<usize> {
        let object = self.sim.heap().allocate(NODE)?;
        self.store(object, 0, next);
        self.sim.heap().store(object, 2, self.number);
        self.sim.heap().store(object, 3, !self.number);
        self.sim.assist(Bytes(32));
        Some(object)
    }

    /// Does something to the lists that its stack and the `shared` area hold. False when the heap is full.
    fn step(&mut self, shared: usize) -> bool {
        let (action, a, b) = (self.random(8), self.random(SLOTS), self.random(SLOTS));
        let (sim, heap) = (self.sim, self.sim.heap());
        let with = |area, f: &mut dyn FnMut(&mut Vec<usize>)| sim.world().with_root(area, |w| f(w));
        let mut full = false;
        sim.world().mutate(|| match action {
            // Grows a list.
            0..=2 => {
                let mut head = 0;
                with(self.stack, &mut |stack| head = stack[a]);
                match self.new_node(head) {
                    Some(object) => with(self.stack, &mut |stack| stack[a] = object),
                    None => full = true,
                }
            }
            // Takes the rest of a list off its head: the only pointer moves from the heap to the stack.
            3 => {
                let mut head = 0;
                with(self.stack, &mut |stack| head = stack[a]);
                if head != 0 {
                    let rest = heap.load(head, 0);
                    self.store(head, 0, 0);
                    with(self.stack, &mut |stack| stack[b] = rest);
                }
            }
            // Hides a list in an object: the only pointer moves from the stack to the heap.
            4 => {
                let (mut object, mut hidden) = (0, 0);
                with(self.stack, &mut |stack| {
                    object = stack[a];
                    hidden = if a == b {
                        0
                    } else {
                        std::mem::take(&mut stack[b])
                    };
                });
                if object != 0 {
                    self.store(object, 1, hidden);
                }
            }
            // Changes places with what stands for a static.
            5 => {
                let mut taken = 0;
                with(self.stack, &mut |stack| {
                    taken = std::mem::take(&mut stack[a])
                });
                with(shared, &mut |words| {
                    std::mem::swap(&mut words[self.number], &mut taken)
                });
                with(self.stack, &mut |stack| stack[a] = taken);
            }
            // Looks whether everything is what it was.
            _ => {
                let mut at = 0;
                with(self.stack, &mut |stack| at = stack[a]);
                for _ in 0..50 {
                    if at == 0 {
                        break;
                    }
                    let (number, check) = (heap.load(at, 2), heap.load(at, 3));
                    assert_eq!(
                        (number, check),
                        (self.number, !self.number),
                        "freed too early"
                    );
                    let side = heap.load(at, 1);
                    at = if side != 0 && side != at {
                        side
                    } else {
                        heap.load(at, 0)
                    };
                }
                if at == 0 || b == 0 {
                    with(self.stack, &mut |stack| stack[b] = 0);
                }
            }
        });
        !full
    }
}

/// Mutators that move the only pointers there are between stacks, objects and a static, while cycles run back to back. Each cycle checks its marks.
#[test]
fn stress_marks_are_right_beside_mutators() {
    let (rounds, granules) = if cfg!(miri) {
        (80, 1 << 8)
    } else {
        (20_000, 1 << 15)
    };
    for workers in [1, 3] {
        let sim = sim_by(Method::Concurrent, granules, SimWorld::new(workers));
        sim.check_marks(true);
        let shared = sim.world().add_root(RootKind::Global, vec![0; 3]);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (sim, stop) = (&sim, &stop);
            let mutators: Vec<_> = (0..3)
                .map(|number| {
                    let mut mutator = Mutator::new(sim, number);
                    scope.spawn(move || {
                        for _ in 0..rounds {
                            if !mutator.step(shared) {
                                sim.world().with_root(mutator.stack, |stack| stack.fill(0));
                                sim.collect(Reason::Forced).unwrap();
                            }
                        }
                    })
                })
                .collect();
            let collector = scope.spawn(move || {
                let mut cycles = 0;
                // Mutators may be done before the first is.
                while !stop.load(Ordering::Relaxed) || cycles < 2 {
                    cycles = sim.collect(Reason::Periodic).unwrap().cycle;
                    sim.sweep(Bytes::kib(16));
                }
            });
            for mutator in mutators {
                mutator.join().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            collector.join().unwrap();
        });
        sim.collect(Reason::Forced).unwrap();
        assert_exact(&sim);
        assert!(!sim.barrier().is_on());
    }
}

#[test]
fn a_lost_object_is_found_by_the_check() {
    let sim = sim_by(Method::Concurrent, 100, SimWorld::new(1));
    sim.check_marks(true);
    let area = sim
        .world()
        .add_root(RootKind::Stack, vec![list(sim.heap(), 2, 0)]);
    // A world that does not say that a root has changed: it forgets after each stop.
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        sim.world().lie_about_changes(true);
        let _ = sim.collect(Reason::Forced);
    }));
    let message = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("a root of the kind Stack"), "{message}");
    assert!(!sim.world().root_words().is_empty(), "{area}");
}

#[test]
fn a_world_that_will_not_stop_at_the_end_is_asked_again() {
    let sim = sim_by(Method::Concurrent, 1000, SimWorld::new(1));
    let kept = list(sim.heap(), 10, 0);
    sim.world().add_root(RootKind::Handle, vec![kept]);
    list(sim.heap(), 10, 0);
    sim.world().refuse_stop_after(1);
    let error = sim.collect(Reason::Periodic).unwrap_err();
    assert_eq!(error, CycleError::NotStopped(StopRefused));
    assert!(sim.barrier().is_on(), "marking is not over");
    assert_eq!(sim.phase(), Phase::Mark);
    // Meanwhile a mutator goes on as the barrier demands.
    let fresh = sim.heap().allocate(Shape::pointers(1)).unwrap();
    assert!(sim.heap().marked(fresh));
    sim.world().refuse_stop(false);
    assert_eq!(sim.collect(Reason::Periodic).unwrap().cycle, 1);
    sim.finish_sweep();
    assert_eq!(
        sim.heap().objects().len(),
        11,
        "what was born meanwhile lives until the next"
    );
    sim.collect(Reason::Forced).unwrap();
    assert_eq!(sim.heap().objects().len(), 10);
}

/// With the barrier on no trigger makes anybody ask: a look whether a collection is due goes on with the cycle, however small the heap, when it is time.
#[test]
fn a_cycle_that_could_not_end_is_due_again() {
    let sim = sim_by(Method::Concurrent, 1000, SimWorld::new(1));
    list(sim.heap(), 10, 0);
    assert_eq!(sim.collect_if_due().unwrap(), None);
    sim.world().refuse_stop_after(1);
    sim.collect(Reason::Periodic).unwrap_err();
    let first = sim.retry_at().unwrap();
    let wait = |until: Nanos| {
        while sim.world().now() < until {
            std::thread::yield_now();
        }
    };
    wait(first);
    sim.collect_if_due().unwrap_err();
    let second = sim.retry_at().unwrap();
    assert!(second >= first + RETRY_AFTER && sim.barrier().is_on());
    sim.world().refuse_stop(false);
    wait(second);
    let stats = sim.collect_if_due().unwrap().unwrap();
    assert_eq!((stats.cycle, stats.reason), (1, Reason::Periodic));
    assert!(!sim.barrier().is_on() && sim.retry_at().is_none());
    assert_eq!(sim.collect_if_due().unwrap(), None);
}

/// A request is served by a cycle that began after it, even if one had to be finished first.
#[test]
fn forcing_after_a_cycle_that_could_not_end_runs_another() {
    let sim = sim_by(Method::Concurrent, 1000, SimWorld::new(1));
    sim.world().refuse_stop_after(1);
    sim.collect(Reason::Periodic).unwrap_err();
    list(sim.heap(), 10, 0);
    sim.world().refuse_stop(false);
    sim.collect(Reason::Forced).unwrap();
    assert!(sim.heap().objects().is_empty());
}

/// A mutator that allocates beside markers marks, and the more it allocates the more.
#[test]
fn mutators_assist() {
    let sim = sim_by(Method::Concurrent, 1 << 14, SimWorld::new(1));
    let head = list(sim.heap(), 1 << 12, 2);
    sim.world().add_root(RootKind::Handle, vec![head]);
    sim.collect(Reason::Forced).unwrap();
    sim.world().refuse_stop_after(1);
    sim.collect(Reason::Periodic).unwrap_err();
    // As if nothing had been marked, and nobody worked in the background.
    let marker = Marker::new(sim.heap(), sim.world(), &sim.marking);
    drop(marker);
    sim.account.open(100.0);
    let before = sim.account.balance();
    sim.assist(Bytes(1 << 10));
    assert_eq!(
        sim.account.balance(),
        before - 100 * (1 << 10),
        "nothing is left to mark"
    );
    sim.world().refuse_stop(false);
    sim.collect(Reason::Periodic).unwrap();
    sim.assist(Bytes(1 << 20));
    assert_eq!(
        sim.account.balance(),
        before - 100 * (1 << 10),
        "not marking, nothing is owed"
    );
}

#[test]
fn both_stops_are_short_and_told_apart() {
    let sim = sim_by(Method::Concurrent, 1000, SimWorld::new(2));
    let kept = list(sim.heap(), 100, 0);
    sim.world().add_root(RootKind::Stack, vec![kept]);
    let stats = sim.collect(Reason::Forced).unwrap();
    let PhaseClock {
        sweep_termination,
        mark,
        mark_termination,
    } = stats.clock;
    assert!(mark > Nanos(0) && sweep_termination > Nanos(0) && mark_termination > Nanos(0));
    assert!(stats.longest_pause >= mark_termination);
    assert!(stats.longest_pause <= sweep_termination.max(mark_termination));
    assert!(stats.cpu.background > Nanos(0));
    assert_eq!(stats.marked.objects, 100);
}

/// What mutators allocate from the last stop until the collector's thread runs again is not taken for what the cycle has kept.
#[test]
fn the_young_do_not_count_as_kept() {
    let sim = sim_by(Method::Concurrent, 1000, SimWorld::new(1));
    let kept = list(sim.heap(), 10, 0);
    sim.world().add_root(RootKind::Handle, vec![kept]);
    sim.collect(Reason::Forced).unwrap();
    sim.finish_sweep();
    let live = sim.heap().usage();
    let size = live.size();
    let begun = Begun {
        cycle: 2,
        reason: Reason::Forced,
        started: Nanos(0),
        usage: live,
        goal: size,
        running_at: Nanos(1),
        longest_pause: Nanos(1),
    };
    let ended = Ended {
        tally: sim.marking.tally(),
        heap_after_mark: size,
        live,
    };
    list(sim.heap(), 100, 0);
    assert!(sim.heap().usage().collected > live.collected);
    let (stats, report) = sim.describe(&begun, Nanos(2), Nanos(3), &ended);
    assert_eq!((stats.heap_live, report.usage), (size, live));
}
