//! The sysmon suite: what the monitor costs, and how soon it acts.
//!
//! Only Go has such a monitor.

use crate::bench::row::{Better, Pin, Row, Suite};

/// What rows have in common.
const TIME: Row = Row {
    name: "",
    help: "",
    workload: "",
    arguments: &[],
    figure: "",
    better: Better::Lower,
    pin: Pin::Any,
    contestants: &["goruntime", "go"],
};

/// The suite.
pub const SYSMON: Suite = Suite {
    name: "sysmon",
    help: "the monitor: its cost, and hand-over from those that hold a processor",
    rows: &[
        Row {
            name: "idle process, processor time",
            help: "1,000 goroutines are parked and nothing happens; processor time in a second.",
            workload: "idle",
            figure: "cpu",
            ..TIME
        },
        Row {
            name: "idle process, wake-ups",
            help: "The same; switches to any of its threads in a second.",
            workload: "idle",
            figure: "switches",
            ..TIME
        },
        Row {
            name: "busy process, overhead",
            help: "A goroutine computes on each processor; processor time in a second of all threads but those.",
            workload: "busy",
            figure: "overhead",
            ..TIME
        },
        Row {
            name: "waking beside hogs, p50",
            help: "Twice as many goroutines compute without end as there are processors; how late another is that wakes every 5 ms.",
            workload: "hog_latency",
            figure: "p50",
            ..TIME
        },
        Row {
            name: "waking beside hogs, p99",
            help: "The same, the latest but for one in a hundred.",
            workload: "hog_latency",
            figure: "p99",
            ..TIME
        },
        Row {
            name: "hand-over from a blocking call, p50",
            help: "Goroutines block their threads for 5 ms without saying so; how long until another runs that was ready.",
            workload: "blocked_handoff",
            figure: "p50",
            ..TIME
        },
        Row {
            name: "hand-over from a blocking call, p99",
            help: "The same, the longest but for one in a hundred.",
            workload: "blocked_handoff",
            figure: "p99",
            ..TIME
        },
    ],
};
