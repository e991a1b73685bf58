//! What only some runtimes have: a channel with several receivers, and `select!`.

use super::runtime::Ours;
use bench::Arguments;
use bench::workloads::sched::runtime::Runtime;
use bench::workloads::sched::sizes::{self, CAPACITY};
use bench::workloads::sched::{Outcome, channels, expect, time_each};
use goruntime::{chan, go};
use std::time::Instant;

pub fn mpmc(arguments: &Arguments) -> Outcome {
    let channel = || chan::bounded(CAPACITY);
    channels::mpmc::<Ours, _, _>(arguments, channel, Ours::send, Ours::receive)
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
