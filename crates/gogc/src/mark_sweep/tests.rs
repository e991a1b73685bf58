//! The collector on the simulated heap, against plain reachability.

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::buffer::ITEMS;
use crate::env::RootKind;
use crate::mark::OBLET;
use crate::pacer::GcPercent;
use crate::testing::{Scanning, Shape, SimHeap, SimWorld, StopRefused};
use crate::word::WORD;

pub(super) type Sim = MarkSweep<SimHeap, SimWorld>;

fn sim(granules: usize, world: SimWorld) -> Sim {
    sim_by(Method::StopTheWorld, granules, world)
}

pub(super) fn sim_by(method: Method, granules: usize, world: SimWorld) -> Sim {
    MarkSweep::new(SimHeap::new(granules), world, Config::default(), method).unwrap()
}

/// A list of `length` objects, each with `data` words beside the link; returns its head.
pub(super) fn list(heap: &SimHeap, length: usize, data: usize) -> usize {
    let mut head = 0;
    for _ in 0..length {
        let shape = Shape {
            data,
            ..Shape::pointers(1)
        };
        let object = heap.allocate(shape).unwrap();
        heap.store(object, 0, head);
        head = object;
    }
    head
}

/// Whether the heap is exactly what is reachable from the roots.
pub(super) fn assert_exact(sim: &Sim) {
    let reachable = sim.heap().reachable(sim.world().root_words());
    assert_eq!(sim.heap().objects(), reachable);
}

#[test]
fn keeps_what_is_reachable_and_frees_the_rest() {
    const LENGTH: usize = if cfg!(miri) { 50 } else { 1000 };
    const LIST: Bytes = Bytes(16 * LENGTH as u64);
    for world in [
        SimWorld::new(1),
        SimWorld::new(3),
        SimWorld::one_after_the_other(3),
    ] {
        let sim = sim(3 * LENGTH, world);
        let kept = list(sim.heap(), LENGTH, 1);
        list(sim.heap(), LENGTH, 1);
        // An address inside the object will do; a word that is no address does no harm.
        sim.world()
            .add_root(RootKind::Stack, vec![3, kept + 9, usize::MAX]);
        let stats = sim.collect(Reason::Forced).unwrap();
        assert_eq!(stats.marked.objects, LENGTH as u64);
        assert_eq!(stats.marked.marked, LIST);
        assert_eq!(stats.marked.stacks, Bytes(24));
        assert_eq!(stats.heap_before, LIST + LIST);
        assert_eq!(stats.heap_live, LIST);
        assert_eq!(sim.heap().usage().collected, LIST);
        assert_eq!(sim.phase(), Phase::Off);
        assert!(!sim.barrier().is_on());
        assert_exact(&sim);
    }
}

#[test]
fn data_that_looks_like_a_pointer_is_not_followed() {
    let sim = sim(100, SimWorld::new(1));
    let dead = sim.heap().allocate(Shape::pointers(1)).unwrap();
    let kept = sim
        .heap()
        .allocate(Shape {
            data: 1,
            ..Shape::pointers(1)
        })
        .unwrap();
    sim.heap().store(kept, 1, dead);
    sim.world().add_root(RootKind::Handle, vec![kept]);
    sim.collect(Reason::Forced).unwrap();
    assert_eq!(sim.heap().objects().len(), 1);
}

#[test]
fn large_objects_are_scanned_whole() {
    for workers in [1, 3] {
        let words = 3 * OBLET / WORD + 5;
        let sim = sim(words, SimWorld::new(workers));
        let large = sim.heap().allocate(Shape::pointers(words)).unwrap();
        for index in (0..words)
            .step_by((words / 50).max(20))
            .chain([OBLET / WORD, words - 1])
        {
            sim.heap().store(large, index, list(sim.heap(), 2, 0));
        }
        list(sim.heap(), 10, 0);
        sim.world().add_root(RootKind::Global, vec![large]);
        let stats = sim.collect(Reason::Forced).unwrap();
        assert!(stats.marked.heap_scanned >= Bytes((words * WORD) as u64));
        assert_exact(&sim);
    }
}

#[test]
fn the_dead_with_finalizers_are_kept_once_with_all_they_reach() {
    let length = if cfg!(miri) { 100 } else { 2000 };
    let sim = sim(2 * length, SimWorld::new(2));
    let inner = list(sim.heap(), length, 0);
    let shape = Shape {
        finalizer: true,
        ..Shape::pointers(1)
    };
    let outer = sim.heap().allocate(shape).unwrap();
    sim.heap().store(outer, 0, inner);
    sim.collect(Reason::Forced).unwrap();
    assert_eq!(sim.heap().take_finalized(), [outer]);
    assert_eq!(sim.heap().objects().len(), length + 1);
    let stats = sim.collect(Reason::Forced).unwrap();
    assert_eq!(stats.cycle, 2);
    assert!(sim.heap().take_finalized().is_empty());
    assert!(sim.heap().objects().is_empty());
}

/// Without memory for a large queue, marking takes longer and misses nothing.
#[test]
fn marking_is_complete_when_buffers_are_refused() {
    let (alone, spans) = (Scanning::Alone, Scanning::Spans);
    let beside = Method::Concurrent;
    for (workers, scanning, method) in [
        (1, alone, beside),
        (3, alone, beside),
        (1, spans, beside),
        (3, spans, beside),
        (1, spans, Method::StopTheWorld),
    ] {
        // More objects, and more spans, than the first chunk of buffers has room for.
        let wide = if cfg!(miri) { 220 } else { 50_000 };
        let heap = SimHeap::new(4 * wide + 100).scanned(scanning);
        let world = SimWorld::new(workers);
        let sim = MarkSweep::new(heap, world, Config::default(), method).unwrap();
        let root = sim.heap().allocate(Shape::pointers(wide)).unwrap();
        for index in 0..wide {
            sim.heap().store(root, index, list(sim.heap(), 3, 0));
        }
        list(sim.heap(), 100, 0);
        sim.world().add_root(RootKind::Handle, vec![root]);
        sim.world().allow_memory(0);
        let stats = sim.collect(Reason::Forced).unwrap();
        assert_eq!(stats.marked.objects as usize, 1 + 3 * wide);
        assert_exact(&sim);
        let events = sim.world().take_events();
        let refused = events
            .iter()
            .any(|event| matches!(event, Event::BuffersRefused { cycle: 1 }));
        // Of the few there are when interpreted, several markers may keep up with each other; and of spans there are too few. Several markers that share
        // spans each have fewer, and so has one that gives back what it has after each step.
        let may_do = match scanning {
            Scanning::Alone => workers > 1 && cfg!(miri),
            _ => method == beside || cfg!(miri),
        };
        assert!(refused || may_do);
    }
}

#[test]
fn no_memory_at_all_is_a_clear_error() {
    let world = SimWorld::new(1);
    world.allow_memory(0);
    let error = MarkSweep::new(SimHeap::new(1), world, Config::default(), Method::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("ulimit -v"), "{error}");
}

#[test]
fn memory_for_buffers_is_given_back() {
    const BUFFER: usize = (ITEMS + 2) * WORD;
    let buffers = if cfg!(miri) { 240 } else { 1200 };
    let objects = buffers * ITEMS;
    let heap = SimHeap::new(objects).scanned(Scanning::Alone);
    let world = SimWorld::new(1);
    let sim = MarkSweep::new(heap, world, Config::default(), Method::StopTheWorld).unwrap();
    let many = (0..objects).map(|_| list(sim.heap(), 1, 0)).collect();
    sim.world().add_root(RootKind::Handle, many);
    sim.collect(Reason::Forced).unwrap();
    assert!(sim.world().memory_peak() >= buffers * BUFFER);
    // The first three chunks are kept.
    assert_eq!(sim.world().memory_in_use(), (32 + 64 + 128) * BUFFER);
}

#[test]
fn a_world_that_will_not_stop_is_reported_and_changes_nothing() {
    let sim = sim(1000, SimWorld::new(1));
    list(sim.heap(), 10, 0);
    sim.world().refuse_stop(true);
    let error = sim.collect(Reason::Forced).unwrap_err();
    assert_eq!(error, CycleError::NotStopped(StopRefused));
    assert!(error.to_string().contains("could not be stopped"));
    assert_eq!(sim.phase(), Phase::Off);
    assert_eq!(sim.heap().objects().len(), 10);
    sim.world().refuse_stop(false);
    assert_eq!(sim.collect(Reason::Forced).unwrap().cycle, 1);
    assert!(sim.heap().objects().is_empty());
}

#[test]
fn cycles_come_when_the_heap_reaches_its_goal() {
    let sim = sim(10_000, SimWorld::new(1));
    sim.reconfigure(Config {
        percent: GcPercent::Percent(1),
        ..Config::default()
    });
    let mut cycles = 0;
    for _ in 0..200 {
        list(sim.heap(), 2, 99);
        cycles += u64::from(sim.collect_if_due().unwrap().is_some());
        sim.sweep(Bytes::mib(16));
    }
    // 200 * 1600 bytes with the smallest possible goal of 64 KiB.
    assert_eq!(cycles, 4);
    assert_eq!(sim.last_cycle().unwrap().cycle, cycles);
    sim.reconfigure(Config {
        percent: GcPercent::Off,
        ..Config::default()
    });
    assert_eq!(sim.goal(), Bytes(u64::MAX));
    list(sim.heap(), 100, 99);
    assert!(sim.collect_if_due().unwrap().is_none());
}

#[test]
fn events_tell_the_story_in_order() {
    let sim = sim(100, SimWorld::new(1));
    list(sim.heap(), 1, 0);
    sim.collect(Reason::Periodic).unwrap();
    let mut phases = Vec::new();
    let events = sim.world().take_events();
    for event in &events {
        if let Event::PhaseStart { phase, .. } = event {
            phases.push(*phase);
        }
    }
    let expected = [
        Phase::SweepTermination,
        Phase::Mark,
        Phase::MarkTermination,
        Phase::Sweep,
    ];
    assert_eq!(phases, expected);
    assert!(matches!(
        events[0],
        Event::CycleStart {
            cycle: 1,
            reason: Reason::Periodic,
            ..
        }
    ));
    assert!(matches!(events[5], Event::CycleEnd(stats) if stats.clock.mark > Nanos(0)));
    assert_eq!(
        sim.phase(),
        Phase::Sweep,
        "a cycle that nobody forced is swept lazily"
    );
    assert!(sim.sweep(Bytes::mib(1)).done);
    assert_eq!(sim.phase(), Phase::Off);
    assert!(sim.heap().objects().is_empty());
}

/// What is garbage when a collection is forced is known to be so when the call returns, whoever else collects
/// at the time.
#[test]
fn stress_forced_cycles_begin_after_the_call() {
    let rounds = if cfg!(miri) { 3 } else { 200 };
    let sim = sim(1 << 8, SimWorld::new(2));
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let shape = Shape {
                        finalizer: true,
                        ..Shape::pointers(1)
                    };
                    let object = sim.world().mutate(|| sim.heap().allocate(shape).unwrap());
                    sim.collect(Reason::Forced).unwrap();
                    let mut found = lock(&found);
                    found.extend(sim.heap().take_finalized());
                    let at = found.iter().position(|&dead| dead == object);
                    found.swap_remove(
                        at.expect("a cycle from before the call was taken for an answer"),
                    );
                }
            });
        }
    });
    sim.collect(Reason::Forced).unwrap();
    assert!(sim.heap().objects().is_empty());
}

/// Mutators that allocate, link and drop while collections run see their own data intact.
#[test]
fn stress_live_data_survives_concurrent_mutators() {
    const SLOTS: usize = 8;
    let (rounds, granules) = if cfg!(miri) {
        (60, 1 << 7)
    } else {
        (4000, 1 << 15)
    };
    let sim = sim(granules, SimWorld::new(2));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mutators: Vec<_> = (0..3usize)
            .map(|thread| {
                let sim = &sim;
                let area = sim.world().add_root(RootKind::Stack, vec![0; SLOTS]);
                scope.spawn(move || mutate(sim, area, thread, rounds))
            })
            .collect();
        let (sim, stop) = (&sim, &stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                sim.collect(Reason::Periodic).unwrap();
                sim.sweep(Bytes::kib(16));
            }
        });
        for mutator in mutators {
            mutator.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    sim.collect(Reason::Forced).unwrap();
    assert_exact(&sim);
}

/// Keeps lists in the slots of a root area, whose elements carry the thread's number, and checks them now and
/// then.
fn mutate(sim: &Sim, area: usize, thread: usize, rounds: usize) {
    let (heap, world) = (sim.heap(), sim.world());
    let mut random = 0x9E37_79B9 + thread as u64;
    for _ in 0..rounds {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let slot = (random >> 33) as usize % 8;
        let full = world.mutate(|| {
            world.with_root(area, |slots| match random >> 60 {
                0..=10 => {
                    let shape = Shape {
                        data: 1,
                        ..Shape::pointers(1)
                    };
                    let Some(object) = heap.allocate(shape) else {
                        return true;
                    };
                    heap.store(object, 0, slots[slot]);
                    heap.store(object, 1, thread);
                    slots[slot] = object;
                    false
                }
                11..=12 => {
                    slots[slot] = 0;
                    false
                }
                _ => {
                    let mut at = slots[slot];
                    while at != 0 {
                        assert_eq!(heap.load(at, 1), thread);
                        at = heap.load(at, 0);
                    }
                    false
                }
            })
        });
        if full {
            sim.collect(Reason::Forced).unwrap();
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Allocate {
        pointers: usize,
        data: usize,
        slot: usize,
    },
    Link {
        from: usize,
        index: usize,
        to: usize,
    },
    Copy {
        from: usize,
        index: usize,
        to: usize,
    },
    Clear(usize),
    Collect,
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0usize..6;
    prop_oneof![
        4 => (0usize..10, 0usize..3, slot())
            .prop_map(|(pointers, data, slot)| Step::Allocate { pointers, data, slot }),
        6 => (slot(), 0usize..10, slot()).prop_map(|(from, index, to)| Step::Link { from, index, to }),
        3 => (slot(), 0usize..10, slot()).prop_map(|(from, index, to)| Step::Copy { from, index, to }),
        1 => slot().prop_map(Step::Clear),
        1 => Just(Step::Collect),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 96 }))]

    /// Random graphs: after each full cycle the heap is exactly what plain reachability says.
    #[test]
    fn collecting_leaves_exactly_the_reachable(
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 25 } else { 150 }), workers in 1usize..3, stopped: bool,
        scanning in prop::sample::select(&[Scanning::Alone, Scanning::Spans, Scanning::Any][..])
    ) {
        let heap = SimHeap::new(if cfg!(miri) { 200 } else { 2000 }).scanned(scanning);
        let method = if stopped { Method::StopTheWorld } else { Method::Concurrent };
        let world = SimWorld::one_after_the_other(workers);
        let sim = MarkSweep::new(heap, world, Config::default(), method).unwrap();
        let (heap, world) = (sim.heap(), sim.world());
        let area = world.add_root(RootKind::Stack, vec![0; 6]);
        for step in steps {
            match step {
                Step::Allocate { pointers, data, slot } => {
                    let shape = Shape { pointers, data, finalizer: false };
                    let object = heap.allocate(shape).unwrap();
                    world.with_root(area, |slots| slots[slot] = object);
                }
                Step::Link { from, index, to } => world.with_root(area, |slots| {
                    if slots[from] != 0 && index < heap.pointers(slots[from]) {
                        heap.store(slots[from], index, slots[to]);
                    }
                }),
                Step::Copy { from, index, to } => world.with_root(area, |slots| {
                    if slots[from] != 0 && index < heap.pointers(slots[from]) {
                        slots[to] = heap.load(slots[from], index);
                    }
                }),
                Step::Clear(slot) => world.with_root(area, |slots| slots[slot] = 0),
                Step::Collect => {
                    sim.collect(Reason::Forced).unwrap();
                    assert_exact(&sim);
                }
                Step::Sweep => {
                    sim.collect(Reason::HeapGoal).unwrap();
                    sim.sweep(Bytes(800));
                }
            }
        }
        let reachable = heap.reachable(world.root_words());
        prop_assert!(heap.objects().is_superset(&reachable));
        sim.collect(Reason::Forced).unwrap();
        assert_exact(&sim);
    }
}
