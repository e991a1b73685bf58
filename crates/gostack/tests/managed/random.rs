//! Random programs: the same result on all three stacks, wherever they grow, shrink, move or split.

use gostack::managed::{
    ContiguousStack, GlobalSpans, SegmentedStack, Sizes, StackCache, StackDepot,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::compile::{CLOSURE_PARAMS, Expr, Place, Stmt, Tree, compile};
use crate::heap_stack::HeapStack;
use crate::machine::{Disturb, Kind, Limits, Outcome, Plan, Program, run};

const LIMITS: Limits = Limits {
    steps: if cfg!(miri) { 400 } else { 30_000 },
    depth: if cfg!(miri) { 30 } else { 400 },
};

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        any::<u8>().prop_map(Place::Own),
        any::<u8>().prop_map(Place::Ref),
        any::<u8>().prop_map(Place::Captured),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        any::<i8>().prop_map(Expr::Const),
        any::<u8>().prop_map(Expr::Int),
        place().prop_map(Expr::Read),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (any::<u8>(), inner.clone(), inner.clone()).prop_map(|(which, a, b)| Expr::Both(
                which,
                a.into(),
                b.into()
            )),
            (any::<u8>(), vec(inner.clone(), 0..3), any::<u8>())
                .prop_map(|(function, numbers, other)| Expr::Call(function, numbers, other)),
            (any::<u8>(), inner)
                .prop_map(|(index, number)| Expr::CallClosure(index, number.into())),
        ]
    })
}

fn stmt() -> impl Strategy<Value = Stmt> {
    let leaf = prop_oneof![
        3 => (any::<u8>(), expr()).prop_map(|(index, expr)| Stmt::Set(index, expr)),
        2 => (place(), expr()).prop_map(|(place, expr)| Stmt::Write(place, expr)),
        1 => (any::<u8>(), place()).prop_map(|(index, place)| Stmt::SetRef(index, place)),
        1 => (place(), any::<i8>()).prop_map(|(place, add)| Stmt::Defer(place, add)),
        1 => place().prop_map(Stmt::Wait),
        1 => expr().prop_map(Stmt::Wake),
        1 => Just(Stmt::Collect),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            (any::<u8>(), vec(inner.clone(), 0..3)).prop_map(|(n, body)| Stmt::Repeat(n, body)),
            (expr(), vec(inner, 0..3)).prop_map(|(expr, body)| Stmt::Unless(expr, body)),
        ]
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        2 => Just(Kind::Int),
        2 => Just(Kind::Ref),
        1 => Just(Kind::Closure),
    ]
}

fn tree(params: impl Strategy<Value = Vec<Kind>>) -> impl Strategy<Value = Tree> {
    let closures = vec((any::<u8>(), [place(), place()]), 1..3);
    (params, 1..6u8, 1..4u8, closures, vec(stmt(), 0..5), expr()).prop_map(
        |(params, ints, refs, closures, body, result)| Tree {
            params,
            ints,
            refs,
            closures,
            body,
            result,
        },
    )
}

/// The first function is the start, the second one that closures can be made of.
fn program() -> impl Strategy<Value = Vec<Tree>> {
    let start = tree(Just(vec![Kind::Int]));
    let closure = tree(Just(CLOSURE_PARAMS.to_vec()));
    (start, closure, vec(tree(vec(kind(), 1..5)), 0..4))
        .prop_map(|(start, closure, others)| [start, closure].into_iter().chain(others).collect())
}

fn outcome<S: Disturb>(
    program: &Program,
    stack: impl FnOnce(&mut StackCache<GlobalSpans>) -> S,
    disturb: &[Option<u8>],
    argument: i64,
) -> Outcome {
    let cache = StackCache::new(StackDepot::new(GlobalSpans));
    let plan = Plan {
        disturb,
        ..Plan::default()
    };
    let (outcome, stack, mut cache) = run(program, stack, cache, &LIMITS, &plan, argument);
    stack.retire(&mut cache);
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 200 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn programs_do_the_same_on_every_stack(
        trees in program(),
        disturb in vec(proptest::option::of(any::<u8>()), 0..24),
        argument in any::<i64>(),
        shrink_below in 2..6usize,
    ) {
        let program = compile(&trees);
        let sizes = Sizes { shrink_below, ..Sizes::GO };
        let reference = outcome(&program, |_| HeapStack::new(), &[], argument);
        prop_assert!(reference.result.is_ok());
        let contiguous = outcome(
            &program,
            |cache| ContiguousStack::new(cache, sizes).unwrap(),
            &disturb,
            argument,
        );
        prop_assert_eq!(&contiguous, &reference);
        let segmented = outcome(
            &program,
            |cache| SegmentedStack::new(cache, sizes).unwrap(),
            &disturb,
            argument,
        );
        prop_assert_eq!(&segmented, &reference);
    }
}
