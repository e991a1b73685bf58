//! Connections that carry one message each: connect, ask, read the answer, close.

use super::Random;
use super::connection::Dialogue;
use super::echo::Echo;
use bench::workloads::latency::Latencies;
use bench::{Arguments, figure};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

/// Connections, all together. Fewer than a machine has ports for, since a closed one keeps its port for a while.
const CONNECTIONS: u64 = 8_000;
/// Threads that make them.
const CLIENTS: u64 = 4;
/// Bytes of the message.
const SIZE: usize = 64;

/// Prints `rate`, `p50` and `p99`.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let server = super::server(arguments)?;
    let each = arguments
        .scaled("connections", CONNECTIONS)
        .div_ceil(CLIENTS);
    all(server, each.div_ceil(10)).map_err(|why| why.to_string())?;
    let start = Instant::now();
    let latencies = all(server, each).map_err(|why| why.to_string())?;
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    figure("rate", rate, "1/s");
    latencies.report()
}

/// Each client makes so many connections, one after the other.
fn all(server: SocketAddr, each: u64) -> io::Result<Latencies> {
    thread::scope(|scope| {
        let client = |number| scope.spawn(move || one_by_one(server, each, number));
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        let mut latencies = Latencies::default();
        for client in clients {
            latencies.append(client.join().expect("no panic")?);
        }
        Ok(latencies)
    })
}

fn one_by_one(server: SocketAddr, count: u64, number: u64) -> io::Result<Latencies> {
    let mut latencies = Latencies::with_capacity(count as usize);
    let mut echo = Echo {
        random: Random(number),
        size: SIZE,
    };
    let (mut request, mut reply, mut answer) = (Vec::new(), Vec::new(), [0; SIZE]);
    for _ in 0..count {
        request.clear();
        reply.clear();
        echo.next(&mut request, &mut reply);
        let start = Instant::now();
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(&request)?;
        stream.read_exact(&mut answer)?;
        drop(stream);
        latencies.record(start.elapsed());
        if answer[..] != reply[..] {
            return Err(io::Error::other("a reply is not what it must be"));
        }
    }
    Ok(latencies)
}
