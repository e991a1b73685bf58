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

/// The HTTP server.
const HTTP: Row = Row {
    workload: "http",
    contestants: &["goruntime", "go", "tokio"],
    ..RATE
};

/// The suite.
pub const NET: Suite = Suite {
    name: "net",
    help: "servers over loopback: echo, short connections, HTTP, a key-value store",
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
            name: "HTTP, requests per processor second",
            help: "A short text over HTTP/1.1 on 50 connections that are kept: Go's net/http, hyper on tokio. Requests by the server's processor time.",
            arguments: &["conns=50"],
            figure: "per_cpu",
            ..HTTP
        },
        Row {
            name: "HTTP, p50",
            help: "The same; the time to the answer.",
            arguments: &["conns=50"],
            figure: "p50",
            better: Better::Lower,
            ..HTTP
        },
        Row {
            name: "HTTP, p99",
            help: "The same.",
            arguments: &["conns=50"],
            figure: "p99",
            better: Better::Lower,
            ..HTTP
        },
        Row {
            name: "HTTP, p99.9",
            help: "The same.",
            arguments: &["conns=50"],
            figure: "p99.9",
            better: Better::Lower,
            ..HTTP
        },
        Row {
            name: "key-value store, one connection, p50",
            help: "GET and SET on one connection; the time to the reply.",
            arguments: &["conns=1", "requests=20000"],
            figure: "p50",
            better: Better::Lower,
            ..KV
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
            name: "key-value store, 1,000 connections",
            help: "The same on 1,000 connections; how many in a second.",
            arguments: &["conns=1000"],
            ..KV
        },
        Row {
            name: "key-value store, 1,000 connections, p99",
            help: "The same; the time to the reply.",
            arguments: &["conns=1000"],
            figure: "p99",
            better: Better::Lower,
            ..KV
        },
        Row {
            name: "key-value store, pipelined",
            help: "GET and SET on 50 connections, 16 requests sent at a time; how many in a second.",
            arguments: &["conns=50", "pipeline=16", "requests=400000"],
            ..KV
        },
    ],
};
