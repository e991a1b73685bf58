//! Reading and writing a key-value server that speaks the Redis protocol.
//!
//! The value of a key follows from the key, and all keys are set before, so that the answer to every request is known.

use super::Random;
use super::connection::Dialogue;
use super::crowd::{self, Load};
use bench::Arguments;
use bench::workloads::net::process;
use std::io::Write;

/// Requests over all connections.
const REQUESTS: u64 = 50_000;
/// Connections.
const CONNECTIONS: u64 = 50;
/// Keys.
const KEYS: u64 = 10_000;
/// Requests at once while the keys are set before.
const FILL: u64 = 100;

/// Prints what [`crowd::Taken::report`] prints; the latencies are those of `pipeline` requests at once.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let server = super::server(arguments)?;
    let connections = arguments.number("conns", CONNECTIONS).max(1);
    let pipeline = arguments.number("pipeline", 1).max(1);
    let fill = Load {
        connections: 1,
        exchanges: KEYS / FILL,
        pipeline: FILL,
        process: process(arguments),
    };
    crowd::run(server, &fill, |_| Fill { key: 0 })?;
    let requests = arguments.scaled("requests", REQUESTS);
    let load = Load {
        connections,
        exchanges: requests.div_ceil(connections * pipeline),
        pipeline,
        process: process(arguments),
    };
    let mixed = |number| Mixed {
        random: Random(number),
        pipeline,
    };
    crowd::run(server, &load, mixed)?.report()
}

/// Sets every key once, in order, over and over.
struct Fill {
    key: u64,
}

impl Dialogue for Fill {
    fn next(&mut self, request: &mut Vec<u8>, reply: &mut Vec<u8>) {
        for _ in 0..FILL {
            set(self.key, request, reply);
            self.key = (self.key + 1) % KEYS;
        }
    }
}

/// Reads and writes keys at random, as many of these as of those.
struct Mixed {
    random: Random,
    pipeline: u64,
}

impl Dialogue for Mixed {
    fn next(&mut self, request: &mut Vec<u8>, reply: &mut Vec<u8>) {
        for _ in 0..self.pipeline {
            let number = self.random.next();
            let key = (number >> 1) % KEYS;
            match number & 1 {
                0 => get(key, request, reply),
                _ => set(key, request, reply),
            }
        }
    }
}

fn get(key: u64, request: &mut Vec<u8>, reply: &mut Vec<u8>) {
    put(
        request,
        format_args!("*2\r\n$3\r\nGET\r\n$10\r\nkey:{key:06}\r\n"),
    );
    put(reply, format_args!("$64\r\nvalue:{key:058}\r\n"));
}

fn set(key: u64, request: &mut Vec<u8>, reply: &mut Vec<u8>) {
    put(
        request,
        format_args!("*3\r\n$3\r\nSET\r\n$10\r\nkey:{key:06}\r\n$64\r\nvalue:{key:058}\r\n"),
    );
    put(reply, format_args!("+OK\r\n"));
}

fn put(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    into.write_fmt(text).expect("memory takes all");
}
