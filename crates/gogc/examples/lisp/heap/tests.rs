//! The heap against a model, by the ports that a collector has.

use std::collections::BTreeMap;

use proptest::prelude::*;

use gogc::{Age, AgedHeap, Bytes, CountedHeap, HeapView};

use super::*;

/// Objects by address: kind and length.
type Model = BTreeMap<usize, (Kind, usize)>;

const KINDS: [Kind; 3] = [Kind::Pair, Kind::Vector, Kind::Words];

#[derive(Clone, Debug)]
enum Step {
    Allocate {
        kind: usize,
        length: usize,
    },
    /// Marks every object but each so manieth, and frees the rest; in the second case only among the young.
    Collect(usize),
    CollectYoung(usize),
    SweepSome,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..KINDS.len(), prop_oneof![20 => 0usize..40, 3 => 40usize..600, 1 => 4000usize..9000])
            .prop_map(|(kind, length)| Step::Allocate { kind, length }),
        1 => (1usize..5).prop_map(Step::Collect),
        2 => (1usize..5).prop_map(Step::CollectYoung),
        1 => Just(Step::SweepSome),
    ]
}

fn finish_sweep(heap: &Heap) {
    while !heap.sweep(Bytes(1)).done {}
}

fn find(heap: &Heap, address: usize) -> usize {
    let place = heap.resolve(address).unwrap();
    assert_eq!(heap.start(place).0, address);
    place
}

/// Marks all but each `n`th of what is of the age `oldest` or below; what is not marked is gone from the model.
fn collect(heap: &Heap, model: &mut Model, n: usize, oldest: Age) {
    finish_sweep(heap);
    heap.start_mark_of(oldest);
    let (mut marked, mut count) = (0, 0);
    model.retain(|&address, _| {
        let place = find(heap, address);
        if heap.age(place) > oldest {
            assert!(heap.is_marked(place), "the mark did not stay");
            return true;
        }
        assert!(!heap.is_marked(place));
        count += 1;
        let stays = count % n != 0;
        if stays {
            assert!(heap.try_mark(place) && !heap.try_mark(place));
            marked += heap.size(place) as u64;
        }
        stays
    });
    heap.start_sweep(Bytes(marked));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    /// What is allocated is found by each of its addresses and by no other, stays what it is, and is there as long as it is marked.
    #[test]
    fn the_heap_is_what_was_allocated_and_not_freed(steps in prop::collection::vec(step(), 1..if cfg!(miri) { 20 } else { 200 })) {
        let heap = Heap::new(1 << 21, Births::Young);
        let mut allocator = Allocator::new(&heap);
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Allocate { kind, length } => {
                    let (kind, words) = (KINDS[kind], (0..length).map(|word| 2 * word as u64 + 1));
                    if let Some(object) = allocator.object(&heap, kind, words) {
                        prop_assert!(model.insert(object.0, (kind, length)).is_none(), "allocated twice");
                    }
                }
                Step::Collect(n) => collect(&heap, &mut model, n, Age::Old),
                Step::CollectYoung(n) => collect(&heap, &mut model, n, Age::Young),
                Step::SweepSome => { heap.sweep(Bytes(1)); }
            }
            // As a mutator does after a stop.
            allocator.resume(&heap);
        }
        finish_sweep(&heap);
        let mut there = Model::new();
        heap.for_each(&mut |place| {
            let header = heap.header_at(place);
            there.insert(heap.start(place).0, (header.kind().unwrap(), header.length()));
        });
        prop_assert_eq!(&there, &model);
        for (&address, &(_, length)) in &model {
            for at in [address, address + 1, address + 8 * length + 7] {
                prop_assert_eq!(heap.resolve(at).map(|place| heap.start(place).0), Some(address));
            }
            for word in 0..length {
                prop_assert_eq!(heap.raw(Object(address), word), 2 * word as u64 + 1);
            }
        }
        allocator.end(&heap);
        let bytes: usize = model.keys().map(|&address| heap.size(find(&heap, address))).sum();
        prop_assert!(heap.usage().collected.0 as usize >= bytes);
        let everything = heap.bounds().step_by(1000).filter_map(|at| heap.resolve(at)).count();
        prop_assert!(everything <= 1 + heap.bounds().len() / 1000);
    }

    /// Objects that are freed one by one leave room for others.
    #[test]
    fn what_is_freed_is_used_again(sizes in prop::collection::vec(0usize..60, 1..40)) {
        let heap = Heap::new(1 << 20, Births::Young);
        let mut allocator = Allocator::new(&heap);
        for round in 0..if cfg!(miri) { 2 } else { 40 } {
            let mut objects = Vec::new();
            for length in sizes.iter().cycle().take(600) {
                let values = std::iter::repeat_n(Value::NIL, *length);
                let object = allocator.values(&heap, Kind::Vector, values);
                prop_assert!(object.is_some(), "full in round {round}");
                objects.extend(object);
            }
            for object in objects {
                CountedHeap::free(&heap, find(&heap, object.0));
            }
        }
        allocator.end(&heap);
        prop_assert_eq!(heap.usage().collected, Bytes(0));
    }
}

#[test]
fn what_is_born_marked_is_marked_until_the_next_marking() {
    let heap = Heap::new(1 << 18, Births::Marked);
    let mut allocator = Allocator::new(&heap);
    let mut pair = || {
        let values = [Value::NIL, Value::NIL];
        allocator
            .values(&heap, Kind::Pair, values.into_iter())
            .unwrap()
    };
    let before = find(&heap, pair().0);
    assert!(heap.is_marked(before));
    heap.start_mark();
    assert!(!heap.is_marked(before));
    let meanwhile = find(&heap, pair().0);
    assert!(heap.is_marked(meanwhile) && !heap.try_mark(meanwhile));
    heap.start_sweep(Bytes(0));
    finish_sweep(&heap);
    assert_eq!(heap.resolve(heap.start(before).0), None);
    assert_eq!(heap.resolve(heap.start(meanwhile).0), Some(meanwhile));
}

#[test]
fn text_comes_back_as_it_was() {
    let heap = Heap::new(1 << 18, Births::Young);
    let mut allocator = Allocator::new(&heap);
    for text in ["", "a", "12345678", "grüße, λ"] {
        let mut words = vec![text.len() as u64];
        for chunk in text.as_bytes().chunks(8) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            words.push(u64::from_le_bytes(bytes));
        }
        let string = allocator
            .object(&heap, Kind::String, words.into_iter())
            .unwrap();
        assert_eq!(heap.text(string), text);
        assert!(heap.pointer_free(find(&heap, string.0)));
    }
}
