//! What Go's tests ask of `time.AfterFunc` (time/sleep_test.go), by behaviour, and timers as arms of a `select!`; timers themselves are tested where they are, in gosched.

use super::*;
use crate::{chan, select, simulation, yield_now};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Go's TestAfterFunc: a function that has itself called again.
#[test]
fn a_function_is_called_again_and_again() {
    simulation::check(50, || {
        let begin = now();
        let (tx, rx) = chan::unbuffered();
        let mut left = 10;
        let timer = Arc::new(crate::sync::OnceLock::<FuncTimer>::new());
        let its = timer.clone();
        let first = after_func(HOUR, move || {
            left -= 1;
            match left {
                0 => tx.send(now()).unwrap(),
                _ => assert!(!its.get().unwrap().reset(HOUR)),
            }
        });
        timer.set(first).unwrap();
        assert_eq!(rx.recv().unwrap() - begin, 10 * HOUR);
    });
}

/// Go's TestAfterStop and TestReset.
#[test]
fn stop_and_reset_say_whether_they_were_in_time() {
    simulation::check(50, || {
        let calls = Arc::new(AtomicU32::new(0));
        let counts = calls.clone();
        let timer = after_func(100 * MS, move || _ = counts.fetch_add(1, Relaxed));
        sleep(50 * MS);
        assert!(timer.reset(200 * MS));
        sleep(100 * MS);
        assert_eq!(calls.load(Relaxed), 0);
        assert!(timer.stop() && !timer.stop());
        sleep(HOUR);
        assert_eq!(calls.load(Relaxed), 0);
        assert!(!timer.reset(10 * MS));
        sleep(20 * MS);
        assert_eq!(calls.load(Relaxed), 1);
        assert!(!timer.stop() && !timer.reset(Duration::MAX) && !timer.stop());
    });
}

#[test]
fn calls_of_one_function_are_never_at_the_same_time() {
    simulation::check(100, || {
        let busy = Arc::new(AtomicU32::new(0));
        let (tx, rx) = chan::bounded(2);
        let timer = after_func(MS, move || {
            assert_eq!(busy.fetch_add(1, Relaxed), 0);
            sleep(10 * MS);
            busy.fetch_sub(1, Relaxed);
            tx.send(now()).unwrap();
        });
        sleep(2 * MS);
        assert!(!timer.reset(MS));
        let (first, second) = (rx.recv().unwrap(), rx.recv().unwrap());
        assert!(second - first >= 10 * MS);
    });
}

#[test]
fn what_a_function_holds_is_dropped_when_it_will_not_be_called_any_more() {
    simulation::check(50, || {
        let held = Arc::new(());
        let its = held.clone();
        let timer = after_func(HOUR, move || _ = &its);
        assert!(timer.stop());
        drop(timer);
        assert_eq!(Arc::strong_count(&held), 1);
        let its = held.clone();
        after_func(HOUR, move || _ = &its);
        sleep(2 * HOUR);
        simulation::wait();
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

/// Go's TestAfterFuncStarvation.
#[test]
fn a_function_is_called_though_others_keep_every_p_busy() {
    let (tx, rx) = chan::bounded(1);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (its, sets) = (stop.clone(), stop.clone());
    let sender = go(move || while !its.load(Relaxed) && tx.send(()).is_ok() {});
    let receiver = go(move || rx.iter().count());
    after_func(MS, move || sets.store(true, Relaxed));
    sender.join().unwrap();
    receiver.join().unwrap();
}

#[test]
fn timers_tickers_channels_and_defaults_in_one_select() {
    simulation::check(100, || {
        let begin = now();
        let (tx, rx) = chan::unbuffered::<u32>();
        let (full_tx, _full) = chan::bounded::<u32>(1);
        full_tx.send(0).unwrap();
        let sender = go(move || {
            sleep(25 * MS);
            tx.send(7).map(|()| tx)
        });
        let ticker = Ticker::new(10 * MS);
        let deadline = after(45 * MS);
        let mut seen = Vec::new();
        loop {
            select! {
                recv(ticker) -> time => seen.push((time - begin, "tick")),
                recv(rx) -> value => {
                    assert_eq!(value, Ok(7));
                    seen.push((now() - begin, "value"));
                }
                send(full_tx, 1) -> _ => unreachable!("there is no room"),
                recv(deadline) -> time => {
                    seen.push((time - begin, "deadline"));
                    break;
                }
            }
        }
        let expected = [
            (10, "tick"),
            (20, "tick"),
            (25, "value"),
            (30, "tick"),
            (40, "tick"),
            (45, "deadline"),
        ];
        assert_eq!(seen, expected.map(|(ms, what)| (ms * MS, what)));
        assert!(select! { recv(after(HOUR)) -> _ => false, default => true });
        assert!(select! { recv(after(HOUR)) -> _ => false, default(MS) => true });
        drop(sender.join());
    });
}

/// Go's idiom of channels that are nil at times (TestLongAdjustTimers has one): a queue in a goroutine.
#[test]
fn an_arm_is_switched_off_by_none() {
    simulation::check(50, || {
        let (in_tx, in_rx) = chan::unbuffered::<u32>();
        let (out_tx, out_rx) = chan::unbuffered::<u32>();
        go(move || {
            let mut queue = std::collections::VecDeque::new();
            let mut input = Some(&in_rx);
            while input.is_some() || !queue.is_empty() {
                let first = queue.front().copied();
                let output = first.map(|_| &out_tx);
                select! {
                    recv(input) -> value => match value {
                        Ok(value) => queue.push_back(value),
                        Err(_) => input = None,
                    },
                    send(output, first.unwrap_or_default()) -> sent => {
                        sent.unwrap();
                        queue.pop_front();
                    }
                }
            }
        });
        for n in 0..10 {
            in_tx.send(n).unwrap();
        }
        drop(in_tx);
        assert!(out_rx.iter().eq(0..10));
        let never: [Option<chan::Receiver<u32>>; 1] = [None];
        assert!(select! { recv(never[0]) -> _ => false, recv(after(MS)) -> _ => true });
    });
}

#[test]
fn waiting_for_something_has_an_end() {
    simulation::check(50, || {
        let begin = now();
        assert_eq!(timeout(HOUR, || 1), Ok(1));
        let (tx, rx) = chan::bounded::<u32>(1);
        let slow = move || {
            sleep(2 * HOUR);
            tx.send(1).unwrap();
        };
        assert_eq!(timeout(HOUR, slow), Err(Elapsed));
        assert_eq!(now() - begin, HOUR);
        // It runs on.
        assert_eq!(rx.recv(), Ok(1));
        assert_eq!(now() - begin, 2 * HOUR);
        assert_eq!(timeout(Duration::MAX, || 2), Ok(2));
    });
    let panicked = std::panic::catch_unwind(|| timeout(HOUR, || panic!("in time")));
    let payload = panicked.map(|_: Result<(), _>| ()).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"in time"));
}

/// Many timers of all kinds on true time and all Ps: none is early, none is lost.
#[test]
fn many_timers_at_once() {
    let (tx, rx) = chan::bounded(64);
    let begin = now();
    for n in 0..300u32 {
        let tx = tx.clone();
        let due = n % 20 * MS;
        match n % 3 {
            0 => {
                let mut tx = Some(tx);
                after_func(due, move || {
                    assert!(begin.elapsed() >= due);
                    let tx = tx.take().expect("called once");
                    tx.send(n).unwrap();
                });
            }
            1 => {
                _ = go(move || {
                    after(due).recv();
                    tx.send(n).unwrap();
                })
            }
            _ => {
                _ = go(move || {
                    let ticker = Ticker::new(due.max(MS) / 4);
                    (0..4).for_each(|_| _ = ticker.recv());
                    yield_now();
                    tx.send(n).unwrap();
                })
            }
        }
    }
    drop(tx);
    let mut all: Vec<u32> = rx.iter().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..300));
}
