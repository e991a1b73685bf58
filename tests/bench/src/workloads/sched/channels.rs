//! Channels: between two, from many to one, from many to many.

use super::runtime::Runtime;
use super::sizes::{self, CAPACITY, ENDS};
use super::{Outcome, expect, time_each};
use crate::Arguments;
use std::time::Instant;

pub(super) fn ping_pong<R: Runtime>(arguments: &Arguments) -> Outcome {
    let rounds = arguments.scaled("rounds", sizes::PING_PONG);
    play::<R>(rounds / 10)?;
    let start = Instant::now();
    play::<R>(rounds)?;
    time_each(start.elapsed(), rounds);
    Ok(())
}

pub(super) fn ping_pong_parallel<R: Runtime>(arguments: &Arguments) -> Outcome {
    let rounds = arguments.scaled("rounds", sizes::PING_PONG_PARALLEL);
    let pairs = sizes::PAIRS * sizes::processors();
    let all = |rounds: u64| {
        let start = |_| R::spawn(move || play::<R>(rounds));
        let handles: Vec<_> = (0..pairs).map(start).collect();
        handles.into_iter().try_for_each(R::join)
    };
    all(rounds / 10)?;
    let start = Instant::now();
    all(rounds)?;
    time_each(start.elapsed(), rounds * pairs);
    Ok(())
}

/// Sends numbers to a partner, who sends the next number back.
fn play<R: Runtime>(rounds: u64) -> Outcome {
    let (ping, pinged) = R::channel(0);
    let (pong, ponged) = R::channel(0);
    let partner = R::spawn(move || {
        let mut count = 0;
        while let Some(number) = R::receive(&pinged) {
            R::send(&pong, number + 1);
            count += 1;
        }
        count
    });
    for i in 0..rounds {
        R::send(&ping, i);
        expect("answer", R::receive(&ponged), Some(i + 1))?;
    }
    drop(ping);
    expect("messages that the partner saw", R::join(partner), rounds)
}

pub(super) fn mpsc<R: Runtime>(arguments: &Arguments) -> Outcome {
    let messages = arguments.scaled("messages", sizes::MESSAGES) / ENDS;
    to_one::<R>(ENDS, messages / 10)?;
    let start = Instant::now();
    to_one::<R>(ENDS, messages)?;
    time_each(start.elapsed(), ENDS * messages);
    Ok(())
}

pub(super) fn fan_in<R: Runtime>(arguments: &Arguments) -> Outcome {
    let messages = arguments.scaled("messages", sizes::MESSAGES_EACH);
    to_one::<R>(sizes::SENDERS, messages / 10)?;
    let start = Instant::now();
    to_one::<R>(sizes::SENDERS, messages)?;
    time_each(start.elapsed(), sizes::SENDERS * messages);
    Ok(())
}

/// Each of `senders` sends the numbers below `messages` to the caller.
fn to_one<R: Runtime>(senders: u64, messages: u64) -> Outcome {
    let (sender, receiver) = R::channel(CAPACITY);
    for _ in 0..senders {
        let sender = sender.clone();
        drop(R::spawn(move || {
            (0..messages).for_each(|i| R::send(&sender, i))
        }));
    }
    drop(sender);
    let (mut count, mut sum) = (0, 0);
    while let Some(number) = R::receive(&receiver) {
        count += 1;
        sum += number;
    }
    let expected = (senders * messages, senders * sizes::sum_below(messages));
    expect("count and sum of the messages", (count, sum), expected)
}

/// Four tasks send to four, in a runtime that has a channel whose receiving end can be cloned.
///
/// # Errors
/// When messages are lost or doubled.
pub fn mpmc<R: Runtime, S, T>(
    arguments: &Arguments,
    channel: fn() -> (S, T),
    send: fn(&S, u64),
    receive: fn(&T) -> Option<u64>,
) -> Outcome
where
    S: Clone + Send + 'static,
    T: Clone + Send + 'static,
{
    let messages = arguments.scaled("messages", sizes::MESSAGES) / ENDS;
    let exchange = |messages: u64| {
        let (sender, receiver) = channel();
        let start = |_| {
            let receiver = receiver.clone();
            R::spawn(move || {
                let received = std::iter::from_fn(|| receive(&receiver));
                received.fold((0, 0), |(count, sum), number| (count + 1, sum + number))
            })
        };
        let receivers: Vec<_> = (0..ENDS).map(start).collect();
        for _ in 0..ENDS {
            let sender = sender.clone();
            drop(R::spawn(move || {
                (0..messages).for_each(|i| send(&sender, i))
            }));
        }
        drop(sender);
        let totals = receivers.into_iter().map(R::join);
        let total = totals.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        let expected = (ENDS * messages, ENDS * sizes::sum_below(messages));
        expect("count and sum of the messages", total, expected)
    };
    exchange(messages / 10)?;
    let start = Instant::now();
    exchange(messages)?;
    time_each(start.elapsed(), ENDS * messages);
    Ok(())
}
