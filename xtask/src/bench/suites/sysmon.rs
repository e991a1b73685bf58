//! The sysmon suite: what the monitor costs, and how soon it acts.
//!
//! Only Go has such a monitor.

use crate::bench::row::{Better, Pin, Row, Suite};

/// What rows have in common.
const TIME: Row = Row {
    name: "",
    group: "",
    help: "",
    workload: "",
    arguments: &[],
    environment: &[],
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
            help: "Twice as many goroutines compute without end as there are processors; how late another is that sleeps for 5 ms at a time.",
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
            name: "network beside hogs, p50",
            help: "The same; the other waits 5 ms at a time for a descriptor that becomes readable.",
            workload: "hog_network",
            figure: "p50",
            ..TIME
        },
        Row {
            name: "network beside hogs, p99",
            help: "The same, the latest but for one in a hundred.",
            workload: "hog_network",
            figure: "p99",
            ..TIME
        },
        Row {
            name: "hand-over from a declared call, p50",
            help: "A goroutine on each processor makes another ready and blocks for 5 ms in a call that is declared as blocking; how long the other waits.",
            workload: "blocked_handoff",
            figure: "p50",
            ..TIME
        },
        Row {
            name: "hand-over from a declared call, p99",
            help: "The same, the longest but for one in a hundred.",
            workload: "blocked_handoff",
            figure: "p99",
            ..TIME
        },
        Row {
            name: "hand-over from an undeclared call, p50",
            help: "The same for 30 ms in a call that nobody declares.",
            workload: "undeclared_handoff",
            figure: "p50",
            ..TIME
        },
        Row {
            name: "memory a second after a peak",
            help: "A heap of 256 MiB has become garbage and was collected, and nothing happens any more; what is still resident.",
            workload: "after_peak",
            figure: "rss_1",
            ..TIME
        },
        Row {
            name: "memory five seconds after a peak",
            help: "The same.",
            workload: "after_peak",
            figure: "rss_5",
            ..TIME
        },
    ],
};
