//! Channels: between two, from many to one, from two as they come. The smallest channel holds one message.

use super::tasks::join;
use bench::workloads::sched::sizes::{self, CAPACITY, ENDS};
use bench::workloads::sched::{Outcome, expect, time_each};
use std::time::Instant;
use tokio::sync::mpsc;

pub async fn ping_pong(rounds: u64) -> Outcome {
    play(rounds / 10).await?;
    let start = Instant::now();
    play(rounds).await?;
    time_each(start.elapsed(), rounds);
    Ok(())
}

pub async fn ping_pong_parallel(rounds: u64) -> Outcome {
    async fn all(pairs: u64, rounds: u64) -> Outcome {
        let tasks: Vec<_> = (0..pairs).map(|_| tokio::spawn(play(rounds))).collect();
        for task in tasks {
            join(task).await??;
        }
        Ok(())
    }
    let pairs = sizes::PAIRS * sizes::processors();
    all(pairs, rounds / 10).await?;
    let start = Instant::now();
    all(pairs, rounds).await?;
    time_each(start.elapsed(), rounds * pairs);
    Ok(())
}

/// Sends numbers to a partner, who sends the next number back.
async fn play(rounds: u64) -> Outcome {
    let (ping, mut pinged) = mpsc::channel::<u64>(1);
    let (pong, mut ponged) = mpsc::channel(1);
    let partner = tokio::spawn(async move {
        let mut count = 0;
        while let Some(number) = pinged.recv().await {
            if pong.send(number + 1).await.is_err() {
                break;
            }
            count += 1;
        }
        count
    });
    for i in 0..rounds {
        ping.send(i).await.map_err(|why| why.to_string())?;
        expect("answer", ponged.recv().await, Some(i + 1))?;
    }
    drop(ping);
    expect(
        "messages that the partner saw",
        join(partner).await?,
        rounds,
    )
}

pub async fn mpsc(messages: u64) -> Outcome {
    let messages = messages / ENDS;
    to_one(ENDS, messages / 10).await?;
    let start = Instant::now();
    to_one(ENDS, messages).await?;
    time_each(start.elapsed(), ENDS * messages);
    Ok(())
}

pub async fn fan_in(messages: u64) -> Outcome {
    to_one(sizes::SENDERS, messages / 10).await?;
    let start = Instant::now();
    to_one(sizes::SENDERS, messages).await?;
    time_each(start.elapsed(), sizes::SENDERS * messages);
    Ok(())
}

/// Each of `senders` sends the numbers below `messages` to the caller.
async fn to_one(senders: u64, messages: u64) -> Outcome {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    for _ in 0..senders {
        tokio::spawn(send_below(messages, sender.clone()));
    }
    drop(sender);
    let (mut count, mut sum) = (0, 0);
    while let Some(number) = receiver.recv().await {
        count += 1;
        sum += number;
    }
    let expected = (senders * messages, senders * sizes::sum_below(messages));
    expect("count and sum of the messages", (count, sum), expected)
}

/// Sends the numbers below `count`. If nobody receives, the receiver's sum is wrong, and that is found out there.
async fn send_below(count: u64, sender: mpsc::Sender<u64>) {
    for i in 0..count {
        if sender.send(i).await.is_err() {
            return;
        }
    }
}

pub async fn select(messages: u64) -> Outcome {
    let messages = messages / 2;
    from_two(messages / 10).await?;
    let start = Instant::now();
    from_two(messages).await?;
    time_each(start.elapsed(), 2 * messages);
    Ok(())
}

/// Receives `messages` numbers from each of two channels, as they come.
async fn from_two(messages: u64) -> Outcome {
    let source = || {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(send_below(messages, sender));
        receiver
    };
    let (mut left, mut right) = (source(), source());
    let mut sums = [0, 0];
    for _ in 0..2 * messages {
        tokio::select! {
            Some(number) = left.recv() => sums[0] += number,
            Some(number) = right.recv() => sums[1] += number,
            else => break,
        }
    }
    expect(
        "sums of the messages",
        sums,
        [sizes::sum_below(messages); 2],
    )
}
