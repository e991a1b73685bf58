//! What Go's own tests ask of `select` (test/chan and runtime/chan_test.go), by behaviour.
//!
//! Where this crate's channels differ on purpose the tests say so: a send on a closed channel is an error that gives the
//! value back where Go panics, closing twice says so and does nothing, and there is no nil channel: an empty `select` is
//! what waits for ever.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{TestEnv, go, settle, times};
use gosched::chan::select::{Case, RecvCase, SendCase, Wait, select};
use gosched::chan::{Receiver, RecvError, SendError, TryRecvError, bounded, unbuffered};
use gosched::sync::WaitGroup;
use gosched::yield_now;

on_both_engines!(
    a_select_that_does_not_wait_sees_what_is_ready_throughout,
    the_same_with_a_channel_that_closes,
    a_goroutine_never_receives_what_its_own_select_sends,
    four_goroutines_on_four_channels_by_select_and_without,
    two_busy_channels_are_chosen_equally_often,
    two_sends_on_one_channel_are_chosen_equally_often,
    a_channel_listed_twice_leaves_no_waiter_behind,
    a_select_given_up_leaves_no_waiter_behind,
    values_of_a_select_that_lists_a_channel_often_arrive_once,
    every_way_to_send_meets_every_way_to_receive,
    closing_ends_every_kind_of_wait,
    what_blocks_and_what_does_not,
    nothing_but_its_deadline_ends_an_empty_select,
);

/// Of two channels one is always ready, since the second becomes so before the first is emptied.
fn one_is_ready<E: TestEnv>(close: bool) {
    let s = E::scheduler(2);
    s.run_main(move || {
        for _ in 0..times(300) {
            let (first, second) = (bounded(1), bounded::<u32>(1));
            first.0.send(1).unwrap();
            let (one, two) = (first.1.clone(), second.1.clone());
            let looker = go(s, move || {
                let (a, b) = (RecvCase::new(&one), RecvCase::new(&two));
                select(&[&a, &b], Wait::Not).is_some()
            });
            if close {
                second.0.close();
            } else {
                second.0.send(1).unwrap();
            }
            let _ = first.1.try_recv();
            assert!(looker.join().unwrap(), "one of them was ready all the time");
        }
    })
    .unwrap();
}

/// Go's TestNonblockSelectRace.
fn a_select_that_does_not_wait_sees_what_is_ready_throughout<E: TestEnv>() {
    one_is_ready::<E>(false);
}

/// Go's TestNonblockSelectRace2.
fn the_same_with_a_channel_that_closes<E: TestEnv>() {
    one_is_ready::<E>(true);
}

/// Go's TestSelfSelect: both directions of one channel in one select.
fn a_goroutine_never_receives_what_its_own_select_sends<E: TestEnv>() {
    let s = E::scheduler(2);
    for capacity in [0, 10] {
        s.run_main(move || {
            let group = Arc::new(WaitGroup::new());
            let (tx, rx) = bounded::<u64>(capacity);
            for me in 0..2u64 {
                group.add(1);
                let (tx, rx, group) = (tx.clone(), rx.clone(), group.clone());
                go(s, move || {
                    for i in 0..times(300) {
                        let (send, recv) = (SendCase::new(&tx, me), RecvCase::new(&rx));
                        // In either order.
                        let cases: [&dyn Case; 2] = if (me + i) % 2 == 0 {
                            [&send, &recv]
                        } else {
                            [&recv, &send]
                        };
                        let chosen = select(&cases, Wait::Forever).unwrap();
                        if chosen == usize::from((me + i) % 2 == 0) {
                            let value = recv.take().unwrap();
                            assert!(capacity > 0 || value != me, "it met itself");
                        } else {
                            send.take().unwrap();
                        }
                    }
                    group.done();
                });
            }
            // One may be left alone with its last operations.
            let helper = {
                let (tx, rx) = (tx.clone(), rx.clone());
                let over = Arc::new(AtomicBool::new(false));
                let seen = over.clone();
                let handle = go(s, move || {
                    while !seen.load(Ordering::Acquire) {
                        let _ = rx.try_recv();
                        let _ = tx.try_send(9);
                        yield_now();
                    }
                });
                (over, handle)
            };
            group.wait();
            helper.0.store(true, Ordering::Release);
            helper.1.join().unwrap();
        })
        .unwrap();
    }
}

/// Go's TestSelectStress.
fn four_goroutines_on_four_channels_by_select_and_without<E: TestEnv>() {
    let s = E::scheduler(3);
    let each = times(300);
    s.run_main(move || {
        let channels: Vec<_> = [0, 0, 2, 3].into_iter().map(bounded::<u64>).collect();
        let mut workers = Vec::new();
        for (tx, rx) in &channels {
            let (tx, rx) = (tx.clone(), rx.clone());
            workers.push(go(s, move || (0..each).for_each(|_| tx.send(1).unwrap())));
            workers.push(go(s, move || {
                (0..each).for_each(|_| assert_eq!(rx.recv(), Ok(1)))
            }));
        }
        let senders: Vec<_> = channels.iter().map(|c| c.0.clone()).collect();
        let receivers: Vec<_> = channels.iter().map(|c| c.1.clone()).collect();
        workers.push(go(s, move || {
            let mut left = [each; 4];
            while left.iter().any(|&n| n > 0) {
                let open: Vec<usize> = (0..4).filter(|&i| left[i] > 0).collect();
                let cases: Vec<_> = open
                    .iter()
                    .map(|&i| SendCase::new(&senders[i], 1))
                    .collect();
                let list: Vec<&dyn Case> = cases.iter().map(|c| c as _).collect();
                let chosen = select(&list, Wait::Forever).unwrap();
                cases[chosen].take().unwrap();
                left[open[chosen]] -= 1;
            }
        }));
        workers.push(go(s, move || {
            let mut left = [each; 4];
            while left.iter().any(|&n| n > 0) {
                let open: Vec<usize> = (0..4).filter(|&i| left[i] > 0).collect();
                let cases: Vec<_> = open.iter().map(|&i| RecvCase::new(&receivers[i])).collect();
                let list: Vec<&dyn Case> = cases.iter().map(|c| c as _).collect();
                let chosen = select(&list, Wait::Forever).unwrap();
                cases[chosen].take().unwrap();
                left[open[chosen]] -= 1;
            }
        }));
        workers.into_iter().for_each(|w| w.join().unwrap());
        assert!(channels.iter().all(|(tx, _)| tx.is_empty()));
    })
    .unwrap();
}

/// Neither of two outcomes that are equally likely is further from half than six standard deviations: once in a billion.
fn assert_fair(counts: [u64; 2]) {
    let n = (counts[0] + counts[1]) as f64;
    let off = (counts[0] as f64 - n / 2.0).abs();
    assert!(off <= 3.0 * n.sqrt(), "{counts:?}");
}

/// Go's TestSelectFairness.
fn two_busy_channels_are_chosen_equally_often<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        let (one, two) = (bounded::<u64>(1), bounded::<u64>(1));
        let mut counts = [0; 2];
        let (a, b) = (RecvCase::new(&one.1), RecvCase::new(&two.1));
        for _ in 0..times(4000) {
            let _ = one.0.try_send(1);
            let _ = two.0.try_send(1);
            match select(&[&a, &b], Wait::Forever) {
                Some(0) => {
                    a.take().unwrap();
                    counts[0] += 1;
                }
                _ => {
                    b.take().unwrap();
                    counts[1] += 1;
                }
            }
        }
        assert_fair(counts);
    })
    .unwrap();
}

/// Go's TestPseudoRandomSend.
fn two_sends_on_one_channel_are_chosen_equally_often<E: TestEnv>() {
    let s = E::scheduler(1);
    for capacity in [0, 1, 5] {
        s.run_main(move || {
            let (tx, rx) = bounded::<usize>(capacity);
            let n = times(2000);
            let reader = go(s, move || {
                let mut counts = [0u64; 2];
                for value in &rx {
                    counts[value] += 1;
                    yield_now();
                }
                counts
            });
            for _ in 0..n {
                let (zero, one) = (SendCase::new(&tx, 0), SendCase::new(&tx, 1));
                match select(&[&zero, &one], Wait::Forever) {
                    Some(0) => zero.take().unwrap(),
                    _ => one.take().unwrap(),
                }
            }
            drop(tx);
            let counts = reader.join().unwrap();
            assert_eq!(counts[0] + counts[1], n);
            assert_fair(counts);
        })
        .unwrap();
    }
}

/// Go's TestSelectDuplicateChannel.
fn a_channel_listed_twice_leaves_no_waiter_behind<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        let (c, d) = (unbuffered::<u32>(), unbuffered::<u32>());
        let (c1, d1) = (c.1.clone(), d.1.clone());
        let selects = go(s, move || {
            let (a, b, other) = (RecvCase::new(&c1), RecvCase::new(&c1), RecvCase::new(&d1));
            select(&[&a, &b, &other], Wait::Forever).map(|i| (i, other.take()))
        });
        settle();
        let c2 = c.1.clone();
        let receives = go(s, move || c2.recv());
        settle();
        // Takes both of the first one's places in the queue of `c` out, from before the second one's.
        d.0.send(7).unwrap();
        assert_eq!(selects.join().unwrap(), Some((2, Ok(7))));
        c.0.send(8).unwrap();
        assert_eq!(receives.join().unwrap(), Ok(8));
    })
    .unwrap();
}

/// Go's test/chan/select6.go.
fn a_select_given_up_leaves_no_waiter_behind<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        let (tx, rx) = unbuffered::<bool>();
        let (other_tx, other_rx) = unbuffered::<bool>();
        let first = {
            let rx = rx.clone();
            go(s, move || rx.recv())
        };
        settle();
        let second = {
            let rx = rx.clone();
            go(s, move || {
                let (a, b) = (RecvCase::new(&rx), RecvCase::new(&other_rx));
                let chosen = select(&[&a, &b], Wait::Forever);
                assert_eq!(chosen, Some(1));
                b.take()
            })
        };
        settle();
        let third = go(s, move || rx.recv());
        settle();
        other_tx.send(true).unwrap();
        assert_eq!(second.join().unwrap(), Ok(true));
        tx.send(true).unwrap();
        tx.send(false).unwrap();
        assert_eq!(
            (first.join().unwrap(), third.join().unwrap()),
            (Ok(true), Ok(false))
        );
    })
    .unwrap();
}

/// Go's test/chan/doubleselect.go.
fn values_of_a_select_that_lists_a_channel_often_arrive_once<E: TestEnv>() {
    let s = E::scheduler(3);
    let n = times(1200);
    s.run_main(move || {
        let channels: Vec<_> = (0..4).map(|_| unbuffered::<u64>()).collect();
        let (results_tx, results) = unbuffered();
        for (_, rx) in &channels {
            let (rx, tx) = (rx.clone(), results_tx.clone());
            go(s, move || rx.iter().for_each(|v| tx.send(v).unwrap()));
        }
        drop(results_tx);
        let senders: Vec<_> = channels.into_iter().map(|c| c.0).collect();
        go(s, move || {
            for i in 0..n {
                let cases: Vec<_> = [0, 1, 2, 3, 0, 1, 2, 3, 3]
                    .into_iter()
                    .map(|c| SendCase::new(&senders[c], i))
                    .collect();
                let list: Vec<&dyn Case> = cases.iter().map(|c| c as _).collect();
                let chosen = select(&list, Wait::Forever).unwrap();
                cases[chosen].take().unwrap();
            }
        });
        let mut seen = vec![false; n as usize];
        for value in &results {
            assert!(!std::mem::replace(&mut seen[value as usize], true), "twice");
        }
        assert!(seen.iter().all(|&s| s), "lost");
    })
    .unwrap();
}

type Way<T> = (&'static str, fn(T) -> u32);

/// Go's test/chan/select7.go: plain operations, ones in a select, and ones that try until they succeed, on either side, whichever
/// comes first.
fn every_way_to_send_meets_every_way_to_receive<E: TestEnv>() {
    let s = E::scheduler(1);
    let receive: [Way<Receiver<u32>>; 4] = [
        ("recv", |rx| rx.recv().unwrap()),
        ("try_recv", |rx| {
            loop {
                match rx.try_recv() {
                    Ok(value) => return value,
                    Err(TryRecvError::Empty) => yield_now(),
                    Err(TryRecvError::Closed) => panic!("closed"),
                }
            }
        }),
        ("one of two", |rx| {
            let (_keep, never) = unbuffered::<u32>();
            let (it, other) = (RecvCase::new(&rx), RecvCase::new(&never));
            assert_eq!(select(&[&it, &other], Wait::Forever), Some(0));
            it.take().unwrap()
        }),
        ("once or not", |rx| {
            let it = RecvCase::new(&rx);
            while select(&[&it], Wait::Not).is_none() {
                yield_now();
            }
            it.take().unwrap()
        }),
    ];
    type Sender = gosched::chan::Sender<u32>;
    let send: [Way<Sender>; 4] = [
        ("send", |tx| tx.send(5).map_or(0, |()| 1)),
        ("try_send", |tx| {
            while tx.try_send(5).is_err() {
                yield_now();
            }
            1
        }),
        ("one of two", |tx| {
            let (_keep, never) = unbuffered::<u32>();
            let (it, other) = (SendCase::new(&tx, 5), RecvCase::new(&never));
            assert_eq!(select(&[&other, &it], Wait::Forever), Some(1));
            it.take().map_or(0, |()| 1)
        }),
        ("once or not", |tx| {
            let it = SendCase::new(&tx, 5);
            while select(&[&it], Wait::Not).is_none() {
                yield_now();
            }
            it.take().map_or(0, |()| 1)
        }),
    ];
    s.run_main(move || {
        for (how_received, receive) in receive {
            for (how_sent, send) in send {
                for (capacity, sender_first) in [(0, true), (0, false), (1, true), (1, false)] {
                    // Two that only try never meet on a channel without room.
                    let tries =
                        |how| how == "try_recv" || how == "try_send" || how == "once or not";
                    if capacity == 0 && tries(how_received) && tries(how_sent) {
                        continue;
                    }
                    let (tx, rx) = bounded(capacity);
                    let (sent, received) = if sender_first {
                        let sent = go(s, move || send(tx));
                        settle();
                        (sent, go(s, move || receive(rx)))
                    } else {
                        let received = go(s, move || receive(rx));
                        settle();
                        (go(s, move || send(tx)), received)
                    };
                    assert_eq!(received.join().unwrap(), 5, "{how_sent} to {how_received}");
                    assert_eq!(sent.join().unwrap(), 1, "{how_sent} to {how_received}");
                }
            }
        }
    })
    .unwrap();
}

fn closing_ends_every_kind_of_wait<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let (tx, rx) = unbuffered::<u32>();
        let waits = {
            let (a, b) = (rx.clone(), rx.clone());
            [
                go(s, move || a.recv().is_err()),
                go(s, move || {
                    let case = RecvCase::new(&b);
                    select(&[&case], Wait::Forever) == Some(0) && case.take().is_err()
                }),
            ]
        };
        settle();
        tx.close();
        assert!(waits.into_iter().all(|w| w.join().unwrap()));

        let (tx, rx) = bounded::<u32>(1);
        tx.send(0).unwrap();
        let waits = {
            let (a, b) = (tx.clone(), tx.clone());
            [
                go(s, move || a.send(1) == Err(SendError(1))),
                go(s, move || {
                    let case = SendCase::new(&b, 2);
                    select(&[&case], Wait::Forever) == Some(0) && case.take() == Err(SendError(2))
                }),
            ]
        };
        settle();
        rx.close();
        assert!(waits.into_iter().all(|w| w.join().unwrap()));
        assert_eq!((rx.recv(), rx.recv()), (Ok(0), Err(RecvError)));
    })
    .unwrap();
}

/// Go's test/chan/select3.go.
fn what_blocks_and_what_does_not<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let blocks = |f: Box<dyn FnOnce() + Send>| {
            let done = Arc::new(AtomicBool::new(false));
            let seen = done.clone();
            let _left = go(s, move || {
                f();
                seen.store(true, Ordering::Release);
            });
            settle();
            !done.load(Ordering::Acquire)
        };
        let (tx, rx) = unbuffered::<u32>();
        let (a, b) = (tx.clone(), rx.clone());
        assert!(blocks(Box::new(move || _ = a.send(1))), "nobody receives");
        assert_eq!(b.try_recv(), Ok(1), "the sender still waits");
        let b = rx.clone();
        assert!(blocks(Box::new(move || _ = b.recv())), "nobody sends");
        tx.send(2).unwrap();

        let (full, kept) = bounded::<u32>(1);
        full.send(1).unwrap();
        let a = full.clone();
        assert!(blocks(Box::new(move || _ = a.send(2))), "there is no room");
        let (room, _kept) = bounded::<u32>(1);
        assert!(!blocks(Box::new(move || _ = room.send(2))), "there is room");
        assert_eq!((kept.recv(), kept.recv()), (Ok(1), Ok(2)));

        let (gone, closed) = unbuffered::<u32>();
        gone.close();
        let a = closed.clone();
        assert!(!blocks(Box::new(move || _ = a.recv())), "it is closed");
        assert!(!blocks(Box::new(move || _ = gone.send(1))), "it is closed");

        let (a, b) = (unbuffered::<u32>(), unbuffered::<u32>());
        let (one, two) = (a.1.clone(), b.0.clone());
        let both = move |wait| {
            let (recv, send) = (RecvCase::new(&one), SendCase::new(&two, 3));
            let chosen = select(&[&recv, &send], wait);
            if chosen == Some(0) {
                let _ = recv.take();
            }
            chosen
        };
        assert_eq!(both(Wait::Not), None, "neither is ready");
        assert!(blocks(Box::new(move || _ = both(Wait::Forever))));
        a.0.send(4).unwrap();
    })
    .unwrap();
}

fn nothing_but_its_deadline_ends_an_empty_select<E: TestEnv>() {
    let s = E::scheduler(1);
    let ended = Arc::new(AtomicU32::new(0));
    let seen = ended.clone();
    go(s, move || {
        select(&[], Wait::Forever);
        seen.store(1, Ordering::Release);
    });
    s.run_main(|| {
        assert_eq!(select(&[], Wait::Not), None);
        let start = Instant::now();
        let soon = start + Duration::from_millis(2);
        assert_eq!(select(&[], Wait::Until(soon)), None);
        assert!(start.elapsed() >= Duration::from_millis(2));
    })
    .unwrap();
    assert_eq!(ended.load(Ordering::Acquire), 0);
}
