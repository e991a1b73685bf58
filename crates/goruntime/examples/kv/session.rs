//! Connections: what a connection knows of itself, and what others may see of it.

use crate::clock::UnixMillis;
use goruntime::sync::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Instant;

/// The state of a connection. Leaves the list of connections when dropped.
pub struct Session {
    /// The database that is selected.
    pub db: usize,
    /// Close the connection once the replies are sent.
    pub close: bool,
    /// What others may see.
    pub client: Arc<Client>,
    clients: &'static Clients,
}

/// What others may see of a connection. Prints as a line of `CLIENT LIST`.
pub struct Client {
    /// Counts up from 1.
    pub id: i64,
    address: SocketAddr,
    local: SocketAddr,
    since: Instant,
    /// What changes.
    pub shown: Mutex<Shown>,
}

/// What others may see of a connection, and changes.
pub struct Shown {
    /// The name that the client gave it.
    pub name: String,
    /// The name of the library that the client uses.
    pub library: String,
    /// The library's version.
    pub library_version: String,
    db: usize,
    command: &'static str,
    active: UnixMillis,
}

/// All connections.
pub struct Clients {
    by_id: Mutex<BTreeMap<i64, Arc<Client>>>,
    last_id: AtomicI64,
}

impl Clients {
    /// No connections.
    pub fn new() -> Clients {
        Clients {
            by_id: Mutex::new(BTreeMap::new()),
            last_id: AtomicI64::new(0),
        }
    }

    /// The number of connections.
    pub fn len(&self) -> usize {
        self.by_id.lock().len()
    }

    /// All connections, oldest first.
    pub fn list(&self) -> Vec<Arc<Client>> {
        self.by_id.lock().values().cloned().collect()
    }
}

impl Session {
    /// A new connection from `address` to `local`.
    pub fn new(clients: &'static Clients, address: SocketAddr, local: SocketAddr) -> Session {
        let client = Arc::new(Client {
            id: clients.last_id.fetch_add(1, Relaxed) + 1,
            address,
            local,
            since: Instant::now(),
            shown: Mutex::new(Shown {
                name: String::new(),
                library: String::new(),
                library_version: String::new(),
                db: 0,
                command: "NULL",
                active: UnixMillis::now(),
            }),
        });
        clients.by_id.lock().insert(client.id, client.clone());
        Session {
            db: 0,
            close: false,
            client,
            clients,
        }
    }

    /// Lets others see that `command` was called at this time.
    pub fn show(&self, command: &'static str, at: UnixMillis) {
        let mut shown = self.client.shown.lock();
        shown.db = self.db;
        shown.command = command;
        shown.active = at;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.clients.by_id.lock().remove(&self.client.id);
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown.lock();
        write!(
            f,
            "id={} addr={} laddr={} name={} age={} idle={} flags=N db={} sub=0 psub=0 ssub=0 multi=-1 \
             cmd={} user=default lib-name={} lib-ver={} resp=2",
            self.id,
            self.address,
            self.local,
            shown.name,
            self.since.elapsed().as_secs(),
            shown.active.until(UnixMillis::now()).max(0) / 1000,
            shown.db,
            shown.command,
            shown.library,
            shown.library_version,
        )
    }
}
