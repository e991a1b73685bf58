//! What the tests of `golang.org/x/sync/errgroup` ask, by behaviour.

use super::*;
use crate::context::Error as Over;
use crate::{chan, simulation, time};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

fn works() -> Result<(), &'static str> {
    Ok(())
}

/// TestZeroGroup.
#[test]
fn the_first_error_is_returned() {
    simulation::check(50, || {
        let group = Group::new();
        assert_eq!(group.wait(), Ok(()));
        group.go(works);
        assert_eq!(group.wait(), Ok(()));
        for (after, error) in [(1, "first"), (2, "second")] {
            group.go(move || {
                time::sleep(Duration::from_millis(after));
                Err(error)
            });
        }
        group.go(works);
        assert_eq!(group.wait(), Err("first"));
        assert_eq!(group.wait(), Ok(()));
    });
}

/// TestWithContext, TestCancelCause.
#[test]
fn the_context_is_over_with_the_first_error_or_after_the_wait() {
    simulation::check(50, || {
        let root = Context::background();
        let (group, ctx) = Group::<&str>::with_context(&root);
        group.go(works);
        assert_eq!(group.wait(), Ok(()));
        assert_eq!(ctx.err(), Some(Over::Canceled));
        assert_eq!(ctx.cause().unwrap().to_string(), "context canceled");

        let (group, ctx) = Group::with_context(&root);
        let waits = ctx.clone();
        group.go(move || waits.sleep(Duration::from_secs(3600)).map_err(|_| "late"));
        group.go(|| Err("doomed"));
        assert_eq!(group.wait(), Err("doomed"));
        assert_eq!(ctx.cause().unwrap().to_string(), "doomed");
    });
}

/// TestTryGo.
#[test]
fn no_more_than_the_limit_are_started() {
    simulation::check(20, || {
        let mut group = Group::new();
        group.set_limit(Some(5));
        let (tx, rx) = chan::unbuffered();
        let sends = |tx: &chan::Sender<()>| {
            let tx = tx.clone();
            move || tx.send(()).map_err(|_| "nobody")
        };
        assert!((0..5).all(|_| group.try_go(sends(&tx))));
        assert!(!group.try_go(sends(&tx)));
        (0..5).for_each(|_| rx.recv().unwrap());
        assert_eq!(group.wait(), Ok(()));
        assert!(group.try_go(sends(&tx)));
        rx.recv().unwrap();
        assert_eq!(group.wait(), Ok(()));
        group.set_limit(Some(0));
        assert!(!group.try_go(works));
        group.set_limit(None);
        assert!(group.try_go(works));
        assert_eq!(group.wait(), Ok(()));
    });
}

/// TestGoLimit.
#[test]
fn who_would_be_one_too_many_waits() {
    let body = || {
        let mut group = Group::new();
        group.set_limit(Some(3));
        let running = Arc::new(AtomicU32::new(0));
        for _ in 0..30 {
            let running = running.clone();
            group.go(move || {
                let all = running.fetch_add(1, Relaxed) + 1;
                time::sleep(Duration::from_micros(1));
                running.fetch_sub(1, Relaxed);
                if all > 3 { Err(all) } else { Ok(()) }
            });
        }
        assert_eq!(group.wait(), Ok(()));
    };
    body();
    simulation::check(20, body);
}

#[test]
#[should_panic(expected = "while 1 of its goroutines are running")]
fn a_limit_is_not_changed_while_goroutines_run() {
    let mut group = Group::<()>::new();
    let (_tx, rx) = chan::unbuffered::<()>();
    group.go(move || rx.recv().map_err(|_| ()));
    group.set_limit(Some(1));
}

#[test]
fn a_panic_ends_up_with_who_waits() {
    simulation::check(50, || {
        let (group, ctx) = Group::<&str>::with_context(&Context::background());
        let waits = ctx.clone();
        group.go(move || {
            waits.done().recv();
            Err("after the panic")
        });
        group.go(|| panic!("on purpose"));
        let wait = catch_unwind(AssertUnwindSafe(|| group.wait()));
        assert_eq!(wait.unwrap_err().downcast_ref(), Some(&"on purpose"));
        assert!(ctx.cause().unwrap().to_string().contains("panicked"));
    });
}
