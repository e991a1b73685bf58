//! Generations on the simulated heap, against plain reachability, with the marks checked at the end of every collection.

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::barrier::Recorded;
use crate::env::RootKind;
use crate::testing::{Scanning, Shape, SimHeap, SimWorld, StopRefused};

type Sim = Generational<SimHeap, SimWorld>;

fn sim_with(granules: usize, workers: usize, thresholds: Thresholds) -> Sim {
    let sim = Generational::new(
        SimHeap::new(granules),
        SimWorld::new(workers),
        Config::default(),
        thresholds,
    )
    .unwrap();
    sim.check_marks(true);
    sim
}

fn sim(granules: usize) -> Sim {
    sim_with(granules, 1, Thresholds::default())
}

/// A store as a mutator makes it. The buffer is handed over at once.
fn store(sim: &Sim, object: usize, index: usize, value: usize) {
    let mut buffer = BarrierBuffer::new();
    let old = sim.heap().load(object, index);
    let recorded = sim
        .barrier()
        .write(ObjectAddr(object), old, value, || &mut buffer);
    assert_eq!(recorded, Recorded::HasRoom);
    sim.heap().store(object, index, value);
    sim.flush_barrier(&mut buffer);
}

fn new(sim: &Sim, pointers: usize) -> usize {
    sim.heap().allocate(Shape::pointers(pointers)).unwrap()
}

fn collect(sim: &Sim, oldest: Age) -> CycleStats {
    let stats = sim.collect_ages(oldest).unwrap();
    sim.base.finish_sweep();
    stats
}

fn age(sim: &Sim, object: usize) -> Age {
    sim.heap().age(sim.heap().resolve(object).unwrap())
}

#[test]
fn survivors_grow_older_and_the_dead_die_with_their_age() {
    let sim = sim(100);
    let area = sim.world().add_root(RootKind::Handle, vec![new(&sim, 1)]);
    let kept = sim.world().root_words()[0];
    new(&sim, 1);
    assert_eq!(age(&sim, kept), Age::Young);
    collect(&sim, Age::Young);
    assert_eq!(
        (age(&sim, kept), sim.heap().objects().len()),
        (Age::Middle, 1)
    );
    collect(&sim, Age::Young);
    assert_eq!(age(&sim, kept), Age::Middle, "not looked for");
    collect(&sim, Age::Middle);
    assert_eq!(age(&sim, kept), Age::Old);
    sim.world().with_root(area, |words| words[0] = 0);
    collect(&sim, Age::Middle);
    assert_eq!(sim.heap().objects().len(), 1, "too old to be looked for");
    assert_eq!(sim.heap().usage().collected, Bytes(16));
    collect(&sim, Age::Old);
    assert!(sim.heap().objects().is_empty());
    assert_eq!(sim.heap().usage().collected, Bytes(0));
    assert_eq!(sim.collections(), [2, 2, 1]);
}

/// Of each pair of ages: an object of the older one has the only pointer to one of the younger.
#[test]
fn what_only_an_older_object_leads_to_survives() {
    for between in 0..3 {
        let sim = sim(100);
        let old = new(&sim, 1);
        sim.world().add_root(RootKind::Handle, vec![old]);
        collect(&sim, Age::Middle);
        let young = new(&sim, 1);
        store(&sim, old, 0, young);
        for _ in 0..between {
            collect(&sim, Age::Young);
            assert_eq!(age(&sim, young), Age::Middle);
        }
        collect(&sim, Age::Middle);
        assert_eq!(age(&sim, young), Age::Old);
        collect(&sim, Age::Old);
        assert_eq!(sim.heap().objects().len(), 2);
    }
}

/// The test before proves nothing if it does not need the barrier.
#[test]
fn without_the_barrier_it_is_lost_and_the_check_says_so() {
    let sim = sim(100);
    let old = new(&sim, 1);
    sim.world().add_root(RootKind::Handle, vec![old]);
    collect(&sim, Age::Middle);
    sim.heap().store(old, 0, new(&sim, 1));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        collect(&sim, Age::Young);
    }));
    let message = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("reachable and not marked"), "{message}");
}

#[test]
fn a_collection_of_the_young_does_not_look_at_the_old() {
    let length = if cfg!(miri) { 30 } else { 1000 };
    let sim = sim(4 * length);
    let mut head = 0;
    for _ in 0..length {
        let object = new(&sim, 1);
        sim.heap().store(object, 0, head);
        head = object;
    }
    sim.world().add_root(RootKind::Handle, vec![head]);
    collect(&sim, Age::Middle);
    let young = new(&sim, 1);
    store(&sim, head, 0, young);
    let stats = collect(&sim, Age::Young);
    assert_eq!(stats.marked.objects, 1);
    assert!(stats.marked.heap_scanned <= Bytes(16), "{stats:?}");
    assert_eq!(stats.heap_live, Bytes(16 * (length as u64 + 1)));
}

#[test]
fn an_object_is_remembered_once() {
    let sim = sim(100);
    let old = new(&sim, 1);
    sim.world().add_root(RootKind::Handle, vec![old]);
    let young = new(&sim, 1);
    store(&sim, young, 0, old);
    assert_eq!(lock(&sim.remembered).written.len(), 0, "it is young");
    collect(&sim, Age::Middle);
    for _ in 0..3 {
        store(&sim, old, 0, 0);
        store(&sim, old, 0, 0);
        assert_eq!(lock(&sim.remembered).written.words(), [old]);
        collect(&sim, Age::Young);
        assert_eq!(lock(&sim.remembered).written.len(), 0);
    }
    assert_eq!(lock(&sim.remembered).kept.words(), [old; 3]);
    collect(&sim, Age::Middle);
    assert_eq!(lock(&sim.remembered).kept.len(), 0);
}

#[test]
fn thresholds_say_which_ages_are_due() {
    let thresholds = Thresholds {
        young: Bytes(1600),
        middle: 2,
    };
    let sim = sim_with(4000, 1, thresholds);
    // The first collection but one is of the middle, since two of the young come before.
    for _ in 0..900 {
        new(&sim, 2);
        sim.collect_if_due().unwrap();
        sim.sweep(Bytes::mib(1));
    }
    assert_eq!(sim.collections(), [6, 3, 0]);
    sim.reconfigure(Config {
        percent: GcPercent::Off,
        ..Config::default()
    });
    for _ in 0..300 {
        new(&sim, 2);
        assert!(sim.collect_if_due().unwrap().is_none());
    }
}

#[test]
fn the_whole_heap_is_collected_at_its_goal() {
    let thresholds = Thresholds {
        young: Bytes(1600),
        middle: 2,
    };
    let sim = sim_with(1 << 15, 1, thresholds);
    sim.reconfigure(Config {
        percent: GcPercent::Percent(1),
        ..Config::default()
    });
    assert_eq!(sim.goal(), Bytes::kib(64));
    let area = sim.world().add_root(RootKind::Handle, vec![0]);
    for _ in 0..(80 << 10) / 32 {
        let object = new(&sim, 4);
        sim.world().with_root(area, |words| {
            sim.heap().store(object, 0, words[0]);
            words[0] = object;
        });
        sim.collect_if_due().unwrap();
        sim.sweep(Bytes::mib(1));
    }
    let [young, middle, old] = sim.collections();
    assert_eq!(old, 1);
    assert!(young > middle && middle > 10);
}

/// Without memory for the lists the next collection is of all, and nothing is lost.
#[test]
fn a_refused_list_is_made_good_by_a_collection_of_all() {
    let sim = sim(100);
    let old = new(&sim, 1);
    sim.world().add_root(RootKind::Handle, vec![old]);
    collect(&sim, Age::Middle);
    sim.world().allow_memory(0);
    sim.check_marks(false);
    store(&sim, old, 0, new(&sim, 1));
    store(&sim, old, 0, new(&sim, 1));
    assert_eq!(collect(&sim, Age::Young).marked.objects, 2);
    assert_eq!(sim.collections(), [0, 1, 1]);
    sim.world().allow_memory(usize::MAX);
    // And it is remembered from then on.
    let young = new(&sim, 1);
    store(&sim, old, 0, young);
    collect(&sim, Age::Young);
    assert_eq!(
        (sim.collections(), age(&sim, young)),
        ([1, 1, 1], Age::Middle)
    );
}

#[test]
fn a_world_that_will_not_stop_is_reported_and_what_is_remembered_stays() {
    let sim = sim(100);
    let old = new(&sim, 1);
    sim.world().add_root(RootKind::Handle, vec![old]);
    collect(&sim, Age::Middle);
    let young = new(&sim, 1);
    store(&sim, old, 0, young);
    sim.world().refuse_stop(true);
    let error = sim.collect_ages(Age::Young).unwrap_err();
    assert_eq!(error, CycleError::NotStopped(StopRefused));
    sim.world().refuse_stop(false);
    collect(&sim, Age::Young);
    assert_eq!(age(&sim, young), Age::Middle);
}

/// Mutators that keep lists in old objects, and take them out again, beside collections of all ages.
#[test]
fn stress_mutators_beside_collections_of_all_ages() {
    const SLOTS: usize = 6;
    let (rounds, granules) = if cfg!(miri) {
        (60, 1 << 7)
    } else {
        (6000, 1 << 14)
    };
    let sim = sim_with(granules, 2, Thresholds::default());
    let stop = AtomicBool::new(false);
    let mutate = |thread: usize| {
        let (heap, world) = (sim.heap(), sim.world());
        // An object that grows old, and a stack.
        let stack = world.mutate(|| world.add_root(RootKind::Stack, vec![new(&sim, SLOTS), 0]));
        let mut random = 0x9E37_79B9 + thread as u64;
        for _ in 0..rounds {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let slot = (random >> 33) as usize % SLOTS;
            let is_full = world.mutate(|| {
                world.with_root(stack, |words| {
                    let (anchor, held) = (words[0], words[1]);
                    match random >> 61 {
                        0..=2 => {
                            let shape = Shape {
                                data: 1,
                                ..Shape::pointers(1)
                            };
                            let Some(object) = heap.allocate(shape) else {
                                return true;
                            };
                            heap.store(object, 0, heap.load(anchor, slot));
                            heap.store(object, 1, thread);
                            store(&sim, anchor, slot, object);
                        }
                        3 => words[1] = heap.load(anchor, slot),
                        4 => store(&sim, anchor, slot, held),
                        5 => store(&sim, anchor, slot, 0),
                        _ => {
                            let mut at = heap.load(anchor, slot);
                            while at != 0 {
                                assert_eq!(heap.load(at, 1), thread, "freed too early");
                                at = heap.load(at, 0);
                            }
                        }
                    }
                    false
                })
            });
            if is_full {
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
            let ages = [Age::Young, Age::Young, Age::Middle, Age::Young, Age::Old];
            for age in ages.into_iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                sim.collect_ages(age).unwrap();
                sim.sweep(Bytes::kib(16));
            }
        });
        for mutator in mutators {
            mutator.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    sim.collect(Reason::Forced).unwrap();
    let reachable = sim.heap().reachable(sim.world().root_words());
    assert_eq!(sim.heap().objects(), reachable);
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
    Collect(Age),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0usize..6;
    let age = prop::sample::select(&[Age::Young, Age::Young, Age::Middle, Age::Old][..]);
    prop_oneof![
        4 => (0usize..10, slot(), slot())
            .prop_map(|(pointers, slot, from)| Step::Allocate { pointers, slot, from }),
        6 => (slot(), 0usize..10, slot()).prop_map(|(from, index, to)| Step::Link { from, index, to }),
        3 => (slot(), 0usize..10, slot()).prop_map(|(from, index, to)| Step::Copy { from, index, to }),
        2 => slot().prop_map(Step::Clear),
        3 => age.prop_map(Step::Collect),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 192 }))]

    /// Random graphs: no collection frees what is reachable, one of all frees the rest, and in between what is free is of an age that was collected.
    #[test]
    fn collecting_by_age_loses_nothing(
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 25 } else { 150 }), workers in 1usize..3,
        scanning in prop::sample::select(&[Scanning::Alone, Scanning::Spans, Scanning::Any][..])
    ) {
        let heap = SimHeap::new(if cfg!(miri) { 200 } else { 2000 }).scanned(scanning);
        let world = SimWorld::one_after_the_other(workers);
        let sim = Generational::new(heap, world, Config::default(), Thresholds::default()).unwrap();
        sim.check_marks(true);
        let (heap, world) = (sim.heap(), sim.world());
        let area = world.add_root(RootKind::Stack, vec![0; 6]);
        for step in steps {
            match step {
                Step::Allocate { pointers, slot, from } => {
                    let object = new(&sim, pointers);
                    world.with_root(area, |slots| {
                        if pointers > 0 {
                            heap.store(object, 0, slots[from]);
                        }
                        slots[slot] = object;
                    });
                }
                Step::Link { from, index, to } => world.with_root(area, |slots| {
                    if slots[from] != 0 && index < heap.pointers(slots[from]) {
                        store(&sim, slots[from], index, slots[to]);
                    }
                }),
                Step::Copy { from, index, to } => world.with_root(area, |slots| {
                    if slots[from] != 0 && index < heap.pointers(slots[from]) {
                        slots[to] = heap.load(slots[from], index);
                    }
                }),
                Step::Clear(slot) => world.with_root(area, |slots| slots[slot] = 0),
                Step::Collect(oldest) => {
                    let too_old: Vec<usize> = heap.objects().into_iter().filter(|&at| age(&sim, at) > oldest).collect();
                    sim.collect_ages(oldest).unwrap();
                    let reachable = heap.reachable(world.root_words());
                    sim.sweep(Bytes(800));
                    prop_assert!(heap.objects().is_superset(&reachable));
                    sim.base.finish_sweep();
                    let left = heap.objects();
                    prop_assert!(left.is_superset(&reachable));
                    prop_assert!(too_old.iter().all(|object| left.contains(object)));
                    if oldest == Age::Old {
                        prop_assert_eq!(&left, &reachable);
                    }
                    let bytes: usize = left.iter().map(|&at| heap.size(heap.resolve(at).unwrap())).sum();
                    prop_assert_eq!(heap.usage().collected, Bytes(bytes as u64));
                }
                Step::Sweep => { sim.sweep(Bytes(800)); }
            }
        }
        sim.collect(Reason::Forced).unwrap();
        prop_assert_eq!(heap.objects(), heap.reachable(world.root_words()));
    }
}
