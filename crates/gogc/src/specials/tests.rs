//! The records, against a model that is a map.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Objects are at multiples of 16, handles at 8 beyond.
fn at(object: usize) -> usize {
    0x5000_0000 + object * 16
}

const OBJECTS: usize = 12;

#[derive(Clone, Debug)]
enum Step {
    Handle(usize),
    Cleanup(usize),
    /// Takes the n-th of the cleanups there are off, or one that there is none of.
    Detach(usize),
    Mark(usize),
    MarkHandle(usize),
    LookAhead,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..OBJECTS).prop_map(Step::Handle),
        3 => (0..OBJECTS).prop_map(Step::Cleanup),
        2 => (0usize..8).prop_map(Step::Detach),
        3 => (0..OBJECTS).prop_map(Step::Mark),
        2 => (0..OBJECTS).prop_map(Step::MarkHandle),
        1 => Just(Step::LookAhead),
        1 => Just(Step::Settle),
    ]
}

#[derive(Default)]
struct Model {
    handles: BTreeMap<usize, usize>,
    /// By object: numbers of cleanups.
    cleanups: BTreeMap<usize, Vec<(CleanupId, u32)>>,
    marked: BTreeSet<usize>,
    /// A cycle in which objects are being marked has begun.
    marking: bool,
    next_handle: usize,
    next_cleanup: u32,
}

impl Model {
    /// Who attaches something while objects are marked shades the object.
    fn shade(&mut self, object: usize) {
        if self.marking {
            self.marked.insert(object);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 500 }))]

    #[test]
    fn what_is_attached_to_the_dead_is_found(steps in prop::collection::vec(step(), 0..120)) {
        let specials = Specials::<u32>::default();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Handle(n) => {
                    let object = at(n);
                    prop_assert_eq!(specials.handle(object), model.handles.get(&object).copied());
                    let new = at(1000 + model.next_handle);
                    model.next_handle += 1;
                    let expected = *model.handles.entry(object).or_insert(new);
                    prop_assert_eq!(specials.attach_handle(object, new), expected);
                    model.shade(object);
                    // The handle is on a stack now, which is scanned before the end of marking.
                    model.shade(expected);
                }
                Step::Cleanup(n) => {
                    let object = at(n);
                    let number = model.next_cleanup;
                    model.next_cleanup += 1;
                    let id = specials.attach_cleanup(object, number);
                    model.cleanups.entry(object).or_default().push((id, number));
                    model.shade(object);
                }
                Step::Detach(nth) => {
                    let all = model.cleanups.iter().flat_map(|(object, each)| each.iter().map(move |c| (*object, *c)));
                    let Some((object, (id, number))) = all.collect::<Vec<_>>().get(nth).copied() else {
                        prop_assert_eq!(specials.detach_cleanup(at(0), CleanupId(u64::MAX)), None);
                        continue;
                    };
                    prop_assert_eq!(specials.detach_cleanup(object, id), Some(number));
                    prop_assert_eq!(specials.detach_cleanup(object, id), None);
                    model.cleanups.get_mut(&object).unwrap().retain(|(each, _)| *each != id);
                }
                Step::Mark(n) => {
                    model.marked.insert(at(n));
                }
                Step::MarkHandle(n) => {
                    let handle = model.handles.get(&at(n)).copied();
                    model.marked.extend(handle);
                }
                Step::LookAhead => {
                    model.marking = true;
                    specials.look_ahead(|address| model.marked.contains(&address), || ());
                }
                Step::Settle => {
                    let (mut targets, mut due) = (BTreeSet::new(), BTreeSet::new());
                    let marked = std::mem::take(&mut model.marked);
                    specials.settle(|address| marked.contains(&address), |dead| match dead {
                        Dead::Target(handle) => assert!(targets.insert(handle)),
                        Dead::Cleanup(number) => assert!(due.insert(number)),
                    });
                    let dead = |object: &usize| !marked.contains(object);
                    let expected: BTreeSet<_> = model.handles.iter().filter(|(object, _)| dead(object)).map(|(_, h)| *h).collect();
                    prop_assert_eq!(targets, expected);
                    let expected: BTreeSet<_> =
                        model.cleanups.iter().filter(|(object, _)| dead(object)).flat_map(|(_, all)| all).map(|(_, n)| *n).collect();
                    prop_assert_eq!(due, expected);
                    model.handles.retain(|object, handle| !dead(object) && !dead(handle));
                    model.cleanups.retain(|object, _| !dead(object));
                    model.marking = false;
                }
            }
        }
        let left = specials.shards.iter().map(|shard| lock(shard).records.len()).sum::<usize>();
        model.cleanups.retain(|_, all| !all.is_empty());
        let expected: BTreeSet<_> = model.handles.keys().chain(model.cleanups.keys()).collect();
        prop_assert_eq!(left, expected.len(), "a record of nothing was kept");
    }
}

#[test]
fn addresses_do_not_look_like_addresses() {
    let hidden = Hidden::new(at(3));
    assert_eq!(hidden.address(), at(3));
    assert!(hidden.0.get() > usize::MAX / 2);
}

/// Aligned addresses spread over all shards.
#[test]
fn shards_are_used_alike() {
    let specials = Specials::<u32>::default();
    let objects = 64 * SHARDS;
    for n in 0..objects {
        specials.attach_handle(at(n), at(n) + 8);
    }
    for shard in &specials.shards {
        let len = lock(shard).records.len();
        assert!((16..=256).contains(&len), "{len} of 64");
    }
}
