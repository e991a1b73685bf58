//! Tests of the hash table against std's, and of what scanning promises.

use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

type Numbers = Dict<Count>;

fn key(n: usize) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

fn put(dict: &Numbers, n: usize, value: usize) -> bool {
    let (entry, new) = dict.find_or_insert(&key(n), || (Gc::bytes(&key(n)), Count::new(value)));
    entry.value.set(value);
    new
}

fn contents(dict: &Numbers) -> HashMap<Vec<u8>, usize> {
    let all: Vec<_> = dict
        .iter()
        .map(|e| (e.key().as_slice().to_vec(), e.value.get()))
        .collect();
    let map: HashMap<_, _> = all.iter().cloned().collect();
    assert_eq!(map.len(), all.len(), "an entry came twice");
    map
}

#[test]
fn grows_and_shrinks_step_by_step() {
    let dict = Numbers::new();
    for n in 0..10_000 {
        assert!(put(&dict, n, n));
        assert!(!put(&dict, n, n + 1));
    }
    while dict.rehash(100) {}
    assert_eq!(dict.tables[0].size(), 16_384);
    for n in 0..10_000 {
        assert_eq!(dict.find(&key(n)).unwrap().value.get(), n + 1);
        if n % 100 != 0 {
            assert!(dict.remove(&key(n)).is_some());
            assert!(dict.remove(&key(n)).is_none());
        }
    }
    while dict.rehash(100) {}
    assert_eq!(dict.len(), 100);
    assert!(dict.tables[0].size() < 100 * SPARSE * 2);
    assert_eq!(contents(&dict).len(), 100);
}

#[test]
fn what_is_taken_out_leads_nowhere() {
    let dict = Numbers::new();
    (0..1000).for_each(|n| assert!(put(&dict, n, n)));
    for n in 0..500 {
        assert!(dict.remove(&key(n)).unwrap().next.load().is_none());
    }
    let last = dict.find(&key(500)).unwrap();
    dict.replace(last, Count::new(0));
    assert!(last.next.load().is_none());
    dict.clear();
    assert!(dict.is_empty() && dict.iter().next().is_none() && dict.random().is_none());
    assert!(put(&dict, 1, 1));
    assert_eq!(dict.len(), 1);
}

#[test]
fn a_random_entry_can_be_any() {
    let dict = Numbers::new();
    assert!(dict.random().is_none());
    (0..50).for_each(|n| assert!(put(&dict, n, n)));
    let seen: HashSet<usize> = (0..5000)
        .map(|_| dict.random().unwrap().value.get())
        .collect();
    assert_eq!(seen.len(), 50);
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    PutRange(usize),
    Remove(usize),
    RemoveBelow(usize),
    Replace(usize),
    Rehash(usize),
    Scan,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..300).prop_map(Step::Put),
        1 => (0usize..300).prop_map(Step::PutRange),
        3 => (0usize..300).prop_map(Step::Remove),
        1 => (0usize..300).prop_map(Step::RemoveBelow),
        1 => (0usize..300).prop_map(Step::Replace),
        1 => (0usize..20).prop_map(Step::Rehash),
        6 => Just(Step::Scan),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn behaves_as_a_map_and_scans_keep_their_promise(steps in prop::collection::vec(step(), 1..120)) {
        let dict = Numbers::new();
        let mut model: HashMap<Vec<u8>, usize> = HashMap::new();
        // One scan under way: its cursor, what it has seen, and what was there ever since it began.
        let (mut cursor, mut seen, mut stayed) = (0, HashSet::new(), HashSet::new());
        for (time, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put(n) => {
                    let new = put(&dict, n, time);
                    prop_assert_eq!(new, model.insert(key(n), time).is_none());
                }
                Step::PutRange(n) => for n in n..n + 50 {
                    put(&dict, n, time);
                    model.insert(key(n), time);
                },
                Step::Remove(n) => {
                    let removed = dict.remove(&key(n)).map(|entry| entry.value.get());
                    prop_assert_eq!(removed, model.remove(&key(n)));
                    stayed.remove(&key(n));
                }
                Step::RemoveBelow(n) => for n in 0..n {
                    dict.remove(&key(n));
                    model.remove(&key(n));
                    stayed.remove(&key(n));
                },
                Step::Replace(n) => {
                    dict.insert(Gc::bytes(&key(n)), Count::new(time));
                    model.insert(key(n), time);
                }
                Step::Rehash(n) => { dict.rehash(n); }
                Step::Scan => {
                    if cursor == 0 {
                        seen.clear();
                        stayed = model.keys().cloned().collect();
                    }
                    cursor = dict.scan(cursor, |e| { seen.insert(e.key().as_slice().to_vec()); });
                    if cursor == 0 {
                        prop_assert!(stayed.is_subset(&seen));
                    }
                }
            }
            prop_assert_eq!(dict.len(), model.len());
        }
        for (key, value) in &model {
            prop_assert_eq!(dict.find(key).map(|entry| entry.value.get()), Some(*value));
        }
        prop_assert_eq!(contents(&dict), model);
    }
}
