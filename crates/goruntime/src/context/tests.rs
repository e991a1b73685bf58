//! What Go's tests ask of package context (context_test.go, x_test.go, afterfunc_test.go), by behaviour. What they ask of contexts of other types, and of nil ones, has no counterpart.

use super::*;
use crate::sync::WaitGroup;
use crate::{chan, go, select, simulation, time, yield_now};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn is_over(ctx: &Context) -> bool {
    let done = select! { recv(ctx.done()) -> _ => true, default => false };
    assert_eq!(done, ctx.done().is_reached());
    assert_eq!(done, ctx.err().is_some());
    assert_eq!(done, ctx.cause().is_some());
    done
}

fn cause_of(ctx: &Context) -> String {
    ctx.cause().map(|c| c.to_string()).unwrap_or_default()
}

fn children(ctx: &Context) -> usize {
    ctx.canceler.as_ref().map_or(0, |c| c.children())
}

/// Go's TestBackground, TestTODO.
#[test]
fn the_root_is_never_over() {
    for ctx in [Context::background(), Context::todo()] {
        assert!(!is_over(&ctx));
        assert_eq!(ctx.deadline(), None);
    }
}

/// Go's TestWithCancel, TestWithCancelCanceledParent.
#[test]
fn an_end_reaches_all_that_were_made_from_it_before_cancel_returns() {
    simulation::check(20, || {
        let (one, cancel) = Context::background().with_cancel();
        let (two, _) = one.with_cancel();
        let three = two.with_value::<First>("x".into());
        let all = [one, two, three];
        assert!(!all.iter().any(is_over));
        cancel.cancel();
        for ctx in &all {
            assert!(is_over(ctx));
            assert_eq!(ctx.err(), Some(Error::Canceled));
        }
        let (late, _) = all[1].with_cancel();
        let (later, _) = late.with_timeout(HOUR);
        assert!(is_over(&late) && is_over(&later));
        cancel.cancel();
    });
}

/// Go's XTestParentFinishesChild, XTestChildFinishesFirst, XTestCancelRemoves; and what Go leaves to its collector.
#[test]
fn nothing_is_left_of_a_context_that_has_ended_or_is_gone() {
    simulation::check(20, || {
        let (parent, cancel) = Context::background().with_cancel();
        let (one, cancel_one) = parent.with_cancel();
        let (two, _) = parent.with_value::<First>("x".into()).with_timeout(HOUR);
        let stop = parent.after_func(|| unreachable!());
        assert_eq!(children(&parent), 3);
        assert!(stop.stop());
        assert_eq!(children(&parent), 2);
        cancel_one.cancel();
        assert_eq!(children(&parent), 1);
        assert!(is_over(&one) && !is_over(&parent) && !is_over(&two));
        // Nobody has cancelled this one.
        drop(two);
        assert_eq!(children(&parent), 0);
        let (three, _) = parent.with_timeout(MS);
        three.done().recv();
        assert_eq!(three.err(), Some(Error::DeadlineExceeded));
        simulation::wait();
        assert_eq!(children(&parent), 0);
        cancel.cancel();
        assert!(is_over(&parent));
    });
}

/// Go's TestDeadline, TestTimeout, TestCanceledTimeout.
#[test]
fn deadlines() {
    simulation::check(20, || {
        let begin = time::now();
        let root = Context::background();
        let ends = |ctx: &Context| {
            ctx.done().recv();
            assert_eq!(ctx.err(), Some(Error::DeadlineExceeded));
            time::now() - begin
        };
        let (ctx, _) = root.with_deadline(begin + MS);
        assert_eq!(ctx.deadline(), Some(begin + MS));
        assert_eq!(ends(&ctx), MS);
        let (ctx, _) = root.with_timeout(MS);
        let (later, _) = ctx.with_timeout(HOUR);
        assert_eq!(later.deadline(), ctx.deadline());
        assert_eq!(ends(&later), 2 * MS);
        let (past, _) = root.with_deadline(begin);
        let (now, _) = root.with_timeout(Duration::ZERO);
        assert_eq!((ends(&past), ends(&now)), (2 * MS, 2 * MS));
        let (soon, _) = root.with_timeout(MS);
        let (ctx, cancel) = soon.with_timeout(HOUR);
        cancel.cancel();
        assert_eq!((ctx.err(), soon.err()), (Some(Error::Canceled), None));
        let (never, _) = root.with_timeout(Duration::MAX);
        assert_eq!(never.deadline(), None);
    });
}

struct First;
struct Second;
impl Key for First {
    type Value = String;
}
impl Key for Second {
    type Value = u32;
}

/// Go's TestValues.
#[test]
fn values_are_found_by_their_keys_and_the_last_one_counts() {
    let seen = |ctx: &Context| {
        (
            ctx.value::<First>().cloned(),
            ctx.value::<Second>().copied(),
        )
    };
    let root = Context::background();
    assert_eq!(seen(&root), (None, None));
    let one = root.with_value::<First>("one".into());
    let two = one.with_value::<Second>(2);
    let (three, cancel) = two.with_cancel();
    let four = three.with_value::<First>("four".into());
    cancel.cancel();
    assert_eq!(seen(&one), (Some("one".into()), None));
    assert_eq!(seen(&three), (Some("one".into()), Some(2)));
    assert_eq!(seen(&four), (Some("four".into()), Some(2)));
}

/// Go's TestWithoutCancel.
#[test]
fn without_cancel_only_values_are_left() {
    let (ctx, cancel) = Context::background()
        .with_value::<Second>(1)
        .with_timeout(HOUR);
    let free = ctx.without_cancel();
    cancel.cancel();
    assert!(is_over(&ctx) && !is_over(&free));
    assert_eq!((free.deadline(), free.value::<Second>()), (None, Some(&1)));
}

/// Go's TestCause.
#[test]
fn the_first_cause_on_the_way_counts() {
    let root = Context::background();
    let case = |what: &str, ctx: Context, err: Option<Error>, cause: &str| {
        assert_eq!((ctx.err(), cause_of(&ctx).as_str()), (err, cause), "{what}");
    };
    let canceled = Some(Error::Canceled);
    let late = Some(Error::DeadlineExceeded);

    let (ctx, cancel) = root.with_cancel();
    cancel.cancel();
    case("without a cause", ctx, canceled, "context canceled");

    let (ctx, cancel) = root.with_cancel_cause();
    cancel.cancel("parent");
    cancel.cancel("too late");
    case("with a cause", ctx, canceled, "parent");

    let (parent, cancel_parent) = root.with_cancel_cause();
    let (child, cancel_child) = parent.with_cancel_cause();
    cancel_parent.cancel("parent");
    cancel_child.cancel("child");
    case("parent first", child, canceled, "parent");

    let (parent, cancel_parent) = root.with_cancel_cause();
    let (child, cancel_child) = parent.with_cancel_cause();
    cancel_child.cancel("child");
    cancel_parent.cancel("parent");
    case("child first", child, canceled, "child");
    case("its parent", parent, canceled, "parent");

    let (parent, cancel_parent) = root.with_cancel_cause();
    let (child, cancel_child) = parent.with_cancel();
    cancel_child.cancel();
    cancel_parent.cancel("parent");
    case("child first, without", child, canceled, "context canceled");

    let (ctx, _) = root.with_timeout(Duration::ZERO);
    case("timeout", ctx, late, "context deadline exceeded");
    let (ctx, cancel) = root.with_timeout_cause(Duration::ZERO, "too slow");
    cancel.cancel();
    case("timeout with a cause", ctx, late, "too slow");
    let (ctx, cancel) = root.with_timeout_cause(HOUR, "too slow");
    cancel.cancel();
    case("cancelled before", ctx, canceled, "context canceled");

    let (parent, cancel) = root.with_cancel_cause();
    let (ctx, _) = parent.with_timeout_cause(Duration::ZERO, "too slow");
    cancel.cancel("finished early");
    case("timeout below", ctx, late, "too slow");
    let (parent, cancel) = root.with_cancel_cause();
    let (ctx, _) = parent.with_timeout_cause(HOUR, "too slow");
    cancel.cancel("finished early");
    case("cancelled above", ctx, canceled, "finished early");

    let (parent, cancel) = root.with_cancel_cause();
    cancel.cancel("parent");
    let (late_child, _) = parent.with_cancel();
    case("made afterwards", late_child, canceled, "parent");
    case("set free", parent.without_cancel(), None, "");
}

/// Go's TestSimultaneousCancels.
#[test]
fn a_tree_is_ended_from_all_places_at_once() {
    simulation::check(30, || {
        let (root, cancel) = Context::background().with_cancel();
        let mut all = vec![(root, cancel)];
        for n in 0..20 {
            let child = all[n / 3].0.with_cancel();
            all.push(child);
        }
        let group = Arc::new(WaitGroup::new());
        for (_, cancel) in &all {
            group.add(1);
            let (cancel, group) = (cancel.clone(), group.clone());
            go(move || {
                cancel.cancel();
                group.done();
            });
        }
        all.iter().for_each(|(ctx, _)| ctx.done().recv());
        group.wait();
        assert!(all.iter().all(|(ctx, _)| is_over(ctx)));
    });
}

/// Go's TestInterlockedCancels, TestWithCancelSimultaneouslyCanceledParent, TestCauseRace.
#[test]
fn an_end_and_what_happens_meanwhile() {
    simulation::check(200, || {
        let (parent, cancel) = Context::background().with_cancel_cause();
        let (child, cancel_child) = parent.with_cancel();
        let waits = parent.clone();
        go(move || {
            waits.done().recv();
            assert_eq!(waits.err(), Some(Error::Canceled));
            cancel_child.cancel();
        });
        go(move || cancel.cancel("because"));
        let (new, _) = parent.with_cancel();
        new.done().recv();
        assert_eq!(
            (new.err(), cause_of(&new).as_str()),
            (Some(Error::Canceled), "because")
        );
        child.done().recv();
        while parent.cause().is_none() {
            yield_now();
        }
        assert_eq!(cause_of(&parent), "because");
    });
}

/// Go's testLayers.
#[test]
fn many_layers() {
    for times_out in [false, true] {
        simulation::check(20, move || {
            let mut ctx = Context::background();
            let mut cancels = Vec::new();
            for n in 0..60 {
                ctx = match n % 3 {
                    0 => ctx.with_value::<Second>(n),
                    1 => {
                        let (ctx, cancel) = ctx.with_cancel();
                        cancels.push(cancel);
                        ctx
                    }
                    _ => ctx.with_timeout(if times_out { MS } else { HOUR }).0,
                };
            }
            assert!(!is_over(&ctx));
            let why = match times_out {
                true => Error::DeadlineExceeded,
                false => {
                    cancels[7].cancel();
                    Error::Canceled
                }
            };
            ctx.done().recv();
            assert_eq!(ctx.err(), Some(why));
            assert_eq!(ctx.value::<Second>(), Some(&57));
        });
    }
}

/// Deeper than any stack: neither an end nor a drop goes by recursion.
#[test]
fn as_many_layers_as_there_is_memory_for() {
    go(|| {
        let (root, cancel) = Context::background().with_cancel();
        let mut ctx = root;
        for n in 0..100_000 {
            ctx = ctx.with_cancel().0.with_value::<Second>(n);
        }
        let end = ctx.clone();
        cancel.cancel();
        assert!(is_over(&end));
        drop(ctx);
        drop(end);
        let mut ctx = Context::background();
        (0..100_000).for_each(|_| ctx = ctx.with_cancel().0);
    })
    .join()
    .unwrap();
}

/// Go's TestAfterFuncCalledAfterCancel and its relatives.
#[test]
fn functions_after_an_end() {
    simulation::check(50, || {
        let calls = Arc::new(AtomicU32::new(0));
        let count = || {
            let calls = calls.clone();
            move || _ = calls.fetch_add(1, Relaxed)
        };
        let (ctx, cancel) = Context::background().with_cancel();
        let (first, second) = (ctx.after_func(count()), ctx.after_func(count()));
        // One that waits does not hold up who cancels.
        let (tx, rx) = chan::unbuffered();
        ctx.after_func(move || tx.send("called").unwrap());
        time::sleep(MS);
        assert_eq!(calls.load(Relaxed), 0);
        assert!(first.stop() && !first.stop());
        cancel.cancel();
        assert_eq!(rx.recv(), Ok("called"));
        time::sleep(MS);
        assert_eq!(calls.load(Relaxed), 1);
        assert!(!second.stop());
        // At once, if it is over.
        assert!(!ctx.after_func(count()).stop());
        time::sleep(MS);
        assert_eq!(calls.load(Relaxed), 2);
        // After a deadline; and never.
        let (late, _) = Context::background().with_timeout(MS);
        late.after_func(count());
        let never = Context::background().after_func(count());
        time::sleep(2 * MS);
        assert_eq!(calls.load(Relaxed), 3);
        assert!(never.stop() && !never.stop());
    });
}

#[test]
fn a_function_is_called_though_nobody_has_the_context_any_more() {
    simulation::check(20, || {
        let (parent, cancel) = Context::background().with_cancel();
        let called = Arc::new(AtomicBool::new(false));
        let its = called.clone();
        parent
            .with_cancel()
            .0
            .after_func(move || its.store(true, Relaxed));
        let timed = Arc::new(AtomicBool::new(false));
        let its = timed.clone();
        parent
            .with_timeout(MS)
            .0
            .after_func(move || its.store(true, Relaxed));
        time::sleep(2 * MS);
        assert!(timed.load(Relaxed) && !called.load(Relaxed));
        cancel.cancel();
        time::sleep(MS);
        assert!(called.load(Relaxed));
    });
}

#[test]
fn waiting_under_a_context() {
    simulation::check(50, || {
        let (ctx, cancel) = Context::background().with_timeout(HOUR);
        let (tx, rx) = chan::bounded(1);
        assert_eq!(ctx.send(&tx, 1), Ok(()));
        assert_eq!(ctx.recv(&rx), Ok(1));
        assert_eq!(ctx.sleep(MS), Ok(()));
        let begin = time::now();
        assert_eq!(ctx.sleep(2 * HOUR), Err(Error::DeadlineExceeded));
        assert_eq!(time::now() - begin, HOUR - MS);
        // What is over is over, though the operation could go ahead.
        tx.send(2).unwrap();
        let over = Error::DeadlineExceeded;
        assert_eq!(ctx.recv(&rx), Err(RecvError::Done(over)));
        assert_eq!(ctx.send(&tx, 3), Err(SendError::Done(3, over)));
        assert_eq!(ctx.sleep(Duration::ZERO), Err(over));
        drop(cancel);
        let (ctx, cancel) = Context::background().with_cancel();
        let (other, receiver) = (ctx.clone(), rx.clone());
        let waits = go(move || {
            assert_eq!(receiver.recv(), Ok(2));
            other.recv(&receiver)
        });
        cancel.cancel();
        assert_eq!(waits.join().unwrap(), Err(RecvError::Done(Error::Canceled)));
        let root = Context::background();
        drop(tx);
        assert_eq!(root.recv(&rx), Err(RecvError::Closed));
        let (tx, rx) = chan::unbuffered();
        drop(rx);
        assert_eq!(root.send(&tx, 1), Err(SendError::Closed(1)));
        assert_eq!(root.sleep(MS), Ok(()));
    });
}

#[test]
fn an_end_is_an_error_of_input_and_output_too() {
    let kind = |error: Error| io::Error::from(error).kind();
    assert_eq!(kind(Error::DeadlineExceeded), io::ErrorKind::TimedOut);
    assert_eq!(kind(Error::Canceled), io::ErrorKind::Other);
}

/// True time, plain threads, all Ps.
#[test]
fn contexts_of_threads_and_goroutines() {
    let (ctx, cancel) = Context::background().with_timeout(20 * MS);
    let waits: Vec<_> = (0..20)
        .map(|n| {
            let (mine, _) = ctx.with_timeout(if n % 2 == 0 { HOUR } else { 5 * MS });
            go(move || mine.sleep(HOUR))
        })
        .collect();
    let thread = std::thread::spawn({
        let ctx = ctx.clone();
        move || ctx.sleep(HOUR)
    });
    for wait in waits {
        assert_eq!(wait.join().unwrap(), Err(Error::DeadlineExceeded));
    }
    assert_eq!(thread.join().unwrap(), Err(Error::DeadlineExceeded));
    cancel.cancel();
    assert_eq!(ctx.err(), Some(Error::DeadlineExceeded));
}
