//! Channels and select against a reference, under contention, and at their ends; and what Go's own tests ask of channels (test/chan and
//! runtime/chan_test.go), by behaviour.

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{TestEnv, eventually, go, settle, times};
use gosched::chan::select::{RecvCase, SendCase, Wait, select};
use gosched::chan::{
    RecvError, RecvUntilError, SendError, SendUntilError, TryRecvError, TrySendError, bounded,
    unbuffered,
};
use gosched::yield_now;
use proptest::prelude::*;

on_both_engines!(
    many_to_many_delivers_each_value_once,
    unbuffered_sends_meet_receives,
    waiting_parties_are_served_in_order,
    closing_wakes_everybody,
    deadlines_pass_and_leave_nothing_behind,
    select_is_fair_and_waits,
    selects_against_selects,
    select_can_send_and_receive_on_one_channel,
    a_channel_of_every_capacity_blocks_keeps_order_and_drains,
    chains_pass_values_on_in_order,
    what_was_sent_before_is_received_without_waiting,
    values_without_size_are_counted,
    a_consumer_pool_takes_each_value_once,
);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 128 }))]

    /// Operations that do not wait, on a plain thread, against a queue.
    #[test]
    fn a_bounded_channel_is_a_bounded_queue(
        capacity in 0..5usize,
        operations in proptest::collection::vec(0..12u8, 1..80),
    ) {
        let (tx, rx) = bounded(capacity);
        let mut model = VecDeque::new();
        let mut closed = false;
        for (i, op) in operations.into_iter().enumerate() {
            match op {
                0..=5 => {
                    let expected = if closed {
                        Err(TrySendError::Closed(i))
                    } else if model.len() < capacity {
                        model.push_back(i);
                        Ok(())
                    } else {
                        Err(TrySendError::Full(i))
                    };
                    if i % 2 == 0 {
                        prop_assert_eq!(tx.try_send(i), expected);
                    } else {
                        let case = SendCase::new(&tx, i);
                        let chosen = select(&[&case], Wait::Not);
                        prop_assert_eq!(chosen.is_none(), matches!(expected, Err(TrySendError::Full(_))));
                        if chosen.is_some() {
                            prop_assert_eq!(case.take().is_err(), closed);
                        }
                    }
                }
                6..=10 => {
                    let expected = model.pop_front().ok_or(
                        if closed { TryRecvError::Closed } else { TryRecvError::Empty });
                    prop_assert_eq!(rx.try_recv(), expected);
                }
                _ => {
                    prop_assert_eq!(if i % 2 == 0 { tx.close() } else { rx.close() }, !closed);
                    closed = true;
                }
            }
            prop_assert_eq!(rx.len(), model.len());
            prop_assert_eq!(tx.is_closed(), closed);
        }
    }
}

fn many_to_many_delivers_each_value_once<E: TestEnv>() {
    let s = E::scheduler(3);
    let each = times(100) as usize;
    for capacity in [0, 1, 7] {
        let (tx, rx) = bounded::<usize>(capacity);
        let seen: Arc<Vec<AtomicUsize>> =
            Arc::new((0..6 * each).map(|_| AtomicUsize::new(0)).collect());
        let senders: Vec<_> = (0..6)
            .map(|k| {
                let tx = tx.clone();
                go(s, move || {
                    (0..each).for_each(|i| tx.send(k * each + i).unwrap())
                })
            })
            .collect();
        drop(tx);
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let (rx, seen) = (rx.clone(), seen.clone());
                go(s, move || {
                    // What one receiver gets from one sender comes in the sender's order.
                    let mut last = [None; 6];
                    for value in &rx {
                        let from = &mut last[value / each];
                        assert!(from.is_none_or(|before| before < value));
                        *from = Some(value);
                        seen[value].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for handle in senders.into_iter().chain(receivers) {
            handle.join().unwrap();
        }
        assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    }
}

fn unbuffered_sends_meet_receives<E: TestEnv>() {
    let s = E::scheduler(1);
    let (tx, rx) = unbuffered();
    assert_eq!(
        tx.try_send(Box::new(1)),
        Err(TrySendError::Full(Box::new(1)))
    );
    let sender = go(s, move || tx.send(Box::new(2)));
    eventually("the sender waits", || rx.try_recv().map(|b| *b) == Ok(2));
    sender.join().unwrap().unwrap();
    assert_eq!(rx.recv(), Err(RecvError), "the last sender is gone");
}

fn waiting_parties_are_served_in_order<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        let (tx, rx) = unbuffered::<u32>();
        let handles: Vec<_> = (0..5)
            .map(|_| {
                let rx = rx.clone();
                let handle = go(s, move || rx.recv().unwrap());
                gosched::yield_now();
                handle
            })
            .collect();
        (0..5).for_each(|i| tx.send(i).unwrap());
        let got: Vec<_> = handles.into_iter().map(|h| h.join().unwrap()).collect();
        assert_eq!(got, [0, 1, 2, 3, 4]);
    })
    .unwrap();
}

fn closing_wakes_everybody<E: TestEnv>() {
    let s = E::scheduler(2);
    let (tx, rx) = bounded(1);
    tx.send(0).unwrap();
    let blocked: Vec<_> = (1..4)
        .map(|i| {
            let tx = tx.clone();
            go(s, move || tx.send(i).unwrap_err().into_inner())
        })
        .collect();
    std::thread::sleep(Duration::from_millis(5));
    assert!(rx.close());
    assert!(!tx.close());
    let back: i32 = blocked.into_iter().map(|h| h.join().unwrap()).sum();
    assert_eq!(back, 6, "unsent values come back");
    assert_eq!(rx.recv(), Ok(0), "what was buffered is still received");
    assert_eq!(rx.recv(), Err(RecvError));

    let (tx, rx) = unbuffered::<()>();
    let waiting = go(s, move || rx.recv());
    std::thread::sleep(Duration::from_millis(2));
    drop(tx);
    assert_eq!(waiting.join().unwrap(), Err(RecvError));
}

fn deadlines_pass_and_leave_nothing_behind<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(|| {
        let soon = || Instant::now() + Duration::from_millis(3);
        let (tx, rx) = unbuffered();
        let start = Instant::now();
        assert_eq!(rx.recv_until(soon()), Err(RecvUntilError::TimedOut));
        assert!(start.elapsed() >= Duration::from_millis(3));
        assert_eq!(tx.send_until(5, soon()), Err(SendUntilError::TimedOut(5)));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(tx.try_send(6), Err(TrySendError::Full(6)));
        let case = RecvCase::new(&rx);
        assert_eq!(select(&[&case], Wait::Until(soon())), None);
        assert_eq!(select(&[], Wait::Until(soon())), None);
        tx.close();
        assert_eq!(rx.recv_until(soon()), Err(RecvUntilError::Closed));
    })
    .unwrap();
}

fn select_is_fair_and_waits<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let channels: Vec<_> = (0..3).map(|_| bounded::<u32>(1)).collect();
        let cases: Vec<_> = channels.iter().map(|(_, rx)| RecvCase::new(rx)).collect();
        let list: Vec<&dyn gosched::chan::select::Case> = cases.iter().map(|c| c as _).collect();
        let mut chosen = [0u32; 3];
        let rounds = if cfg!(miri) { 60 } else { 600 };
        for _ in 0..rounds {
            for (tx, _) in &channels {
                let _ = tx.try_send(1);
            }
            let i = select(&list, Wait::Forever).unwrap();
            assert_eq!(cases[i].take(), Ok(1));
            chosen[i] += 1;
        }
        assert!(chosen.iter().all(|&n| n > rounds / 6), "{chosen:?}");

        for (_, rx) in &channels {
            let _ = rx.try_recv();
        }
        let late = channels[2].0.clone();
        go(s, move || {
            gosched::sleep(Duration::from_millis(2));
            late.send(9).unwrap();
        });
        assert_eq!(select(&list, Wait::Not), None);
        assert_eq!(select(&list, Wait::Forever), Some(2));
        assert_eq!(cases[2].take(), Ok(9));
    })
    .unwrap();
}

/// Selecting senders against selecting receivers over the same channels, in different orders.
fn selects_against_selects<E: TestEnv>() {
    let s = E::scheduler(3);
    let (a, b) = (unbuffered::<u64>(), unbuffered::<u64>());
    let senders: Vec<_> = (0..3u64)
        .map(|k| {
            let (a, b) = (a.0.clone(), b.0.clone());
            go(s, move || {
                for i in 0..times(150) {
                    let value = k * 1000 + i;
                    let (one, two) = (SendCase::new(&a, value), SendCase::new(&b, value));
                    match select(&[&one, &two], Wait::Forever) {
                        Some(0) => {
                            one.take().unwrap();
                            assert_eq!(two.into_inner(), Some(value));
                        }
                        _ => {
                            two.take().unwrap();
                            assert_eq!(one.into_inner(), Some(value));
                        }
                    }
                }
            })
        })
        .collect();
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let (a, b) = (a.1.clone(), b.1.clone());
            go(s, move || {
                let mut sum = 0;
                loop {
                    let (one, two) = (RecvCase::new(&b), RecvCase::new(&a));
                    let received = match select(&[&one, &two], Wait::Forever) {
                        Some(0) => one.take(),
                        _ => two.take(),
                    };
                    match received {
                        Ok(value) => sum += value,
                        Err(RecvError) => return sum,
                    }
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    a.0.close();
    b.0.close();
    let sum: u64 = receivers.into_iter().map(|r| r.join().unwrap()).sum();
    let expected: u64 = (0..3u64)
        .flat_map(|k| (0..times(150)).map(move |i| k * 1000 + i))
        .sum();
    assert_eq!(sum, expected);
}

fn select_can_send_and_receive_on_one_channel<E: TestEnv>() {
    let s = E::scheduler(2);
    let (tx, rx) = unbuffered::<u32>();
    let swaps: Vec<_> = (0..4)
        .map(|i| {
            let (tx, rx) = (tx.clone(), rx.clone());
            go(s, move || {
                let (send, recv) = (SendCase::new(&tx, i), RecvCase::new(&rx));
                match select(&[&send, &recv], Wait::Forever) {
                    Some(0) => send.take().map(|()| None).unwrap(),
                    _ => Some(recv.take().unwrap()),
                }
            })
        })
        .collect();
    let got: Vec<_> = swaps.into_iter().map(|h| h.join().unwrap()).collect();
    assert_eq!(
        got.iter().flatten().count(),
        2,
        "two sent, two received: {got:?}"
    );
    for (i, value) in got.iter().enumerate() {
        assert_ne!(
            *value,
            Some(i as u32),
            "nobody receives what it sent itself"
        );
    }
}

/// Go's TestChan.
fn a_channel_of_every_capacity_blocks_keeps_order_and_drains<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        for capacity in 0..times(12) as usize {
            let (tx, rx) = bounded::<usize>(capacity);
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            let got = Arc::new(AtomicBool::new(false));
            let receiver = {
                let (rx, got) = (rx.clone(), got.clone());
                go(s, move || {
                    let value = rx.recv();
                    got.store(true, Ordering::Release);
                    value
                })
            };
            settle();
            assert!(!got.load(Ordering::Acquire), "an empty channel blocks");
            tx.send(1000).unwrap();
            assert_eq!(receiver.join().unwrap(), Ok(1000));

            (0..capacity).for_each(|i| tx.send(i).unwrap());
            assert_eq!((tx.len(), tx.capacity()), (capacity, capacity));
            assert_eq!(tx.try_send(7), Err(TrySendError::Full(7)));
            let sent = Arc::new(AtomicBool::new(false));
            let sender = {
                let (tx, sent) = (tx.clone(), sent.clone());
                go(s, move || {
                    tx.send(capacity).unwrap();
                    sent.store(true, Ordering::Release);
                })
            };
            settle();
            assert!(!sent.load(Ordering::Acquire), "a full channel blocks");
            (0..=capacity).for_each(|i| assert_eq!(rx.recv(), Ok(i)));
            sender.join().unwrap();

            (0..capacity).for_each(|i| tx.send(i).unwrap());
            assert!(tx.close());
            assert!(!tx.close(), "a second close does nothing, and says so");
            assert_eq!(tx.send(9), Err(SendError(9)), "the value comes back");
            (0..capacity).for_each(|i| assert_eq!(rx.recv(), Ok(i), "what was sent is received"));
            assert_eq!((rx.recv(), rx.recv()), (Err(RecvError), Err(RecvError)));
            assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
        }
    })
    .unwrap();
}

/// Go's test/chan/fifo.go and goroutines.go.
fn chains_pass_values_on_in_order<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let (tx, rx) = bounded(10);
        (0..10).for_each(|i| tx.send(i).unwrap());
        (0..10).for_each(|i| assert_eq!(rx.recv(), Ok(i)));

        let (first, mut last) = unbuffered::<u64>();
        for _ in 0..times(100) {
            let (tx, next) = unbuffered();
            let rx = std::mem::replace(&mut last, next);
            go(s, move || rx.iter().for_each(|n| tx.send(n + 1).unwrap()));
        }
        go(s, move || (0..10).for_each(|n| first.send(n).unwrap()));
        let got: Vec<u64> = last.iter().collect();
        assert_eq!(got, (0..10).map(|n| n + times(100)).collect::<Vec<_>>());
    })
    .unwrap();
}

/// Go's TestNonblockRecvRace.
fn what_was_sent_before_is_received_without_waiting<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        for _ in 0..times(300) {
            let (tx, rx) = bounded(1);
            tx.send(1).unwrap();
            let other = rx.clone();
            let taker = go(s, move || other.try_recv());
            tx.close();
            let here = rx.recv();
            let there = taker.join().unwrap();
            let found = [here.is_ok(), there.is_ok()]
                .iter()
                .filter(|&&ok| ok)
                .count();
            assert_eq!(found, 1, "{here:?} {there:?}");
            assert_ne!(
                there,
                Err(TryRecvError::Empty),
                "it had a value or was closed"
            );
        }
    })
    .unwrap();
}

/// Go's test/chan/zerosize.go.
fn values_without_size_are_counted<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(|| {
        let (tx, rx) = bounded(3);
        (0..3).for_each(|_| tx.send(()).unwrap());
        assert_eq!(tx.try_send(()), Err(TrySendError::Full(())));
        drop(tx);
        assert_eq!(rx.iter().count(), 3);
    })
    .unwrap();
}

/// Go's TestMultiConsumer.
fn a_consumer_pool_takes_each_value_once<E: TestEnv>() {
    let s = E::scheduler(3);
    s.run_main(move || {
        const WORKERS: usize = 5;
        let primes = [2u64, 3, 7, 11, 13, 17, 19, 23, 27, 31];
        let (tx, rx) = bounded::<u64>(WORKERS);
        let (results, sum) = bounded::<u64>(WORKERS);
        for prime in primes.into_iter().take(WORKERS) {
            let (rx, results) = (rx.clone(), results.clone());
            go(s, move || {
                for value in &rx {
                    if prime % 3 == value % 3 {
                        yield_now();
                    }
                    results.send(value).unwrap();
                }
            });
        }
        drop((results, rx));
        let n = times(600);
        let expected: u64 = (0..n).map(|i| primes[i as usize % 10]).sum();
        go(s, move || {
            (0..n).for_each(|i| tx.send(primes[i as usize % 10]).unwrap())
        });
        let (mut got, mut count) = (0, 0);
        for value in &sum {
            got += value;
            count += 1;
        }
        assert_eq!((count, got), (n, expected));
    })
    .unwrap();
    eventually("all goroutines end", || s.goroutines() == 0);
}

#[test]
#[should_panic(expected = "takes part in a select twice")]
fn a_case_may_not_be_listed_twice() {
    let (_tx, rx) = unbuffered::<u32>();
    let case = RecvCase::new(&rx);
    select(&[&case, &case], Wait::Not);
}

#[test]
#[should_panic(expected = "sent before")]
fn a_value_is_sent_once() {
    let (tx, _rx) = bounded(2);
    let case = SendCase::new(&tx, 1);
    assert_eq!(select(&[&case], Wait::Not), Some(0));
    case.take().unwrap();
    select(&[&case], Wait::Not);
}

#[test]
fn values_are_dropped_with_the_channel() {
    let value = Arc::new(());
    let (tx, rx) = bounded(4);
    tx.send(value.clone()).unwrap();
    tx.send(value.clone()).unwrap();
    drop((tx, rx));
    assert_eq!(Arc::strong_count(&value), 1);
}
