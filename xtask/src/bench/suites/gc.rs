//! The gc suite: collected heaps under the loads in which collectors differ.
//!
//! Objects are the same in each: a node of two pointers and a word, unless the row says otherwise. Collectors collect at their own
//! default pace; MMTk, which has none of its own, when the heap has doubled. Collectors use threads of their own, so nothing is pinned but what
//! they have no part in. The last group is allocation alone, as it is beside a collector that rests.

use crate::bench::row::{Better, Pin, Row, Suite};

/// Those that a program with one mutator can use.
const ALONE: &[&str] = &["goruntime", "go", "boehm", "mmtk"];
/// Those that several mutators can use; MMTk is bound to one.
const TOGETHER: &[&str] = &["goruntime", "go", "boehm"];
/// Those that have goroutines.
const GOROUTINES: &[&str] = &["goruntime", "go"];

/// Allocation while nothing is collected.
const ALLOCATION: Row = Row {
    group: "collected allocation",
    workload: "allocate",
    environment: &[("GOGC", "off")],
    contestants: GOROUTINES,
    ..TIME
};

/// What most rows have in common.
const TIME: Row = Row {
    name: "",
    group: "collection",
    help: "",
    workload: "",
    arguments: &[],
    environment: &[],
    figure: "time",
    better: Better::Lower,
    pin: Pin::Any,
    contestants: ALONE,
};

/// The suite.
pub const GC: Suite = Suite {
    name: "gc",
    help: "the garbage collector: allocation, marking, pauses, the write barrier",
    rows: &[
        Row {
            name: "binary trees",
            help: "Perfect trees of depth 4 to 16 are built, walked and dropped beside one that stays; the time for all of it.",
            workload: "binary_trees",
            arguments: &["depth=16"],
            ..TIME
        },
        Row {
            name: "binary trees, memory",
            help: "The most resident memory that the process had in the row above.",
            workload: "binary_trees",
            arguments: &["depth=16"],
            figure: "peak_rss",
            ..TIME
        },
        Row {
            name: "binary trees, two mutators",
            help: "Two threads or goroutines each build, walk and drop trees of depth 4 to 15; the time for all of it.",
            workload: "binary_trees",
            arguments: &["depth=15", "mutators=2"],
            contestants: TOGETHER,
            ..TIME
        },
        Row {
            name: "churn",
            help: "Byte strings of 16 to 512 bytes, of which one in four lives in a ring of 100,000 for its turn; the time for each.",
            workload: "churn",
            ..TIME
        },
        Row {
            name: "churn, memory",
            help: "The most resident memory that the process had in the row above.",
            workload: "churn",
            figure: "peak_rss",
            ..TIME
        },
        Row {
            name: "marking",
            help: "Collections asked for one after the other, of 2,000,000 nodes linked at random, 64 MB with their table; the rate.",
            workload: "mark",
            figure: "throughput",
            better: Better::Higher,
            ..TIME
        },
        Row {
            name: "forced collection",
            help: "The same collections; the time until each was over.",
            workload: "mark",
            ..TIME
        },
        Row {
            name: "marking a list",
            help: "The same of 2,000,000 nodes of which each leads to the one made before it, 48 MB: no more than one pointer is known at a time.",
            workload: "mark",
            arguments: &["shape=list"],
            figure: "throughput",
            better: Better::Higher,
            ..TIME
        },
        Row {
            name: "marking a tree",
            help: "The same of a perfect binary tree of 1,048,575 nodes, 25 MB.",
            workload: "mark",
            arguments: &["shape=tree"],
            figure: "throughput",
            better: Better::Higher,
            ..TIME
        },
        Row {
            name: "marking an array",
            help: "The same of 2,000,000 nodes that lead nowhere, and a table of them, 64 MB.",
            workload: "mark",
            arguments: &["shape=array"],
            figure: "throughput",
            better: Better::Higher,
            ..TIME
        },
        Row {
            name: "marking much",
            help: "The same of 8,000,000 nodes linked at random, 256 MB with their table.",
            workload: "mark",
            arguments: &["nodes=8000000", "collections=2"],
            figure: "throughput",
            better: Better::Higher,
            ..TIME
        },
        Row {
            name: "lateness, p99",
            help: "How late a thread is that has something to do every 100 us, while another makes 10,000 nodes in each ms beside 64 MB that live.",
            workload: "pause",
            figure: "p99",
            contestants: TOGETHER,
            ..TIME
        },
        Row {
            name: "lateness, longest",
            help: "The latest that it was.",
            workload: "pause",
            figure: "max",
            contestants: TOGETHER,
            ..TIME
        },
        Row {
            name: "longest pause",
            help: "The longest stop of all threads in the same run, as the collector itself tells.",
            workload: "pause",
            figure: "longest_pause",
            contestants: TOGETHER,
            ..TIME
        },
        Row {
            name: "buffers",
            help: "A ring of 200,000 buffers of 1 KiB is overwritten 5,000,000 times, each time by a new buffer; the time for each write.",
            workload: "buffers",
            ..TIME
        },
        Row {
            name: "buffers, p99.9",
            help: "The time that one write in a thousand took longer than, from the end of the one before.",
            workload: "buffers",
            figure: "p99.9",
            ..TIME
        },
        Row {
            name: "buffers, longest",
            help: "The time of the slowest write.",
            workload: "buffers",
            figure: "max",
            ..TIME
        },
        Row {
            name: "buffers, memory",
            help: "The most resident memory that the process had in the row above.",
            workload: "buffers",
            figure: "peak_rss",
            ..TIME
        },
        Row {
            name: "pointer stores",
            help: "Pointers stored into random places of an old table of 1,048,576, while nothing is collected; the time for each.",
            workload: "barrier",
            pin: Pin::One,
            ..TIME
        },
        Row {
            name: "hash map",
            help: "1,000,000 keys are put into a map made of nodes, as many values replaced and twice as many looked up; the time for each operation.",
            workload: "map",
            ..TIME
        },
        Row {
            name: "cycles",
            help: "Doubly linked rings of 64 nodes are made, walked both ways and dropped; the time for each node.",
            workload: "cycles",
            ..TIME
        },
        Row {
            name: "cycles, memory",
            help: "The most resident memory that the process had in the row above.",
            workload: "cycles",
            figure: "peak_rss",
            ..TIME
        },
        Row {
            name: "goroutine stacks",
            help: "Collections asked for while 10,000 goroutines are parked, each with a node that only its stack holds; the time for each.",
            workload: "goroutine_stacks",
            contestants: GOROUTINES,
            ..TIME
        },
        Row {
            name: "allocation, 16 B",
            help: "Objects of 16 bytes, a pointer and a word of which is written, are made and dropped by a fresh process until they are 384 MiB, the collector off; the time for each, first touches of memory included.",
            arguments: &["size=16"],
            ..ALLOCATION
        },
        Row {
            name: "allocation, 64 B",
            help: "The same with objects of 64 bytes.",
            arguments: &["size=64"],
            ..ALLOCATION
        },
        Row {
            name: "allocation, 256 B",
            help: "The same with objects of 256 bytes.",
            arguments: &["size=256"],
            ..ALLOCATION
        },
        Row {
            name: "allocation, 1 KiB",
            help: "The same with objects of 1 KiB.",
            arguments: &["size=1024"],
            ..ALLOCATION
        },
        Row {
            name: "allocation, 16 B, two threads",
            help: "Objects of 16 bytes made by two goroutines at once, half of them by each; the time for each object of one.",
            arguments: &["size=16", "mutators=2"],
            ..ALLOCATION
        },
        Row {
            name: "allocation, 64 B, two threads",
            help: "Objects of 64 bytes made by two goroutines at once, half of them by each; the time for each object of one.",
            arguments: &["size=64", "mutators=2"],
            ..ALLOCATION
        },
        Row {
            name: "allocation, 256 B, two threads",
            help: "Objects of 256 bytes made by two goroutines at once, half of them by each; the time for each object of one.",
            arguments: &["size=256", "mutators=2"],
            ..ALLOCATION
        },
        Row {
            name: "allocation, 1 KiB, two threads",
            help: "Objects of 1 KiB made by two goroutines at once, half of them by each; the time for each object of one.",
            arguments: &["size=1024", "mutators=2"],
            ..ALLOCATION
        },
    ],
};
