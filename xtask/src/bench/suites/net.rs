//! The net suite: servers over loopback.
//!
//! The server is the contestant, a task for each connection. The clients are the same program for all, on the same processors as the server; they
//! send the next request when the reply is there, and compare it.

use crate::bench::row::{Better, Pin, Row, Suite};

/// What rows have in common.
const RATE: Row = Row {
    name: "",
    group: "",
    help: "",
    workload: "echo",
    arguments: &[],
    environment: &[],
    figure: "rate",
    better: Better::Higher,
    pin: Pin::Any,
    contestants: &["goruntime", "go", "tokio", "may"],
};

/// The same requests' latency.
const LATE: Row = Row {
    figure: "p99",
    better: Better::Lower,
    ..RATE
};

/// The key-value server.
const KV: Row = Row {
    workload: "kv",
    contestants: &["goruntime", "redis"],
    ..RATE
};

/// The suite.
pub const NET: Suite = Suite {
    name: "net",
    help: "servers over loopback: echo, short connections, a key-value store",
    rows: &[
        Row {
            name: "echo, one connection, p50",
            help: "Messages of 64 bytes on one connection; the time to the reply.",
            arguments: &["conns=1", "messages=20000"],
            figure: "p50",
            ..LATE
        },
        Row {
            name: "echo, 50 connections",
            help: "Messages of 64 bytes on 50 connections; how many in a second.",
            arguments: &["conns=50"],
            ..RATE
        },
        Row {
            name: "echo, 50 connections, p99",
            help: "The same; the time to the reply.",
            arguments: &["conns=50"],
            ..LATE
        },
        Row {
            name: "echo, 1,000 connections",
            help: "The same on 1,000 connections; how many in a second.",
            arguments: &["conns=1000"],
            ..RATE
        },
        Row {
            name: "echo, 1,000 connections, p99",
            help: "The same; the time to the reply.",
            arguments: &["conns=1000"],
            ..LATE
        },
        Row {
            name: "echo, 64 KiB",
            help: "Messages of 64 KiB on 8 connections; the rate in one direction.",
            arguments: &["conns=8", "size=65536", "messages=10000"],
            figure: "throughput",
            ..RATE
        },
        Row {
            name: "short connections",
            help: "Connect, one message, close; how many in a second.",
            workload: "reconnect",
            ..RATE
        },
        Row {
            name: "key-value store",
            help: "GET and SET on 50 connections; how many in a second.",
            arguments: &["conns=50"],
            ..KV
        },
        Row {
            name: "key-value store, p99",
            help: "The same; the time to the reply.",
            arguments: &["conns=50"],
            figure: "p99",
            better: Better::Lower,
            ..KV
        },
        Row {
            name: "key-value store, pipelined",
            help: "The same, 16 requests sent at a time.",
            arguments: &["conns=50", "pipeline=16", "requests=400000"],
            ..KV
        },
    ],
};
