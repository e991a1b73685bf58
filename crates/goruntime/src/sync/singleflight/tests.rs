//! What the tests of `golang.org/x/sync/singleflight` ask, by behaviour. A goroutine cannot end but by returning or panicking, so what they ask about `runtime.Goexit` has no
//! counterpart.

use super::*;
use crate::{chan, go, simulation, time};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// TestDo, TestDoErr, TestDoChan.
#[test]
fn alone_it_is_a_call() {
    let group = Group::new();
    let alone = |value| Outcome {
        value,
        shared: false,
    };
    assert_eq!(group.call("key", || Ok("bar")), alone(Ok("bar")));
    assert_eq!(group.call("key", || Err("no")), alone(Err("no")));
    let received = group.call_chan("key", || Ok("later"));
    assert_eq!(received.recv(), Ok(alone(Ok("later"))));
}

/// TestDoDupSuppress.
#[test]
fn who_asks_meanwhile_gets_the_same() {
    simulation::check(100, || {
        let (group, calls) = (Group::new(), Arc::new(AtomicU32::new(0)));
        let askers: Vec<_> = (0..6)
            .map(|n| {
                let (group, calls) = (group.clone(), calls.clone());
                go(move || {
                    let f = move || {
                        time::sleep(MS);
                        calls.fetch_add(1, Relaxed)
                    };
                    match n % 2 {
                        0 => group.call("key", f),
                        _ => group.call_chan("key", f).recv().unwrap(),
                    }
                })
            })
            .collect();
        let got: Vec<_> = askers.into_iter().map(|a| a.join().unwrap()).collect();
        // All came before a millisecond had passed.
        assert!(got.iter().all(|o| o.value == 0 && o.shared), "{got:?}");
        assert_eq!(calls.load(Relaxed), 1);
        assert!(group.calls.lock().is_empty());
    });
}

#[test]
fn other_keys_are_other_calls() {
    simulation::check(20, || {
        let group = Group::new();
        let other = group.clone();
        let slow = go(move || {
            other.call(1, || {
                time::sleep(MS);
                1
            })
        });
        assert_eq!(group.call(2, || 2).value, 2);
        assert_eq!(slow.join().unwrap().value, 1);
    });
}

/// TestForget.
#[test]
fn what_is_forgotten_is_called_again() {
    simulation::check(50, || {
        let group = Group::new();
        let (unblock, blocked) = chan::unbuffered::<()>();
        let first = group.call_chan("key", move || {
            let _ = blocked.recv();
            1
        });
        group.forget(&"key");
        let (unblock_second, blocked) = chan::unbuffered::<()>();
        let second = group.call_chan("key", move || {
            let _ = blocked.recv();
            2
        });
        drop(unblock);
        assert_eq!(first.recv().unwrap().value, 1);
        // The end of the first leaves the second alone.
        let third = group.call_chan("key", || 3);
        drop(unblock_second);
        for receiver in [second, third] {
            let two = Outcome {
                value: 2,
                shared: true,
            };
            assert_eq!(receiver.recv(), Ok(two));
        }
    });
}

/// TestPanicDo, TestPanicDoChan, TestPanicDoSharedByDoChan: nobody is left waiting.
#[test]
fn a_panic_reaches_all_who_wait() {
    let group = Group::<&str, ()>::new();
    let askers: Vec<_> = (0..5)
        .map(|_| {
            let group = group.clone();
            go(move || {
                let call = || {
                    group.call("key", || {
                        time::sleep(5 * MS);
                        panic!("on purpose")
                    })
                };
                catch_unwind(AssertUnwindSafe(call)).is_err()
            })
        })
        .collect();
    time::sleep(MS);
    let channel = group.call_chan("key", || panic!("on purpose"));
    assert_eq!(channel.recv(), Err(chan::RecvError));
    assert!(askers.into_iter().all(|asker| asker.join().unwrap()));
    group.call("key", || ());
}
