//! Channels and `select!` as programs use them, over the real engine.

use goruntime::{chan, go, select, time};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

#[test]
fn a_prime_sieve() {
    fn filter(input: chan::Receiver<u32>, prime: u32) -> chan::Receiver<u32> {
        let (tx, rx) = chan::unbuffered();
        go(move || {
            for n in input.iter().filter(|n| n % prime != 0) {
                if tx.send(n).is_err() {
                    return;
                }
            }
        });
        rx
    }
    let (tx, mut rx) = chan::unbuffered();
    go(move || (2..).try_for_each(|n| tx.send(n)));
    let mut primes = Vec::new();
    for _ in 0..50 {
        let prime = rx.recv().unwrap();
        primes.push(prime);
        rx = filter(rx, prime);
    }
    assert_eq!(&primes[..6], [2, 3, 5, 7, 11, 13]);
    assert_eq!(primes[49], 229);
}

#[test]
fn many_producers_and_consumers_lose_and_invent_nothing() {
    let (tx, rx) = chan::bounded(7);
    let producers: Vec<_> = (0..8u64)
        .map(|p| {
            let tx = tx.clone();
            go(move || (0..2000).for_each(|i| tx.send(p * 2000 + i).unwrap()))
        })
        .collect();
    drop(tx);
    let consumers: Vec<_> = (0..8)
        .map(|_| {
            let rx = rx.clone();
            go(move || rx.iter().collect::<Vec<u64>>())
        })
        .collect();
    producers.into_iter().for_each(|p| p.join().unwrap());
    let mut all: Vec<u64> = consumers
        .into_iter()
        .flat_map(|c| c.join().unwrap())
        .collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..16_000));
}

#[test]
fn select_takes_what_is_ready_and_is_fair() {
    let (a_tx, a) = chan::bounded(1000);
    let (b_tx, b) = chan::bounded(1000);
    for i in 0..1000 {
        a_tx.send(i).unwrap();
        b_tx.send(i).unwrap();
    }
    let (mut from_a, mut from_b) = (0, 0);
    for _ in 0..1000 {
        select! {
            recv(a) -> v => { v.unwrap(); from_a += 1 }
            recv(b) -> v => { v.unwrap(); from_b += 1 }
        }
    }
    assert_eq!(from_a + from_b, 1000);
    assert!(from_a > 300 && from_b > 300, "{from_a} and {from_b}");
}

#[test]
fn select_sends_receives_and_gives_up() {
    let (tx, rx) = chan::unbuffered::<String>();
    let (full, _keep) = chan::bounded::<String>(1);
    full.send("first".into()).unwrap();
    // Nothing can go ahead.
    let got = select! {
        recv(rx) -> _ => "received",
        send(full, "second".to_string()) -> _ => "sent",
        default => "neither",
    };
    assert_eq!(got, "neither");
    let begin = Instant::now();
    let got = select! {
        recv(rx) -> _ => "received",
        send(full, "second".to_string()) -> _ => "sent",
        default(Duration::from_millis(20)) => "late",
    };
    assert_eq!(got, "late");
    assert!(begin.elapsed() >= Duration::from_millis(20));
    // A receiver comes while the select waits.
    let receiver = go(move || {
        time::sleep(Duration::from_millis(5));
        rx.recv().unwrap()
    });
    select! {
        send(tx, "hello".to_string()) -> sent => sent.unwrap(),
        send(full, "third".to_string()) -> _ => panic!("the channel is full"),
    }
    assert_eq!(receiver.join().unwrap(), "hello");
}

#[test]
fn arms_may_leave_the_loop_and_the_function() {
    fn first_even(rx: &chan::Receiver<u32>) -> Option<u32> {
        loop {
            select! {
                recv(rx) -> value => match value {
                    Ok(n) if n % 2 == 0 => return Some(n),
                    Ok(_) => continue,
                    Err(_) => break,
                },
            }
        }
        None
    }
    let (tx, rx) = chan::bounded(8);
    for n in [1, 3, 4, 5] {
        tx.send(n).unwrap();
    }
    drop(tx);
    assert_eq!(first_even(&rx), Some(4));
    assert_eq!(first_even(&rx), None);
}

#[test]
fn a_closed_channel_is_always_ready() {
    let (tx, rx) = chan::unbuffered::<u32>();
    drop(tx);
    assert!(select! { recv(rx) -> v => v.is_err(), default => false });
    let (tx, rx) = chan::unbuffered();
    drop(rx);
    let back = select! { send(tx, 5u32) -> r => r.unwrap_err().0 };
    assert_eq!(back, 5);
}

#[test]
fn sleepers_wake_in_order_and_not_early() {
    let begin = Instant::now();
    let (tx, rx) = chan::bounded(10);
    for ms in [50u64, 10, 30, 20, 40] {
        let tx = tx.clone();
        go(move || {
            time::sleep(Duration::from_millis(ms));
            assert!(begin.elapsed() >= Duration::from_millis(ms));
            tx.send(ms).unwrap();
        });
    }
    drop(tx);
    assert_eq!(rx.iter().collect::<Vec<_>>(), [10, 20, 30, 40, 50]);
}
