//! The barrier under a marker that is driven by hand, one step at a time, between the stores of mutators.

use proptest::prelude::*;

use super::*;
use crate::env::{HeapView, RootKind, RootSink};
use crate::mark::{Marker, Marking};
use crate::testing::{Scanning, Shape, SimHeap, SimWorld};

const MUTATORS: usize = 3;
const SLOTS: usize = 4;
const FIELDS: usize = 3;
/// Of the heap: objects of two granules for all steps of a run.
const GRANULES: usize = if cfg!(miri) { 100 } else { 4000 };

/// Mutators with a stack each, whose stacks are scanned at different times, and a heap with a barrier.
struct Concurrent<'w> {
    heap: &'w SimHeap,
    world: &'w SimWorld,
    marking: &'w Marking,
    barrier: Barrier,
    stacks: [[usize; SLOTS]; MUTATORS],
    buffers: [BarrierBuffer; MUTATORS],
    marker: Option<Marker<'w, SimHeap, SimWorld>>,
    /// Whether the barrier does anything: without it the tests must fail.
    honest: bool,
}

impl<'w> Concurrent<'w> {
    fn new(heap: &'w SimHeap, world: &'w SimWorld, marking: &'w Marking) -> Self {
        Concurrent {
            heap,
            world,
            marking,
            barrier: Barrier::new(),
            stacks: [[0; SLOTS]; MUTATORS],
            buffers: std::array::from_fn(|_| BarrierBuffer::new()),
            marker: None,
            honest: true,
        }
    }

    fn start(&mut self) {
        self.heap.start_mark();
        self.heap.set_allocate_black(true);
        self.barrier.set(self.honest);
        self.marker = Some(Marker::new(self.heap, self.world, self.marking));
    }

    fn marker(&mut self) -> &mut Marker<'w, SimHeap, SimWorld> {
        self.marker.as_mut().unwrap()
    }

    fn scan_stack(&mut self, mutator: usize) {
        for word in self.stacks[mutator] {
            self.marker().word(RootKind::Stack, word);
        }
    }

    fn allocate(&mut self, mutator: usize, slot: usize, from: usize) {
        let value = self.stacks[mutator][from];
        let Some(object) = self.heap.allocate(Shape::pointers(FIELDS)) else {
            return;
        };
        let buffer = &mut self.buffers[mutator];
        if self.barrier.born_with(value, || buffer) == Recorded::Full {
            self.flush(mutator);
        }
        self.heap.store(object, 0, value);
        self.stacks[mutator][slot] = object;
    }

    fn store(&mut self, mutator: usize, object: usize, field: usize, value: usize) {
        let object = self.stacks[mutator][object];
        if object != 0 {
            let value = self.stacks[mutator][value];
            self.record(mutator, object, self.heap.load(object, field), value);
            self.heap.store(object, field, value);
        }
    }

    fn load(&mut self, mutator: usize, object: usize, field: usize, slot: usize) {
        let object = self.stacks[mutator][object];
        if object != 0 {
            self.stacks[mutator][slot] = self.heap.load(object, field);
        }
    }

    fn record(&mut self, mutator: usize, object: usize, old: usize, new: usize) {
        let buffer = &mut self.buffers[mutator];
        if self.barrier.write(ObjectAddr(object), old, new, || buffer) == Recorded::Full {
            self.flush(mutator);
        }
    }

    fn flush(&mut self, mutator: usize) {
        self.marker
            .as_mut()
            .unwrap()
            .absorb(&mut self.buffers[mutator]);
    }

    /// Ends marking and returns the reachable objects that it has missed.
    fn finish(&mut self, scanned: [bool; MUTATORS]) -> Vec<usize> {
        for (mutator, scanned) in scanned.into_iter().enumerate() {
            if !scanned {
                self.scan_stack(mutator);
            }
            self.flush(mutator);
        }
        self.marker().finish();
        self.barrier.set(false);
        self.heap.set_allocate_black(false);
        self.marker = None;
        let reachable = self.heap.reachable(self.stacks.iter().flatten().copied());
        reachable
            .into_iter()
            .filter(|&object| !self.heap.marked(object))
            .collect()
    }
}

/// Runs `f` on a fresh heap.
fn with_sim<R>(scanning: Scanning, f: impl FnOnce(&mut Concurrent<'_>) -> R) -> R {
    let (heap, world) = (SimHeap::new(GRANULES).scanned(scanning), SimWorld::new(1));
    let mut marking = Marking::new(&world).unwrap();
    let result = f(&mut Concurrent::new(&heap, &world, &marking));
    marking.dispose(&world);
    result
}

/// The classical way to lose an object: the only pointer is moved from behind a field that the marker has yet
/// to scan to a stack that it has scanned.
fn hide_on_a_black_stack(sim: &mut Concurrent<'_>) -> Vec<usize> {
    sim.allocate(0, 0, 3);
    sim.allocate(0, 1, 3);
    sim.store(0, 0, 0, 1);
    sim.stacks[0][1] = 0;
    sim.start();
    sim.scan_stack(0);
    sim.load(0, 0, 0, 1);
    sim.store(0, 0, 0, 2);
    sim.finish([true, false, false])
}

/// The other half: a pointer on a stack not yet scanned is stored in a black object, and then forgotten by
/// the stack.
fn hide_in_a_black_object(sim: &mut Concurrent<'_>) -> Vec<usize> {
    sim.allocate(0, 0, 3);
    sim.stacks[1][0] = sim.stacks[0][0];
    sim.allocate(1, 1, 3);
    sim.start();
    sim.scan_stack(0);
    sim.marker().finish();
    sim.store(1, 0, 0, 1);
    sim.stacks[1][1] = 0;
    sim.scan_stack(1);
    sim.finish([true, true, false])
}

/// A new object, born black, takes the only pointer to a white one off a stack not yet scanned.
fn hide_in_a_newborn(sim: &mut Concurrent<'_>) -> Vec<usize> {
    sim.allocate(0, 0, 3);
    sim.start();
    sim.allocate(0, 1, 0);
    sim.stacks[0][0] = 0;
    sim.scan_stack(0);
    sim.finish([true, false, false])
}

const WAYS: [Scanning; 3] = [Scanning::Alone, Scanning::Spans, Scanning::Any];

type Scenario = fn(&mut Concurrent<'_>) -> Vec<usize>;

const SCENARIOS: [Scenario; 3] = [
    hide_on_a_black_stack,
    hide_in_a_black_object,
    hide_in_a_newborn,
];

#[test]
fn nothing_can_be_hidden() {
    for scanning in WAYS {
        for scenario in SCENARIOS {
            assert_eq!(with_sim(scanning, scenario), []);
        }
    }
}

#[test]
fn without_the_barrier_everything_could() {
    for scenario in SCENARIOS {
        let lost = with_sim(Scanning::Any, |sim| {
            sim.honest = false;
            scenario(sim)
        });
        assert_eq!(lost.len(), 1, "the scenario proves nothing");
    }
}

#[test]
fn a_barrier_that_is_off_does_not_even_ask_for_the_buffer() {
    let barrier = Barrier::new();
    let recorded = barrier.write(ObjectAddr(8), 1, 2, || panic!("asked for the buffer"));
    assert_eq!(recorded, Recorded::HasRoom);
}

#[test]
fn collectors_hear_of_what_they_want() {
    let recorded = |barrier: Barrier| {
        let mut buffer = BarrierBuffer::new();
        barrier.set(true);
        let all = [
            barrier.write(ObjectAddr(8), 1, 2, || &mut buffer),
            barrier.born(ObjectAddr(16), || &mut buffer),
            barrier.born_with(3, || &mut buffer),
        ];
        assert_eq!(all, [Recorded::HasRoom; 3]);
        barrier.set(false);
        (buffer.words().to_vec(), barrier.is_on())
    };
    assert_eq!(recorded(Barrier::new()), (vec![1, 2, 0, 3], false));
    assert_eq!(recorded(Barrier::deletions()), (vec![1], false));
    assert_eq!(
        recorded(Barrier::counts()),
        (vec![1, 2, 16, 16, 0, 3], true)
    );
    assert_eq!(recorded(Barrier::stored_to()), (vec![8], true));
}

#[test]
fn a_buffer_says_when_it_is_full() {
    let mut buffer = BarrierBuffer::new();
    let stores = BarrierBuffer::WORDS / 2;
    for n in 1..stores {
        assert_eq!(buffer.record(n, n + 1), Recorded::HasRoom);
    }
    assert_eq!(buffer.record(0, 0), Recorded::Full);
    assert_eq!(buffer.words()[..2], [1, 2]);
    buffer.clear();
    assert!(buffer.words().is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Allocate {
        mutator: usize,
        slot: usize,
        from: usize,
    },
    Store {
        mutator: usize,
        object: usize,
        field: usize,
        value: usize,
    },
    Load {
        mutator: usize,
        object: usize,
        field: usize,
        slot: usize,
    },
    Forget {
        mutator: usize,
        slot: usize,
    },
    ScanStack(usize),
    Mark(usize),
    Flush(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (mutator, slot, field) = (|| 0..MUTATORS, || 0..SLOTS, || 0..FIELDS);
    prop_oneof![
        2 => (mutator(), slot(), slot())
            .prop_map(|(mutator, slot, from)| Step::Allocate { mutator, slot, from }),
        5 => (mutator(), slot(), field(), slot())
            .prop_map(|(mutator, object, field, value)| Step::Store { mutator, object, field, value }),
        5 => (mutator(), slot(), field(), slot())
            .prop_map(|(mutator, object, field, slot)| Step::Load { mutator, object, field, slot }),
        2 => (mutator(), slot()).prop_map(|(mutator, slot)| Step::Forget { mutator, slot }),
        1 => mutator().prop_map(Step::ScanStack),
        3 => (1usize..4).prop_map(Step::Mark),
        1 => mutator().prop_map(Step::Flush),
    ]
}

impl Concurrent<'_> {
    /// Takes a step of a mutator; steps of the collector do nothing here.
    fn mutate(&mut self, step: &Step) {
        match *step {
            Step::Allocate {
                mutator,
                slot,
                from,
            } => self.allocate(mutator, slot, from),
            Step::Store {
                mutator,
                object,
                field,
                value,
            } => {
                self.store(mutator, object, field, value);
            }
            Step::Load {
                mutator,
                object,
                field,
                slot,
            } => self.load(mutator, object, field, slot),
            Step::Forget { mutator, slot } => self.stacks[mutator][slot] = 0,
            Step::ScanStack(_) | Step::Mark(_) | Step::Flush(_) => {}
        }
    }

    /// Lets all mutators share the objects of the first, so that they can get in each other's way.
    fn share_stacks(&mut self) {
        for mutator in 1..MUTATORS {
            self.stacks[mutator][0] = self.stacks[0][0];
        }
    }

    /// Marks between the mutators' steps, each stack being scanned where the steps say so, or in the end.
    fn mark_between(&mut self, steps: &[Step]) -> Vec<usize> {
        let mut scanned = [false; MUTATORS];
        self.start();
        for step in steps {
            match *step {
                Step::ScanStack(mutator) if !scanned[mutator] => {
                    scanned[mutator] = true;
                    self.scan_stack(mutator);
                }
                Step::Mark(count) => {
                    for _ in 0..count {
                        self.marker().step_any();
                    }
                }
                Step::Flush(mutator) => self.flush(mutator),
                _ => self.mutate(step),
            }
        }
        self.finish(scanned)
    }
}

/// Of the mutators before marking.
const STEPS: usize = if cfg!(miri) { 20 } else { 60 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 400 }))]

    /// However marking and mutation interleave, what is reachable in the end is marked.
    #[test]
    fn everything_reachable_is_marked(
        before in prop::collection::vec(step(), 0..STEPS), during in prop::collection::vec(step(), 0..2 * STEPS),
        scanning in prop::sample::select(&WAYS[..])
    ) {
        let lost = with_sim(scanning, |sim| {
            before.iter().for_each(|step| sim.mutate(step));
            sim.share_stacks();
            sim.mark_between(&during)
        });
        prop_assert_eq!(lost, Vec::<usize>::new());
    }

    /// If all stacks are scanned in the beginning, nobody needs to look at them again, nor at what is written.
    #[test]
    fn a_snapshot_needs_to_hear_of_deletions_only(
        before in prop::collection::vec(step(), 0..STEPS), during in prop::collection::vec(step(), 0..2 * STEPS),
        scanning in prop::sample::select(&WAYS[..])
    ) {
        let lost = with_sim(scanning, |sim| {
            before.iter().for_each(|step| sim.mutate(step));
            sim.share_stacks();
            sim.barrier = Barrier::deletions();
            let scans = (0..MUTATORS).map(Step::ScanStack);
            let steps: Vec<Step> = scans.chain(during).collect();
            sim.mark_between(&steps)
        });
        prop_assert_eq!(lost, Vec::<usize>::new());
    }
}
