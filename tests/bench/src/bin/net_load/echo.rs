//! Messages that must come back as they are.

use super::Random;
use super::connection::Dialogue;
use super::crowd::{self, Load};
use bench::workloads::net::process;
use bench::{Arguments, figure};

/// Messages over all connections.
const MESSAGES: u64 = 50_000;
/// Connections.
const CONNECTIONS: u64 = 50;
/// Bytes of a message.
const SIZE: u64 = 64;

/// Prints `throughput` in one direction, and what [`crowd::Taken::report`] prints.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let connections = arguments.number("conns", CONNECTIONS).max(1);
    let size = arguments.number("size", SIZE);
    let load = Load {
        connections,
        exchanges: arguments.scaled("messages", MESSAGES).div_ceil(connections),
        pipeline: 1,
        process: process(arguments),
    };
    let taken = crowd::run(super::server(arguments)?, &load, |number| Echo {
        random: Random(number),
        size: size as usize,
    })?;
    let bytes = (taken.requests * size) as f64;
    figure(
        "throughput",
        bytes / 1e6 / taken.elapsed.as_secs_f64(),
        "MB/s",
    );
    taken.report()
}

/// Messages of random content, each different.
pub struct Echo {
    /// Where content comes from.
    pub random: Random,
    /// Bytes of a message.
    pub size: usize,
}

impl Dialogue for Echo {
    fn next(&mut self, request: &mut Vec<u8>, reply: &mut Vec<u8>) {
        while request.len() < self.size {
            request.extend(self.random.next().to_le_bytes());
        }
        request.truncate(self.size);
        reply.extend(request.iter());
    }
}
