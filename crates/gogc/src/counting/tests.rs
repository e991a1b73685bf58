//! Counting on the simulated heap, against plain reachability, with the counts checked at the end of every stop.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::barrier::Recorded;
use crate::env::{HeapView, RootKind};
use crate::testing::{Shape, SimHeap, SimWorld, StopRefused};

type Sim = Counting<SimHeap, SimWorld>;

fn sim_with(granules: usize, cycles: Cycles) -> Sim {
    let world = SimWorld::new(1);
    let sim = Counting::new(SimHeap::new(granules), world, Config::default(), cycles);
    sim.check_counts(true);
    sim
}

fn sim(granules: usize) -> Sim {
    sim_with(granules, Cycles::Found)
}

/// One mutator's part in counting.
struct Recorder<'s> {
    sim: &'s Sim,
    buffer: BarrierBuffer,
}

impl<'s> Recorder<'s> {
    fn new(sim: &'s Sim) -> Self {
        Recorder {
            sim,
            buffer: BarrierBuffer::new(),
        }
    }

    fn recorded(&mut self, recorded: Recorded) {
        if recorded == Recorded::Full {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.sim.flush_barrier(&mut self.buffer);
    }

    fn store(&mut self, object: usize, index: usize, value: usize) {
        let (heap, barrier) = (self.sim.heap(), self.sim.barrier());
        let old = heap.load(object, index);
        heap.store(object, index, value);
        let buffer = &mut self.buffer;
        let recorded = barrier.write(ObjectAddr(object), old, value, || buffer);
        self.recorded(recorded);
    }

    /// An object whose first pointer is `first`.
    fn allocate(&mut self, shape: Shape, first: usize) -> Option<usize> {
        let (heap, barrier) = (self.sim.heap(), self.sim.barrier());
        let object = heap.allocate(shape)?;
        if first != 0 && shape.pointers > 0 {
            heap.store(object, 0, first);
            let buffer = &mut self.buffer;
            let recorded = barrier.born_with(first, || buffer);
            self.recorded(recorded);
        }
        let buffer = &mut self.buffer;
        let recorded = barrier.born(ObjectAddr(object), || buffer);
        self.recorded(recorded);
        Some(object)
    }

    fn new_object(&mut self, pointers: usize, first: usize) -> usize {
        self.allocate(Shape::pointers(pointers), first).unwrap()
    }

    fn list(&mut self, length: usize) -> usize {
        (0..length).fold(0, |head, _| self.new_object(1, head))
    }

    /// Two objects that lead to each other.
    fn circle(&mut self) -> usize {
        let first = self.new_object(1, 0);
        let second = self.new_object(1, first);
        self.store(first, 0, second);
        first
    }

    fn collect(&mut self, reason: Reason) -> CycleStats {
        self.flush();
        self.sim.collect(reason).unwrap()
    }
}

fn assert_exact(sim: &Sim) {
    let reachable = sim.heap().reachable(sim.world().root_words());
    assert_eq!(sim.heap().objects(), reachable);
}

#[test]
fn what_nothing_leads_to_is_freed_in_the_next_stop_and_the_rest_stays() {
    let length = if cfg!(miri) { 50 } else { 1000 };
    let sim = sim(4 * length);
    let mut mutator = Recorder::new(&sim);
    let kept = mutator.list(length);
    mutator.list(length);
    let area = sim.world().add_root(RootKind::Stack, vec![3, kept + 9]);
    // The smallest of stops does.
    let stats = mutator.collect(Reason::HeapGoal);
    assert_eq!(stats.heap_live, Bytes(16 * length as u64));
    assert_eq!(stats.marked.stacks, Bytes(16));
    assert_exact(&sim);
    // A root that goes on takes the list with it, though no count changes.
    sim.world().with_root(area, |words| words.fill(0));
    mutator.collect(Reason::HeapGoal);
    assert!(sim.heap().objects().is_empty());
    assert_eq!(sim.heap().usage().collected, Bytes(0));
}

#[test]
fn an_object_lives_as_long_as_the_last_of_its_pointers() {
    let sim = sim(100);
    let mut mutator = Recorder::new(&sim);
    let shared = mutator.new_object(0, 0);
    let (first, second) = (mutator.new_object(1, shared), mutator.new_object(1, shared));
    sim.world().add_root(RootKind::Handle, vec![first, second]);
    mutator.collect(Reason::HeapGoal);
    mutator.store(first, 0, 0);
    mutator.collect(Reason::HeapGoal);
    assert_eq!(sim.heap().objects().len(), 3);
    mutator.store(second, 0, 0);
    mutator.collect(Reason::HeapGoal);
    assert_eq!(sim.heap().objects().len(), 2);
}

/// What counting is known for, and what becomes of it.
#[test]
fn circles_leak_unless_they_are_looked_for() {
    for (cycles, left) in [(Cycles::Leaked, 8), (Cycles::Found, 0)] {
        let sim = sim_with(100, cycles);
        let mut mutator = Recorder::new(&sim);
        for _ in 0..4 {
            mutator.circle();
        }
        mutator.collect(Reason::HeapGoal);
        assert_eq!(
            sim.heap().objects().len(),
            8,
            "not looked for below the goal"
        );
        for _ in 0..3 {
            mutator.collect(Reason::Forced);
        }
        assert_eq!(sim.heap().objects().len(), left);
    }
}

#[test]
fn a_circle_dies_when_the_last_root_goes_on() {
    let sim = sim(100);
    let mut mutator = Recorder::new(&sim);
    let first = mutator.circle();
    let area = sim.world().add_root(RootKind::Stack, vec![first]);
    for _ in 0..3 {
        mutator.collect(Reason::Forced);
        assert_eq!(sim.heap().objects().len(), 2);
    }
    // To the other object of the circle, which was never stored to since.
    let second = sim.heap().load(first, 0);
    sim.world().with_root(area, |words| words[0] = second);
    mutator.collect(Reason::Forced);
    assert_eq!(sim.heap().objects().len(), 2);
    sim.world().with_root(area, |words| words[0] = 0);
    mutator.collect(Reason::Forced);
    assert!(sim.heap().objects().is_empty());
}

#[test]
fn what_hangs_on_a_dead_circle_dies_with_it_and_what_a_living_object_leads_to_does_not() {
    let sim = sim(100);
    let mut mutator = Recorder::new(&sim);
    let circle = mutator.new_object(3, 0);
    let (tail, shared) = (mutator.list(5), mutator.list(5));
    mutator.store(circle, 0, circle);
    mutator.store(circle, 1, tail);
    mutator.store(circle, 2, shared);
    let holder = mutator.new_object(1, shared);
    sim.world().add_root(RootKind::Handle, vec![holder]);
    mutator.collect(Reason::Forced);
    assert_eq!(sim.heap().objects().len(), 6);
    assert_exact(&sim);
}

/// A trial takes its last count from it, while only a root keeps it.
#[test]
fn what_a_dead_circle_led_to_dies_when_its_root_goes_on() {
    let sim = sim(100);
    let mut mutator = Recorder::new(&sim);
    let leaf = mutator.new_object(0, 0);
    let circle = mutator.new_object(2, leaf);
    mutator.store(circle, 1, circle);
    let area = sim.world().add_root(RootKind::Stack, vec![leaf]);
    mutator.collect(Reason::Forced);
    assert_exact(&sim);
    sim.world().with_root(area, |words| words.fill(0));
    mutator.collect(Reason::HeapGoal);
    assert!(sim.heap().objects().is_empty());
}

#[test]
fn a_newborn_with_many_pointers_is_counted_at_once() {
    let sim = sim(1000);
    let mut mutator = Recorder::new(&sim);
    let shared = mutator.new_object(0, 0);
    let large = sim.heap().allocate(Shape::pointers(500)).unwrap();
    for index in 0..500 {
        sim.heap().store(large, index, shared);
    }
    sim.scan_newborn(ObjectAddr(large));
    let buffer = &mut mutator.buffer;
    assert_eq!(
        sim.barrier().born(ObjectAddr(large), || buffer),
        Recorded::HasRoom
    );
    let area = sim.world().add_root(RootKind::Handle, vec![large]);
    mutator.collect(Reason::HeapGoal);
    assert_eq!(sim.heap().objects().len(), 2);
    sim.world().with_root(area, |words| words[0] = 0);
    mutator.collect(Reason::HeapGoal);
    assert!(sim.heap().objects().is_empty());
}

#[test]
fn a_count_that_is_off_is_found_by_the_check() {
    let sim = sim(100);
    let mut mutator = Recorder::new(&sim);
    let kept = mutator.list(2);
    sim.world().add_root(RootKind::Handle, vec![kept]);
    // A store past the barrier.
    let other = mutator.new_object(0, 0);
    sim.world().add_root(RootKind::Handle, vec![other]);
    sim.heap().store(kept, 0, other);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        mutator.collect(Reason::Forced);
    }));
    let message = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("is off by"), "{message}");
}

#[test]
fn stops_come_after_so_much_allocation_and_trials_at_the_goal() {
    let sim = sim(1 << 17);
    sim.check_counts(false);
    sim.reconfigure(Config {
        percent: GcPercent::Percent(25),
        ..Config::default()
    });
    let mut mutator = Recorder::new(&sim);
    let used = || sim.heap().usage().collected;
    let mut live_after = Vec::new();
    while live_after.len() < 4 {
        mutator.circle();
        mutator.flush();
        if sim.collect_if_due().unwrap().is_some() {
            live_after.push(used());
        }
    }
    // The goal is a megabyte, and a stop comes each quarter of one.
    let kib = [256, 512, 768, 0].map(Bytes::kib);
    assert_eq!(live_after, kib);
}

/// Without memory for the lists, nothing is lost and nothing stays but circles, which are found when there is memory again.
#[test]
fn refused_lists_are_made_good_by_walks() {
    let length = if cfg!(miri) { 30 } else { 2000 };
    let sim = sim(8 * length);
    let mut mutator = Recorder::new(&sim);
    let kept = mutator.new_object(2, 0);
    let area = sim.world().add_root(RootKind::Handle, vec![kept]);
    sim.world().allow_memory(0);
    // Wide, so that a traversal has much to remember.
    let wide = mutator.new_object(length, 0);
    for index in 0..length {
        let list = mutator.list(2);
        mutator.store(wide, index, list);
    }
    mutator.store(kept, 0, wide);
    let circle = mutator.circle();
    mutator.store(kept, 1, circle);
    mutator.collect(Reason::Forced);
    assert_exact(&sim);
    mutator.store(kept, 0, 0);
    mutator.store(kept, 1, 0);
    mutator.collect(Reason::Forced);
    assert_eq!(sim.heap().objects().len(), 3, "all but the circle");
    sim.world().allow_memory(usize::MAX);
    mutator.collect(Reason::Forced);
    assert_eq!(sim.heap().objects(), BTreeSet::from([kept]));
    sim.world().with_root(area, |words| words[0] = 0);
    mutator.collect(Reason::Forced);
    assert!(sim.heap().objects().is_empty());
    let events = sim.world().take_events();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::BuffersRefused { .. }))
    );
}

/// Memory that gives out at every possible moment of a trial.
#[test]
fn a_trial_that_is_refused_memory_half_way_changes_nothing() {
    for chunks in 0..6 {
        let sim = sim(4000);
        let mut mutator = Recorder::new(&sim);
        let root = mutator.new_object(if cfg!(miri) { 40 } else { 1200 }, 0);
        sim.world().add_root(RootKind::Handle, vec![root]);
        for index in 0..sim.heap().pointers(root) {
            let circle = mutator.circle();
            mutator.store(root, index, circle);
        }
        mutator.collect(Reason::HeapGoal);
        mutator.store(root, 3, 0);
        mutator.flush();
        let allowed = sim.world().memory_in_use() + chunks * 3000;
        sim.world().allow_memory(allowed);
        mutator.collect(Reason::Forced);
        sim.world().allow_memory(usize::MAX);
        mutator.collect(Reason::Forced);
        assert_exact(&sim);
    }
}

#[test]
fn a_world_that_will_not_stop_is_reported_and_changes_nothing() {
    let sim = sim(100);
    let mut mutator = Recorder::new(&sim);
    mutator.list(5);
    mutator.flush();
    sim.world().refuse_stop(true);
    let error = sim.collect(Reason::Forced).unwrap_err();
    assert_eq!(error, CycleError::NotStopped(StopRefused));
    assert_eq!((sim.phase(), sim.heap().objects().len()), (Phase::Off, 5));
    sim.world().refuse_stop(false);
    assert_eq!(mutator.collect(Reason::Forced).cycle, 1);
    assert!(sim.heap().objects().is_empty());
}

/// Mutators that build and cut lists and circles, and exchange them in a place that all store to.
#[test]
fn stress_mutators_beside_stops() {
    const SLOTS: usize = 6;
    let (rounds, granules) = if cfg!(miri) {
        (60, 1 << 8)
    } else {
        (5000, 1 << 14)
    };
    let sim = sim(granules);
    let setup = &mut Recorder::new(&sim);
    let shared = setup.new_object(SLOTS, 0);
    setup.flush();
    sim.world().add_root(RootKind::Global, vec![shared]);
    // An exchange is atomic: the simulated heap has none of its own.
    let exchange = Mutex::new(());
    let stop = AtomicBool::new(false);
    let mutate = |thread: usize| {
        let (heap, world) = (sim.heap(), sim.world());
        let mut mutator = Recorder::new(&sim);
        let stack = world.add_root(RootKind::Stack, vec![0; SLOTS]);
        let mut random = 0x9E37_79B9 + thread as u64;
        for _ in 0..rounds {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (a, b) = (
                (random >> 33) as usize % SLOTS,
                (random >> 43) as usize % SLOTS,
            );
            let is_full = world.mutate(|| {
                let is_full = world.with_root(stack, |stack| {
                    match random >> 61 {
                        0..=2 => {
                            let shape = Shape {
                                data: 1,
                                ..Shape::pointers(2)
                            };
                            let Some(object) = mutator.allocate(shape, stack[a]) else {
                                return true;
                            };
                            heap.store(object, 2, !object);
                            stack[b] = object;
                        }
                        3 if stack[a] != 0 => {
                            let _one = lock(&exchange);
                            mutator.store(stack[a], 1, stack[b]);
                        }
                        4 => {
                            let _one = lock(&exchange);
                            stack[a] = heap.load(shared, b);
                            mutator.store(shared, b, stack[b]);
                        }
                        5 => stack[a] = 0,
                        _ => {
                            let mut at = stack[a];
                            for step in 0..30 {
                                if at == 0 {
                                    break;
                                }
                                assert_eq!(heap.load(at, 2), !at, "freed too early");
                                at = heap.load(at, step % 2);
                            }
                            stack[b] = at;
                        }
                    }
                    false
                });
                // Before it stops.
                mutator.flush();
                is_full
            });
            if is_full {
                world.with_root(stack, |stack| stack.fill(0));
                sim.collect(Reason::Forced).unwrap();
            }
        }
    };
    let mutate = &mutate;
    std::thread::scope(|scope| {
        let mutators: Vec<_> = (0..3)
            .map(|thread| scope.spawn(move || mutate(thread)))
            .collect();
        scope.spawn(|| {
            let reasons = [Reason::HeapGoal, Reason::HeapGoal, Reason::Forced];
            for reason in reasons.into_iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                sim.collect(reason).unwrap();
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

#[derive(Clone, Debug)]
enum Step {
    Allocate {
        pointers: usize,
        slot: usize,
        from: usize,
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
    Collect(Reason),
    Memory(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0usize..6;
    let reason = prop::sample::select(&[Reason::HeapGoal, Reason::HeapGoal, Reason::Forced][..]);
    prop_oneof![
        4 => (0usize..10, slot(), slot())
            .prop_map(|(pointers, slot, from)| Step::Allocate { pointers, slot, from }),
        6 => (slot(), 0usize..10, slot()).prop_map(|(from, index, to)| Step::Link { from, index, to }),
        3 => (slot(), 0usize..10, slot()).prop_map(|(from, index, to)| Step::Copy { from, index, to }),
        2 => slot().prop_map(Step::Clear),
        3 => reason.prop_map(Step::Collect),
        1 => prop::sample::select(&[0, 4096, usize::MAX][..]).prop_map(Step::Memory),
    ]
}

/// What is on a circle, or led to by one.
fn behind_circles(heap: &SimHeap, objects: &BTreeSet<usize>) -> BTreeSet<usize> {
    let leads_back = |&&object: &&usize| {
        let children = (0..heap.pointers(object)).map(|index| heap.load(object, index));
        heap.reachable(children).contains(&object)
    };
    heap.reachable(objects.iter().filter(leads_back).copied())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 192 }))]

    /// Random graphs: no stop frees what is reachable, each frees what is dead and behind no circle, and one with a trial frees all that is dead. Also when memory is refused
    /// now and then, but for the last.
    #[test]
    fn counting_loses_nothing_and_keeps_nothing(steps in prop::collection::vec(step(), 1..if cfg!(miri) { 25 } else { 150 })) {
        let sim = sim(if cfg!(miri) { 200 } else { 2000 });
        let (heap, world) = (sim.heap(), sim.world());
        let area = world.add_root(RootKind::Stack, vec![0; 6]);
        let mut mutator = Recorder::new(&sim);
        let mut was_refused = false;
        for step in steps {
            match step {
                Step::Allocate { pointers, slot, from } => world.with_root(area, |slots| {
                    slots[slot] = mutator.new_object(pointers, slots[from]);
                }),
                Step::Link { from, index, to } => world.with_root(area, |slots| {
                    if slots[from] != 0 && index < heap.pointers(slots[from]) {
                        mutator.store(slots[from], index, slots[to]);
                    }
                }),
                Step::Copy { from, index, to } => world.with_root(area, |slots| {
                    if slots[from] != 0 && index < heap.pointers(slots[from]) {
                        slots[to] = heap.load(slots[from], index);
                    }
                }),
                Step::Clear(slot) => world.with_root(area, |slots| slots[slot] = 0),
                Step::Memory(bytes) => {
                    world.allow_memory(bytes);
                    was_refused |= bytes != usize::MAX;
                }
                Step::Collect(reason) => {
                    mutator.collect(reason);
                    let (left, reachable) = (heap.objects(), heap.reachable(world.root_words()));
                    prop_assert!(left.is_superset(&reachable));
                    if was_refused {
                        continue;
                    }
                    if reason == Reason::Forced {
                        prop_assert_eq!(&left, &reachable);
                    }
                    let zombies = |object: &usize| note::Note(heap.note(heap.resolve(*object).unwrap())).colour() == note::Colour::Dead;
                    let dead: BTreeSet<usize> = left.difference(&reachable).copied().filter(|o| !zombies(o)).collect();
                    prop_assert!(dead.is_subset(&behind_circles(heap, &dead)));
                }
            }
        }
        world.allow_memory(usize::MAX);
        // The first makes good what could not be remembered.
        mutator.collect(Reason::Forced);
        mutator.collect(Reason::Forced);
        assert_exact(&sim);
    }
}
