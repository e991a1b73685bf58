//! Programs written by hand: recursion, mutual recursion, limits, and what happens when the map is wrong.

use gostack::managed::{
    ContiguousStack, GlobalSpans, GrowError, ManagedStack, SegmentedStack, Sizes, StackCache,
    StackDepot,
};

use crate::compile::{CLOSURE_PARAMS, Expr, Place, Stmt, Tree, compile};
use crate::heap_stack::HeapStack;
use crate::machine::{Disturb, Kind, Limits, Outcome, Plan, Program, run};

const LIMITS: Limits = Limits {
    steps: if cfg!(miri) { 20_000 } else { 1_000_000 },
    depth: 1 << 20,
};

/// A recursion that does not fit into the first blocks; and shallower, since it is interpreted, under Miri.
const DEEP: i64 = if cfg!(miri) { 80 } else { 20_000 };

fn cache() -> StackCache<GlobalSpans> {
    StackCache::new(StackDepot::new(GlobalSpans))
}

/// Runs a program on a fresh stack, and sees that all memory comes back.
fn run_on<S: Disturb>(
    program: &Program,
    stack: impl FnOnce(&mut StackCache<GlobalSpans>) -> S,
    plan: &Plan<'_>,
    argument: i64,
) -> Outcome {
    let (outcome, stack, mut cache) = run(program, stack, cache(), &LIMITS, plan, argument);
    stack.retire(&mut cache);
    cache.flush();
    assert_eq!(cache.depot().span_bytes(), 0);
    outcome
}

fn contiguous(sizes: Sizes) -> impl FnOnce(&mut StackCache<GlobalSpans>) -> ContiguousStack {
    move |cache| ContiguousStack::new(cache, sizes).unwrap()
}

fn segmented(sizes: Sizes) -> impl FnOnce(&mut StackCache<GlobalSpans>) -> SegmentedStack {
    move |cache| SegmentedStack::new(cache, sizes).unwrap()
}

fn int(index: u8) -> Expr {
    Expr::Int(index)
}

fn minus_one(index: u8) -> Expr {
    Expr::Both(1, Box::new(int(index)), Box::new(Expr::Const(1)))
}

fn call(function: u8, numbers: Vec<Expr>, other: u8) -> Expr {
    Expr::Call(function, numbers, other)
}

fn tree(params: &[Kind], body: Vec<Stmt>, result: Expr) -> Tree {
    Tree {
        params: params.to_vec(),
        ints: 1,
        refs: 1,
        closures: Vec::new(),
        body,
        result,
    }
}

/// `if n != 0 { then }`; the int `n` is parameter 0.
fn unless_zero(then: Vec<Stmt>) -> Stmt {
    Stmt::Unless(int(0), then)
}

/// Counts down by way of two functions, adding one in the outermost frame by a pointer that is passed all the way.
fn mutual_recursion() -> Program {
    let countdown = |other| {
        tree(
            &[Kind::Int, Kind::Ref],
            vec![unless_zero(vec![
                Stmt::Write(
                    Place::Ref(0),
                    Expr::Both(
                        0,
                        Box::new(Expr::Read(Place::Ref(0))),
                        Box::new(Expr::Const(1)),
                    ),
                ),
                // 1: passes its own parameter on.
                Stmt::Set(1, call(other, vec![minus_one(0)], 1)),
            ])],
            int(1),
        )
    };
    compile(&[
        // The local int has number 1, after the parameter.
        tree(
            &[Kind::Int],
            vec![Stmt::Set(0, call(1, vec![int(0)], 2))],
            int(1),
        ),
        countdown(2),
        countdown(1),
    ])
}

#[test]
fn pointers_into_the_outermost_frame_survive_mutual_recursion() {
    let program = mutual_recursion();
    let plan = Plan::default();
    let outcomes = [
        run_on(&program, |_| HeapStack::new(), &plan, DEEP),
        run_on(&program, contiguous(Sizes::GO), &plan, DEEP),
        run_on(&program, segmented(Sizes::GO), &plan, DEEP),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.result, Ok(DEEP));
        assert_eq!(outcome.deepest, DEEP as usize + 2);
    }
}

#[test]
fn a_limit_is_an_error_that_names_it_and_leaves_the_stack_as_it_was() {
    let program = mutual_recursion();
    let sizes = Sizes {
        limit: 16 << 10,
        ..Sizes::GO
    };
    let plan = Plan::default();
    for outcome in [
        run_on(&program, contiguous(sizes), &plan, 100_000),
        run_on(&program, segmented(sizes), &plan, 100_000),
    ] {
        let error = outcome.result.unwrap_err();
        assert!(matches!(error, GrowError::Overflow { limit, .. } if limit == 16 << 10));
        assert!(error.to_string().contains("the limit is 16384"), "{error}");
        assert!(outcome.deepest > 100);
    }
}

#[test]
fn a_frame_that_is_not_described_does_not_move() {
    let program = mutual_recursion();
    let plan = Plan {
        undescribed: Some(2),
        ..Plan::default()
    };
    let outcome = run_on(&program, contiguous(Sizes::GO), &plan, DEEP);
    let error = outcome.result.unwrap_err();
    // The number of the function is above that of the place in it.
    assert!(
        matches!(error, GrowError::Undescribed { at } if at >> 16 & 0xffff == 2),
        "{error}"
    );
    // Where nothing has to move, nothing is asked.
    let sizes = Sizes {
        first: if cfg!(miri) { 64 << 10 } else { 16 << 20 },
        ..Sizes::GO
    };
    let outcome = run_on(&program, contiguous(sizes), &plan, DEEP);
    assert_eq!(outcome.result, Ok(DEEP));
    assert_eq!(
        run_on(&program, segmented(Sizes::GO), &plan, DEEP).result,
        Ok(DEEP)
    );
}

/// A function that makes a closure over its own local and calls through it, deeper and deeper; what waits and what is put off
/// points into frames that move.
fn closures_and_the_outside() -> Program {
    compile(&[
        Tree {
            closures: vec![(0, [Place::Own(0), Place::Own(1)])],
            ..tree(
                &[Kind::Int],
                vec![
                    Stmt::Wait(Place::Own(1)),
                    Stmt::Defer(Place::Own(0), 7),
                    Stmt::Set(0, Expr::CallClosure(0, Box::new(int(0)))),
                    Stmt::Collect,
                ],
                Expr::Both(0, Box::new(int(0)), Box::new(int(1))),
            )
        },
        Tree {
            closures: vec![(0, [Place::Captured(0), Place::Own(1)])],
            ..tree(
                &CLOSURE_PARAMS,
                vec![
                    Stmt::Wait(Place::Own(1)),
                    Stmt::Defer(Place::Captured(0), 3),
                    Stmt::Defer(Place::Captured(1), 5),
                    unless_zero(vec![Stmt::Set(
                        1,
                        Expr::CallClosure(0, Box::new(minus_one(0))),
                    )]),
                    Stmt::Collect,
                    Stmt::Wake(int(0)),
                ],
                Expr::Both(0, Box::new(int(0)), Box::new(int(1))),
            )
        },
    ])
}

#[test]
fn closures_deferred_calls_and_waiting_entries_are_adjusted() {
    let program = closures_and_the_outside();
    let depth = if cfg!(miri) { 30 } else { 3000 };
    let plan = Plan::default();
    let reference = run_on(&program, |_| HeapStack::new(), &plan, depth);
    assert_eq!(reference.deepest, depth as usize + 2);
    assert_eq!(
        run_on(&program, contiguous(Sizes::GO), &plan, depth),
        reference
    );
    assert_eq!(
        run_on(&program, segmented(Sizes::GO), &plan, depth),
        reference
    );
}

#[test]
fn a_collection_shrinks_what_is_hardly_used() {
    let program = closures_and_the_outside();
    let (_, stack, mut cache) = run(
        &program,
        contiguous(Sizes::GO),
        cache(),
        &LIMITS,
        &Plan::default(),
        300,
    );
    // It grew well beyond, and each return collected.
    assert!(stack.moves() > 4, "{}", stack.moves());
    assert!(stack.bytes() <= 4 << 10, "{}", stack.bytes());
    stack.retire(&mut cache);
}

/// The planted bug: were the map to forget, this would be seen. (The stale pointers lead to numbers in blocks that the pool still has,
/// since only small ones are used.)
#[test]
#[cfg_attr(miri, ignore = "it writes through stale pointers on purpose")]
fn a_map_that_forgets_is_noticed() {
    let program = mutual_recursion();
    let sizes = Sizes {
        limit: 16 << 10,
        ..Sizes::GO
    };
    let honest = run_on(&program, contiguous(sizes), &Plan::default(), 100);
    assert_eq!(honest.result, Ok(100));
    let plan = Plan {
        forgetful: true,
        ..Plan::default()
    };
    let forgetful = run_on(&program, contiguous(sizes), &plan, 100);
    assert_ne!(forgetful, honest);
}
