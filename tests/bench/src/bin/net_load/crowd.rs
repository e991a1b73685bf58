//! Many connections at the same time, on a few threads.

use super::connection::{Connection, Dialogue};
use super::epoll::Epoll;
use bench::figure;
use bench::workloads::latency::Latencies;
use bench::workloads::process::cpu_time_of;
use std::io;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes read at once.
const SCRATCH: usize = 64 << 10;

/// How much is to be done.
pub struct Load {
    /// Connections.
    pub connections: u64,
    /// Replies to wait for on each connection, after the tenth of it that warms up.
    pub exchanges: u64,
    /// Requests in each exchange.
    pub pipeline: u64,
    /// The server's process.
    pub process: u32,
}

/// What it took.
pub struct Taken {
    /// From the first request to the last reply.
    pub elapsed: Duration,
    /// Requests answered in that time.
    pub requests: u64,
    /// Processor time of the server in that time.
    pub processor: Duration,
    latencies: Latencies,
}

impl Taken {
    /// Prints `rate`, `per_cpu`, the requests answered in a second of the server's processor time, and `p50`, `p99` and `p99.9`.
    pub fn report(self) -> Result<(), String> {
        figure(
            "rate",
            self.requests as f64 / self.elapsed.as_secs_f64(),
            "1/s",
        );
        figure(
            "per_cpu",
            self.requests as f64 / self.processor.as_secs_f64(),
            "1/s",
        );
        self.latencies.report()
    }
}

/// Puts the load on a server. `dialogue` makes what is said on the connection of that number.
///
/// # Errors
/// When a connection fails, or a reply is not what it must be.
pub fn run<D: Dialogue>(
    server: SocketAddr,
    load: &Load,
    dialogue: impl Fn(u64) -> D + Sync,
) -> Result<Taken, String> {
    // The server needs processors too.
    let processors = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let threads = (processors / 2).clamp(1, load.connections);
    let (barrier, dialogue) = (Barrier::new(threads as usize), &dialogue);
    let work = &|thread: u64| {
        let own = (thread..load.connections).step_by(threads as usize);
        let group = Group::new(server, own.map(dialogue));
        // Everybody comes to the barrier, or nobody gets past it.
        let group = group.and_then(|mut group| {
            group.course(load.exchanges.div_ceil(10))?;
            Ok(group)
        });
        barrier.wait();
        let mut group = group?;
        let start = (Instant::now(), cpu_time_of(load.process)?);
        let latencies = group.course(load.exchanges)?;
        Ok((
            start,
            (Instant::now(), cpu_time_of(load.process)?),
            latencies,
        ))
    };
    let outcomes: Vec<io::Result<_>> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n))).collect();
        let joined = started.into_iter().map(|thread| thread.join());
        joined.map(|outcome| outcome.expect("no panic")).collect()
    });
    let mut times: Option<[(Instant, Duration); 2]> = None;
    let mut latencies = Latencies::default();
    for outcome in outcomes {
        let (start, end, some) = outcome.map_err(|why| why.to_string())?;
        let [first, last] = times.unwrap_or([start, end]);
        times = Some([first.min(start), last.max(end)]);
        latencies.append(some);
    }
    let [first, last] = times.ok_or("no thread ran")?;
    Ok(Taken {
        elapsed: last.0 - first.0,
        processor: last.1 - first.1,
        requests: latencies.len() as u64 * load.pipeline,
        latencies,
    })
}

/// The connections of one thread.
struct Group<D> {
    epoll: Epoll,
    connections: Vec<Connection<D>>,
    scratch: Vec<u8>,
}

impl<D: Dialogue> Group<D> {
    fn new(server: SocketAddr, dialogues: impl Iterator<Item = D>) -> io::Result<Group<D>> {
        let (epoll, mut connections) = (Epoll::new()?, Vec::new());
        for dialogue in dialogues {
            let connection = Connection::new(server, dialogue)?;
            epoll.add(connection.socket(), connections.len())?;
            connections.push(connection);
        }
        Ok(Group {
            epoll,
            connections,
            scratch: vec![0; SCRATCH],
        })
    }

    /// Does so many exchanges on each connection; how long each took.
    fn course(&mut self, exchanges: u64) -> io::Result<Latencies> {
        let mut latencies = Latencies::with_capacity(self.connections.len() * exchanges as usize);
        for connection in &mut self.connections {
            connection.begin(exchanges)?;
        }
        let (mut ready, mut done) = (Vec::new(), 0);
        while done < self.connections.len() {
            self.epoll.wait(&mut ready)?;
            for &number in &ready {
                let connection = &mut self.connections[number];
                let completed = connection.advance(&mut self.scratch, &mut latencies)?;
                done += usize::from(completed);
            }
        }
        Ok(latencies)
    }
}
