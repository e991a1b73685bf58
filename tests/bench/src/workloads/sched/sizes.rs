//! How much work each workload does, the same for every contestant, and what else they agree on.
//!
//! A size is scaled by the argument `scale`; what is not a size of the work but of the situation (producers, pairs, capacities) is not.

use std::thread::available_parallelism;
use std::time::Duration;

/// Tasks started and joined one at a time.
pub const SPAWN_JOIN: u64 = 200_000;
/// Tasks started, and then joined, at once.
pub const SPAWN_MANY: u64 = 100_000;
/// Times that `spawn_many` and `skynet` are done after the time for warming up.
pub const ROUNDS: u64 = 3;
/// Tasks that yield to each other.
pub const YIELDERS: u64 = 1_000;
/// Yields of each.
pub const YIELDS: u64 = 3_000;
/// Round trips of a pair of tasks.
pub const PING_PONG: u64 = 1_000_000;
/// Round trips of each of several pairs.
pub const PING_PONG_PARALLEL: u64 = 200_000;
/// Pairs to a processor.
pub const PAIRS: u64 = 4;
/// Messages through one channel.
pub const MESSAGES: u64 = 5_000_000;
/// Tasks on one side of a channel.
pub const ENDS: u64 = 4;
/// Values that a buffered channel holds.
pub const CAPACITY: usize = 128;
/// Senders of `fan_in`.
pub const SENDERS: u64 = 1_000;
/// Messages of each.
pub const MESSAGES_EACH: u64 = 5_000;
/// Messages through `select`, both channels together.
pub const SELECTED: u64 = 2_000_000;
/// Tasks that share a lock.
pub const LOCKERS: u64 = 8;
/// Times that each takes it.
pub const LOCKINGS: u64 = 750_000;
/// One in so many takes a read-write lock for writing.
pub const WRITE_EVERY: u64 = 16;
/// Times that a group is waited for.
pub const GROUPS: u64 = 10_000;
/// Tasks in a group.
pub const GROUP: u64 = 100;
/// Tasks that sleep at the same time.
pub const SLEEPERS: u64 = 100_000;
/// Receptions with a timeout that does not come.
pub const TIMEOUTS: u64 = 500_000;
/// That timeout.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// Short sleeps one after the other.
pub const SHORT_SLEEPS: u64 = 800;
/// How long each is.
pub const SHORT_SLEEP: Duration = Duration::from_micros(100);
/// Leaves of the tree of tasks.
pub const LEAVES: u64 = 100_000;
/// Children of each inner task of that tree.
pub const CHILDREN: u64 = 10;
/// Tasks in a chain.
pub const CHAIN: u64 = 10_000;
/// Messages through the chain, one after the other.
pub const CHAIN_MESSAGES: u64 = 100;
/// Tasks parked at the same time.
pub const PARKED: u64 = 100_000;
/// Tasks that make blocking calls.
pub const BLOCKERS: u64 = 64;
/// Blocking calls of each.
pub const BLOCKING_CALLS: u64 = 150;
/// How long each call blocks its thread.
pub const BLOCKING_CALL: Duration = Duration::from_millis(1);
/// Blocking sections with next to nothing in them.
pub const BLOCKING_SHORT: u64 = 100_000;
/// Time from the end of a short task beside hogs to when the next is due. Counted from the end, so that one which is late does not make the next late.
pub const SHORT_TASK_AFTER: Duration = Duration::from_millis(1);
/// Short tasks beside hogs.
pub const SHORT_TASKS: u64 = 100;
/// Rounds of arithmetic in a short task.
pub const SHORT_TASK: u64 = 1_000;

/// How long the sleeper of that number sleeps: 1 to 50 ms, scattered without a generator that languages would have to share.
pub fn sleep_of(sleeper: u64) -> Duration {
    Duration::from_micros(1_000 + sleeper * 7_919 % 49_000)
}

/// The processors that this process may use.
pub fn processors() -> u64 {
    available_parallelism().map_or(1, |n| n.get() as u64)
}

/// The largest power of [`CHILDREN`] that is not above `leaves`.
pub fn leaves(leaves: u64) -> u64 {
    CHILDREN.pow(leaves.max(1).ilog(CHILDREN))
}

/// The sum of the numbers below `count`.
pub fn sum_below(count: u64) -> u64 {
    count * count.saturating_sub(1) / 2
}

/// Arithmetic that cannot be shortened.
pub fn burn(rounds: u64) -> u64 {
    (0..rounds).fold(1, |x: u64, i| {
        std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i))
    })
}
