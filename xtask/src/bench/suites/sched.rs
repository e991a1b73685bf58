//! The sched suite: starting, switching, communicating, waiting.
//!
//! Each contestant's program is in the ordinary style of its users: goroutines, coroutines, or futures with the runtime's own channels and locks. All use
//! as many workers as there are processors. A peer that has no such thing is left out of a row.

use crate::bench::row::{Better, Pin, Row, Suite};

/// For what may does not do: its `select!` starts a coroutine for each arm, each of which may take a message; it has nothing for calls that block; and
/// of its stacks, two mappings each, a process may have some 30,000 as Linux is set up.
const ALL: &[&str] = &["goruntime", "go", "tokio"];

/// What rows have in common.
const TIME: Row = Row {
    name: "",
    group: "",
    help: "",
    workload: "",
    arguments: &[],
    environment: &[],
    figure: "time",
    better: Better::Lower,
    pin: Pin::Any,
    contestants: &["goruntime", "go", "tokio", "may"],
};

/// The suite.
pub const SCHED: Suite = Suite {
    name: "sched",
    help: "the scheduler: tasks, channels, locks, timers, blocking calls",
    rows: &[
        Row {
            name: "spawn and join",
            help: "A task is started and joined; the time for each.",
            workload: "spawn_join",
            ..TIME
        },
        Row {
            name: "spawn many",
            help: "100,000 tasks are started, then all are joined; the time for each.",
            workload: "spawn_many",
            contestants: ALL,
            ..TIME
        },
        Row {
            name: "yield",
            help: "1,000 tasks yield to each other; the time for each yield.",
            workload: "yield",
            ..TIME
        },
        Row {
            name: "tree of tasks",
            help: "A tree of tasks with 100,000 leaves, each inner one with 10 children whose results come through a channel; the time for a tree.",
            workload: "skynet",
            contestants: ALL,
            ..TIME
        },
        Row {
            name: "chain",
            help: "A message passes 10,000 tasks, each with a channel to the next; the time for each step.",
            workload: "chain",
            ..TIME
        },
        Row {
            name: "ping-pong",
            help: "Two tasks send a number to and fro over unbuffered channels (tokio: of capacity 1, may: without bound); the time for a round trip.",
            workload: "ping_pong",
            ..TIME
        },
        Row {
            name: "ping-pong, many pairs",
            help: "The same with four pairs to a processor.",
            workload: "ping_pong_parallel",
            ..TIME
        },
        Row {
            name: "four senders to one",
            help: "Four tasks send to one through a channel of 128 (may: without bound); the time for a message.",
            workload: "mpsc",
            ..TIME
        },
        Row {
            name: "four senders to four",
            help: "Four tasks send to four through a channel of 128 (may: without bound); the time for a message.",
            workload: "mpmc",
            contestants: &["goruntime", "go", "may"],
            ..TIME
        },
        Row {
            name: "a thousand senders to one",
            help: "1,000 tasks send to one through a channel of 128 (may: without bound); the time for a message.",
            workload: "fan_in",
            ..TIME
        },
        Row {
            name: "select",
            help: "A task receives from two channels, whichever is ready; the time for a message.",
            workload: "select",
            contestants: ALL,
            ..TIME
        },
        Row {
            name: "mutex",
            help: "Eight tasks share a mutex; the time for each critical section.",
            workload: "mutex",
            ..TIME
        },
        Row {
            name: "read-write lock",
            help: "Eight tasks share a read-write lock, one in 16 sections writes; the time for each.",
            workload: "rwlock",
            ..TIME
        },
        Row {
            name: "wait group",
            help: "100 tasks are started and waited for together (tokio: in a JoinSet); the time for each task.",
            workload: "wait_group",
            ..TIME
        },
        Row {
            name: "timers, processor time",
            help: "100,000 tasks sleep for 1 to 50 ms at the same time; the processor time for all.",
            workload: "timers",
            figure: "cpu",
            contestants: ALL,
            ..TIME
        },
        Row {
            name: "timers, lateness p99",
            help: "How late they wake (tokio's timers count milliseconds).",
            workload: "timers",
            figure: "p99",
            contestants: ALL,
            ..TIME
        },
        Row {
            name: "timeouts that do not come",
            help: "Messages go to and fro between two tasks, which receive with a timeout; the time for each reception.",
            workload: "timer_reset",
            ..TIME
        },
        Row {
            name: "short sleep, p50",
            help: "A task sleeps for 100 us while nothing else happens; how late it wakes (tokio's timers count milliseconds).",
            workload: "sleep_precision",
            figure: "p50",
            ..TIME
        },
        Row {
            name: "short sleep, p99",
            help: "The same, the latest but for one in a hundred.",
            workload: "sleep_precision",
            figure: "p99",
            ..TIME
        },
        Row {
            name: "memory of a parked task",
            help: "100,000 tasks wait to receive; resident bytes for each.",
            workload: "parked_memory",
            figure: "memory",
            contestants: ALL,
            ..TIME
        },
        Row {
            name: "blocking calls",
            help: "64 tasks make 150 calls each that block their thread for 1 ms (tokio: spawn_blocking); the time for all.",
            workload: "blocking_calls",
            contestants: ALL,
            ..TIME
        },
        Row {
            name: "short blocking calls",
            help: "A task makes system calls that return at once, declared as blocking (tokio: spawn_blocking); the time for each.",
            workload: "blocking_short",
            contestants: ALL,
            ..TIME
        },
        Row {
            name: "short tasks beside hogs, p99",
            help: "Tasks compute without end, one on each processor (tokio: in spawn_blocking); how late a short one is over, 1 ms after the last.",
            workload: "cpu_and_io",
            figure: "p99",
            contestants: ALL,
            ..TIME
        },
    ],
};
