//! The stack suite: contexts with stacks of their own, without a scheduler.
//!
//! Ours runs twice: with thread-local variables that belong to the context, which no peer has, and with those of the thread, as the peers do. Go's is
//! `iter.Pull`, its direct switch between two goroutines.

use crate::bench::row::{Better, Pin, Row, Suite};

/// What rows have in common.
const TIME: Row = Row {
    name: "",
    group: "",
    help: "",
    workload: "",
    arguments: &["locals=shared"],
    environment: &[],
    figure: "time",
    better: Better::Lower,
    pin: Pin::One,
    contestants: &["gostack", "go", "corosensei", "generator"],
};

/// The suite.
pub const STACK: Suite = Suite {
    name: "stack",
    help: "stacks and the context switch",
    rows: &[
        Row {
            name: "switch",
            help: "Into a context and back; the time for both.",
            workload: "switch",
            ..TIME
        },
        Row {
            name: "switch, own thread-locals",
            help: "The same, ours with thread-local variables of the context's own.",
            workload: "switch",
            arguments: &["locals=own"],
            ..TIME
        },
        Row {
            name: "create and end",
            help: "A context is made, runs to its end and is taken back; the time for all that.",
            workload: "create_destroy",
            ..TIME
        },
        Row {
            name: "create and end, own thread-locals",
            help: "The same, ours with thread-local variables of the context's own.",
            workload: "create_destroy",
            arguments: &["locals=own"],
            ..TIME
        },
        Row {
            name: "create many",
            help: "10,000 contexts are made and stop in the middle; the time for each.",
            workload: "create_many",
            ..TIME
        },
        Row {
            name: "deep calls",
            help: "On 1,000 fresh stacks a function calls itself to a depth of 256 KiB; the time for each stack.",
            workload: "deep_call",
            ..TIME
        },
        Row {
            name: "a million frames, fresh",
            help: "A function calls itself a million times on a stack that was not used before; the time for each frame.",
            workload: "recursion",
            figure: "fresh",
            ..TIME
        },
        Row {
            name: "a million frames, again",
            help: "The same once more, on that stack.",
            workload: "recursion",
            figure: "again",
            ..TIME
        },
        Row {
            name: "memory of a parked context",
            help: "10,000 contexts have stopped in the middle; resident bytes for each.",
            workload: "parked_stack",
            figure: "memory",
            ..TIME
        },
        Row {
            name: "memory, own thread-locals",
            help: "The same, ours with thread-local variables of the context's own.",
            workload: "parked_stack",
            arguments: &["locals=own"],
            figure: "memory",
            ..TIME
        },
    ],
};
