//! Tests of the sorted set against a sorted vector, and of its spans.

use super::*;
use proptest::prelude::*;

type Model = Vec<(f64, Vec<u8>)>;

fn name(n: usize) -> Vec<u8> {
    format!("m{n}").into_bytes()
}

fn pairs(nodes: impl Iterator<Item = Gc<Node>>) -> Model {
    nodes
        .map(|node| (node.score(), node.member().as_slice().to_vec()))
        .collect()
}

/// Puts a member into the model; gives the score that it had.
fn model_insert(model: &mut Model, member: &[u8], score: f64) -> Option<f64> {
    let old = model_remove(model, member);
    let key = (score, member.to_vec());
    let at = model.partition_point(|other| *other < key);
    model.insert(at, key);
    old
}

fn model_remove(model: &mut Model, member: &[u8]) -> Option<f64> {
    let at = model.iter().position(|(_, other)| other == member)?;
    Some(model.remove(at).0)
}

/// Every span on every level is the distance of the ranks of its ends.
fn check_spans(set: &SortedSet) {
    let order: Vec<_> = set.ascending(0).collect();
    let rank = |node: Gc<Node>| order.iter().position(|other| other.ptr_eq(node)).unwrap() + 1;
    for level in 0..set.height.get() {
        let (mut node, mut at) = (set.head, 0);
        while let Some(next) = node.next(level) {
            assert_eq!(at + node.span(level), rank(next));
            (node, at) = (next, rank(next));
        }
        assert_eq!(node.span(level), order.len() - at);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, f64),
    Remove(usize),
    Between(Bound, Bound),
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-5i32..5).prop_map(f64::from),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(0.5),
    ]
}

fn bound() -> impl Strategy<Value = Bound> {
    (score(), any::<bool>()).prop_map(|(score, exclusive)| Bound { score, exclusive })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..60, score()).prop_map(|(n, score)| Step::Insert(n, score)),
        2 => (0usize..60).prop_map(Step::Remove),
        1 => (bound(), bound()).prop_map(|(low, high)| Step::Between(low, high)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn behaves_as_a_sorted_vector(steps in prop::collection::vec(step(), 0..150)) {
        let set = SortedSet::new();
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Insert(n, score) => {
                    let old = set.insert(&name(n), score);
                    prop_assert_eq!(old, model_insert(&mut model, &name(n), score));
                }
                Step::Remove(n) => {
                    prop_assert_eq!(set.remove(&name(n)), model_remove(&mut model, &name(n)));
                }
                Step::Between(low, high) => {
                    let found = set.ranks_between(low, high);
                    let expected: Model = model
                        .iter()
                        .filter(|(score, _)| low.is_below(*score) && high.is_above(*score))
                        .cloned()
                        .collect();
                    prop_assert_eq!(pairs(set.ascending(found.start).take(found.len())), expected);
                }
            }
        }
        check_spans(&set);
        prop_assert_eq!(set.len(), model.len());
        prop_assert_eq!(pairs(set.ascending(0)), model.clone());
        for (rank, (score, member)) in model.iter().enumerate() {
            prop_assert_eq!(set.rank(member), Some(rank));
            prop_assert_eq!(set.score(member), Some(*score));
            prop_assert_eq!(pairs(set.ascending(rank).take(1)), model[rank..=rank].to_vec());
        }
        model.reverse();
        prop_assert_eq!(pairs(set.descending(model.len().wrapping_sub(1))), model);
        prop_assert_eq!(set.rank(b"nobody"), None);
    }
}

#[test]
fn a_large_set_keeps_its_order() {
    let set = SortedSet::new();
    for n in 0..5000usize {
        set.insert(&name(n), (n * 7919 % 5000) as f64);
    }
    check_spans_sampled(&set);
    let scores: Vec<f64> = set.ascending(0).map(|node| node.score()).collect();
    assert!(scores.is_sorted() && scores.len() == 5000);
    for rank in (0..5000).step_by(37) {
        assert_eq!(set.ascending(rank).next().unwrap().score(), rank as f64);
    }
}

/// As [`check_spans`], in linear time: scores are ranks.
fn check_spans_sampled(set: &SortedSet) {
    for level in 0..set.height.get() {
        let (mut node, mut at) = (set.head, 0);
        while let Some(next) = node.next(level) {
            at += node.span(level);
            assert_eq!(next.score() as usize + 1, at);
            node = next;
        }
    }
}
