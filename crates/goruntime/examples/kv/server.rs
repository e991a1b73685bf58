//! What all connections share.

use crate::config::Config;
use crate::db::Keyspace;
use crate::session::Clients;
use goruntime::sync::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// The server. There is one, and it lives as long as the process.
pub struct Server {
    /// The data.
    pub keyspace: Mutex<Keyspace>,
    /// The connections.
    pub clients: Clients,
    /// What happened.
    pub stats: Stats,
    /// How it is set up.
    pub config: Config,
    /// Where it listens.
    pub address: SocketAddr,
    /// When it started.
    pub started: Instant,
}

/// Counts of what happened since they were last reset, and the current rate.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused because there were too many.
    pub rejected: AtomicU64,
    /// Commands executed.
    pub commands: AtomicU64,
    /// Bytes read from clients.
    pub input: AtomicU64,
    /// Bytes written to clients.
    pub output: AtomicU64,
    /// Commands per second of late; not a count, so a reset leaves it.
    pub rate: AtomicU64,
}

impl Server {
    /// A server without keys that listens at `address`.
    pub fn new(config: Config, address: SocketAddr) -> Server {
        Server {
            keyspace: Mutex::new(Keyspace::new()),
            clients: Clients::new(),
            stats: Stats::default(),
            config,
            address,
            started: Instant::now(),
        }
    }
}

impl Stats {
    /// Counts from zero again.
    pub fn reset(&self) {
        let counts = [
            &self.connections,
            &self.rejected,
            &self.commands,
            &self.input,
            &self.output,
        ];
        counts.iter().for_each(|count| count.store(0, Relaxed));
    }
}
