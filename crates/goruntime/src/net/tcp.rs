//! TCP connections.

use super::Dialer;
use crate::watched::{Watched, is_descriptor, reads, waits_to_read, waits_to_write, writes};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// A TCP connection.
///
/// Reading and writing may be done by different goroutines at the same time, through references or clones.
pub struct TcpStream(pub(super) Watched<std::net::TcpStream>);

is_descriptor!(TcpStream, std::net::TcpStream);
waits_to_read!(TcpStream);
waits_to_write!(TcpStream);
reads!(TcpStream);
writes!(TcpStream);

/// How the system finds out that a silent peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe; whole seconds count.
    pub idle: Duration,
    /// Time between probes; whole seconds count.
    pub interval: Duration,
    /// Probes without an answer after which the connection is reset.
    pub count: u32,
}

impl Default for KeepAlive {
    /// Go's: 15 s, 15 s, 9.
    fn default() -> KeepAlive {
        KeepAlive {
            idle: Duration::from_secs(15),
            interval: Duration::from_secs(15),
            count: 9,
        }
    }
}

impl KeepAlive {
    pub(super) fn set(self, socket: SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(self.idle)
                .with_interval(self.interval)
                .with_retries(self.count),
        )
    }
}

impl TcpStream {
    /// Connects to the first of `addresses` that answers, as [`Dialer::connect`] does with its defaults.
    ///
    /// # Errors
    /// The system's: `ECONNREFUSED`, `ETIMEDOUT`, `EMFILE`, ...
    pub fn connect(addresses: impl ToSocketAddrs) -> io::Result<TcpStream> {
        Dialer::new().connect(addresses)
    }

    /// Connects within `timeout`.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); `TimedOut`.
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        Dialer::new().timeout(timeout).connect(address)
    }

    /// Reads without taking the bytes out.
    ///
    /// # Errors
    /// The system's; `TimedOut`.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(|socket| socket.peek(buf))
    }

    /// Shuts down one direction or both: the peer reads to the end, or this side does.
    ///
    /// # Errors
    /// The system's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.get().shutdown(how)
    }

    /// The other end's address.
    ///
    /// # Errors
    /// The system's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get().peer_addr()
    }

    /// This end's address.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get().local_addr()
    }

    /// Sends small writes at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// The system's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.get().set_nodelay(nodelay)
    }

    /// Whether `TCP_NODELAY` is set.
    ///
    /// # Errors
    /// The system's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.get().nodelay()
    }

    /// What dropping the last handle does with data that are not yet acknowledged. `None`, as it is at first: the system sends them in its own time. Zero: they are
    /// thrown away, and the peer's connection is reset. Any other duration (whole seconds count) blocks the thread that drops it until they are acknowledged, or for that long.
    ///
    /// # Errors
    /// The system's.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.raw().set_linger(linger)
    }

    /// See [`set_linger`](Self::set_linger).
    ///
    /// # Errors
    /// The system's.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.raw().linger()
    }

    /// Has the system probe a silent peer; `None` for never, as it is at first.
    ///
    /// # Errors
    /// The system's.
    pub fn set_keep_alive(&self, keep_alive: Option<KeepAlive>) -> io::Result<()> {
        match keep_alive {
            Some(keep_alive) => keep_alive.set(self.raw()),
            None => self.raw().set_keepalive(false),
        }
    }

    /// See [`set_keep_alive`](Self::set_keep_alive).
    ///
    /// # Errors
    /// The system's.
    pub fn keep_alive(&self) -> io::Result<Option<KeepAlive>> {
        let socket = self.raw();
        if !socket.keepalive()? {
            return Ok(None);
        }
        Ok(Some(KeepAlive {
            idle: socket.tcp_keepalive_time()?,
            interval: socket.tcp_keepalive_interval()?,
            count: socket.tcp_keepalive_retries()?,
        }))
    }

    /// How many routers a packet may pass (`IP_TTL`).
    ///
    /// # Errors
    /// The system's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.get().set_ttl(ttl)
    }

    /// See [`set_ttl`](Self::set_ttl).
    ///
    /// # Errors
    /// The system's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.get().ttl()
    }

    /// The error that the socket has met with, and clears it.
    ///
    /// # Errors
    /// The system's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get().take_error()
    }

    fn raw(&self) -> SockRef<'_> {
        SockRef::from(self.0.get())
    }
}
