//! Channels: between two, from many to one.

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
