//! What only some runtimes have: a channel with several receivers, and `select!`.

use bench::Arguments;
use bench::workloads::sched::sizes::{self, CAPACITY, ENDS};
use bench::workloads::sched::{Outcome, expect, time_each};
use goruntime::{chan, go};
use std::time::Instant;

pub fn mpmc(arguments: &Arguments) -> Outcome {
    let messages = arguments.scaled("messages", sizes::MESSAGES) / ENDS;
    many_to_many(messages / 10)?;
    let start = Instant::now();
    many_to_many(messages)?;
    time_each(start.elapsed(), ENDS * messages);
    Ok(())
}

/// Senders send the numbers below `messages` to receivers.
fn many_to_many(messages: u64) -> Outcome {
    let (sender, receiver) = chan::bounded(CAPACITY);
    let receive = |_| {
        let receiver = receiver.clone();
        go(move || {
            let received = receiver.iter();
            received.fold((0, 0), |(count, sum), number| (count + 1, sum + number))
        })
    };
    let receivers: Vec<_> = (0..ENDS).map(receive).collect();
    for _ in 0..ENDS {
        let sender = sender.clone();
        go(move || (0..messages).try_for_each(|i| sender.send(i)));
    }
    drop(sender);
    let mut total = (0, 0);
    for receiver in receivers {
        let (count, sum): (u64, u64) = receiver.join().unwrap_or_else(|panic| panic.resume());
        total = (total.0 + count, total.1 + sum);
    }
    let expected = (ENDS * messages, ENDS * sizes::sum_below(messages));
    expect("count and sum of the messages", total, expected)
}

pub fn select(arguments: &Arguments) -> Outcome {
    let messages = arguments.scaled("messages", sizes::SELECTED) / 2;
    from_two(messages / 10)?;
    let start = Instant::now();
    from_two(messages)?;
    time_each(start.elapsed(), 2 * messages);
    Ok(())
}

/// Receives `messages` numbers from each of two channels, as they come.
fn from_two(messages: u64) -> Outcome {
    let source = || {
        let (sender, receiver) = chan::unbuffered();
        let open = sender.clone();
        go(move || (0..messages).try_for_each(|i| sender.send(i)));
        (open, receiver)
    };
    // A closed channel can always be received from, so both stay open.
    let ((_left_open, left), (_right_open, right)) = (source(), source());
    let mut sums = [0, 0];
    for _ in 0..2 * messages {
        goruntime::select! {
            recv(left) -> number => sums[0] += number.map_err(|why| why.to_string())?,
            recv(right) -> number => sums[1] += number.map_err(|why| why.to_string())?,
        }
    }
    expect(
        "sums of the messages",
        sums,
        [sizes::sum_below(messages); 2],
    )
}
