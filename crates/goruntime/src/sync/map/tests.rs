//! What Go's tests ask of `sync.Map` (sync/map_test.go), by behaviour; and the standard map as the reference.

use super::*;
use crate::{go, simulation};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

#[derive(Clone, Debug)]
enum Op {
    Load(u8),
    Store(u8, u16),
    Swap(u8, u16),
    LoadOrStore(u8, u16),
    LoadAndDelete(u8),
    CompareAndSwap(u8, u16, u16),
    CompareAndDelete(u8, u16),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let (k, v) = (0..20u8, 0..4u16);
    prop_oneof![
        4 => k.clone().prop_map(Op::Load),
        4 => (k.clone(), v.clone()).prop_map(|(k, v)| Op::Store(k, v)),
        2 => (k.clone(), v.clone()).prop_map(|(k, v)| Op::Swap(k, v)),
        2 => (k.clone(), v.clone()).prop_map(|(k, v)| Op::LoadOrStore(k, v)),
        2 => k.clone().prop_map(Op::LoadAndDelete),
        2 => (k.clone(), v.clone(), v.clone()).prop_map(|(k, a, b)| Op::CompareAndSwap(k, a, b)),
        2 => (k, v).prop_map(|(k, v)| Op::CompareAndDelete(k, v)),
        1 => Just(Op::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Go's TestMapMatchesRWMutex.
    #[test]
    fn alone_it_is_the_standard_map(ops in proptest::collection::vec(op(), 1..100)) {
        let map = Map::new();
        let mut model = BTreeMap::new();
        for op in ops {
            match op {
                Op::Load(k) => assert_eq!(map.load(&k), model.get(&k).copied()),
                Op::Store(k, v) => {
                    map.store(k, v);
                    model.insert(k, v);
                }
                Op::Swap(k, v) => assert_eq!(map.swap(k, v), model.insert(k, v)),
                Op::LoadOrStore(k, v) => {
                    let was_there = model.contains_key(&k);
                    let now = *model.entry(k).or_insert(v);
                    assert_eq!(map.load_or_store(k, v), (now, was_there));
                }
                Op::LoadAndDelete(k) => assert_eq!(map.load_and_delete(&k), model.remove(&k)),
                Op::CompareAndSwap(k, old, new) => {
                    let equal = model.get(&k) == Some(&old);
                    assert_eq!(map.compare_and_swap(&k, &old, new), equal);
                    equal.then(|| model.insert(k, new));
                }
                Op::CompareAndDelete(k, old) => {
                    let equal = model.get(&k) == Some(&old);
                    assert_eq!(map.compare_and_delete(&k, &old), equal);
                    equal.then(|| model.remove(&k));
                }
                Op::Clear => {
                    map.clear();
                    model.clear();
                }
            }
            assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
        }
        let mut seen = BTreeMap::new();
        map.range(|k, v| seen.insert(k, v).is_none());
        assert_eq!(seen, model);
    }
}

/// Go's TestConcurrentRange.
#[test]
fn range_sees_each_key_once_while_others_store() {
    const KEYS: u64 = if cfg!(miri) { 16 } else { 512 };
    let map = Arc::new(Map::new());
    (1..=KEYS).for_each(|n| map.store(n, n));
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (1..=2)
        .map(|factor| {
            let (map, done) = (map.clone(), done.clone());
            go(move || {
                let mut n = 0;
                while !done.load(Relaxed) {
                    n = n % KEYS + 1;
                    map.store(n, n * factor);
                    assert_eq!(map.load(&n).unwrap() % n, 0);
                }
            })
        })
        .collect();
    for _ in 0..30 {
        let mut seen = vec![false; KEYS as usize + 1];
        map.range(|k, v| {
            assert_eq!(v % k, 0);
            assert!(!std::mem::replace(&mut seen[k as usize], true));
            true
        });
        assert!(seen[1..].iter().all(|&seen| seen));
    }
    done.store(true, Relaxed);
    writers.into_iter().for_each(|w| w.join().unwrap());
}

/// Go's TestMapRangeNestedCall.
#[test]
fn range_may_use_the_map() {
    let map = Map::new();
    (0..100).for_each(|n| map.store(n, n));
    let mut calls = 0;
    map.range(|key, value| {
        calls += 1;
        map.range(|key, value| {
            assert_eq!(map.load(&key), Some(value));
            false
        });
        assert_eq!(map.load_and_delete(&key), Some(value));
        map.store(-1, 0);
        map.delete(&-1);
        true
    });
    assert!(map.is_empty() && calls == 100);
}

/// Go's TestConcurrentClear; and each operation is one step under every schedule.
#[test]
fn operations_are_single_steps() {
    simulation::check(100, || {
        let map = Arc::new(Map::new());
        let added = Arc::new(AtomicU32::new(0));
        let workers: Vec<_> = (0..3)
            .map(|n| {
                let (map, added) = (map.clone(), added.clone());
                go(move || {
                    let (_, loaded) = map.load_or_store("made", n);
                    if !loaded {
                        added.fetch_add(1, Relaxed);
                    }
                    loop {
                        let before = map.load_or_store("sum", 0).0;
                        if map.compare_and_swap("sum", &before, before + 1) {
                            return;
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|w| w.join().unwrap());
        assert_eq!((added.load(Relaxed), map.load("sum")), (1, Some(3)));
        let clears = {
            let map = map.clone();
            go(move || map.clear())
        };
        map.store("late", 1);
        clears.join().unwrap();
        assert_eq!(map.load("made"), None);
    });
}

/// What is replaced or deleted is dropped with nothing locked: its `Drop` may use the map.
#[test]
fn dropped_values_and_keys_may_use_the_map() {
    static DROPS: AtomicU32 = AtomicU32::new(0);
    #[derive(Clone)]
    struct Uses(Arc<Map<u32, Option<Uses>>>);
    impl Drop for Uses {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Relaxed);
            (0..100).for_each(|n| _ = self.0.load_or_store(n + 1000, None));
        }
    }
    let map = Arc::new(Map::new());
    let uses = || Some(Uses(map.clone()));
    map.store(1, uses());
    map.store(1, uses());
    map.load_or_store(1, uses());
    map.delete(&1);
    map.store(2, uses());
    map.clear();
    // The one that `load_or_store` returned, too.
    assert_eq!(DROPS.load(Relaxed), 5);
}
