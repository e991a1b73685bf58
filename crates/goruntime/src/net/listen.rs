//! Listening for TCP connections.

use super::accept::Shortage;
use super::lookup::resolve;
use super::{KeepAlive, TcpStream, UdpSocket};
use crate::watched::{Watched, is_descriptor, waits_to_read};
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// Pending connections that the kernel keeps for a listener, where its own limit allows; Go's figure for Linux is that limit.
const BACKLOG: u32 = 4096;

/// A listening TCP socket.
///
/// Its timeouts and deadlines are those of [`accept`](Self::accept).
pub struct TcpListener(Watched<std::net::TcpListener>, Shortage);

is_descriptor!(TcpListener, std::net::TcpListener, Shortage::default());
waits_to_read!(TcpListener);

impl TcpListener {
    /// Listens on the first of `addresses` that can be had. Port 0 asks for a free one.
    ///
    /// `SO_REUSEADDR` is set, as std does. [`ListenConfig`] has more to choose from.
    ///
    /// # Errors
    /// The system's: `EADDRINUSE`, `EACCES`, `EMFILE`, ...
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
        ListenConfig::new().listen(addresses)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// The system's; `TimedOut`; `NotConnected` after [`close`](Self::close). `EMFILE`, `ENFILE`, `ENOBUFS` and `ENOMEM` leave the connection in the queue. They are reported
    /// after a delay, 5 ms at first and twice as long each time in a row, up to a second; so a server that goes on after every error does not spin.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, address) = self.1.accept(&self.0, |socket| {
            let (accepted, address) =
                acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
            let address = match address {
                Some(address) => SocketAddr::try_from(address)?,
                // It may be gone already.
                None => return Err(io::Error::from_raw_os_error(libc::ECONNABORTED)),
            };
            Ok((std::net::TcpStream::from(accepted), address))
        })?;
        Ok((TcpStream(Watched::nonblocking(socket)?), address))
    }

    /// An endless iterator over connections.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get().local_addr()
    }

    /// How many routers a packet of its connections may pass (`IP_TTL`).
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
}

/// Connections as they come; see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

/// What is set on a socket before it listens (Go's `net.ListenConfig`).
///
/// ```
/// use goruntime::net::ListenConfig;
///
/// // Two listeners on one port: the kernel deals connections out between them.
/// let config = ListenConfig::new().reuse_port(true).backlog(128);
/// let first = config.listen("127.0.0.1:0")?;
/// let second = config.listen(first.local_addr()?)?;
/// assert_eq!(first.local_addr()?, second.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing listens yet"]
pub struct ListenConfig {
    backlog: u32,
    reuse_address: bool,
    reuse_port: bool,
    only_v6: Option<bool>,
    keep_alive: Option<KeepAlive>,
}

impl Default for ListenConfig {
    fn default() -> ListenConfig {
        ListenConfig {
            backlog: BACKLOG,
            reuse_address: true,
            reuse_port: false,
            only_v6: None,
            keep_alive: None,
        }
    }
}

impl ListenConfig {
    /// What [`TcpListener::bind`] has.
    pub fn new() -> ListenConfig {
        ListenConfig::default()
    }

    /// How many connections the kernel keeps that were not yet accepted: 4096, or as many as its own limit (`net.core.somaxconn`) allows.
    pub fn backlog(mut self, connections: u32) -> ListenConfig {
        self.backlog = connections;
        self
    }

    /// Takes a TCP port over while connections of its former owner linger (`SO_REUSEADDR`); on, as std has it, unless set to false here. On a UDP socket it lets several bind
    /// the port, for multicast, and is set only if asked for by [`reuse_port`](Self::reuse_port).
    pub fn reuse_address(mut self, reuse: bool) -> ListenConfig {
        self.reuse_address = reuse;
        self
    }

    /// Lets several sockets, of several processes of one user too, bind the same port (`SO_REUSEPORT`). Connections and datagrams are dealt out between them.
    pub fn reuse_port(mut self, reuse: bool) -> ListenConfig {
        self.reuse_port = reuse;
        self
    }

    /// Whether a socket on an IPv6 address is for IPv6 alone (`IPV6_V6ONLY`); the system's setting unless set here.
    pub fn only_v6(mut self, only: bool) -> ListenConfig {
        self.only_v6 = Some(only);
        self
    }

    /// Has accepted connections probe silent peers.
    pub fn keep_alive(mut self, keep_alive: KeepAlive) -> ListenConfig {
        self.keep_alive = Some(keep_alive);
        self
    }

    /// Listens on the first of `addresses` that can be had. Port 0 asks for a free one.
    ///
    /// # Errors
    /// The system's: `EADDRINUSE`, `EACCES`, `EMFILE`, ...
    pub fn listen(&self, addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
        first(addresses, |address| {
            let socket = self.socket(&address, Type::STREAM, Protocol::TCP)?;
            if self.reuse_address {
                socket.set_reuse_address(true)?;
            }
            if let Some(keep_alive) = self.keep_alive {
                // Inherited by what is accepted.
                keep_alive.set(SockRef::from(&socket))?;
            }
            socket.bind(&address.into())?;
            socket.listen(self.backlog.min(i32::MAX as u32) as i32)?;
            let watched = Watched::nonblocking(socket.into())?;
            Ok(TcpListener(watched, Shortage::default()))
        })
    }

    /// Binds a UDP socket to the first of `addresses` that can be had. Of the settings, those about ports and IPv6 concern it.
    ///
    /// # Errors
    /// The system's: `EADDRINUSE`, `EACCES`, `EMFILE`, ...
    pub fn listen_packet(&self, addresses: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        first(addresses, |address| {
            let socket = self.socket(&address, Type::DGRAM, Protocol::UDP)?;
            if self.reuse_port {
                socket.set_reuse_address(self.reuse_address)?;
            }
            socket.bind(&address.into())?;
            Ok(UdpSocket(Watched::nonblocking(socket.into())?))
        })
    }

    fn socket(&self, address: &SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let kind = kind.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(*address), kind, Some(protocol))?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (Some(only), true) = (self.only_v6, address.is_ipv6()) {
            socket.set_only_v6(only)?;
        }
        Ok(socket)
    }
}

/// Tries each address in turn and returns the first success, or else the last failure.
fn first<R>(
    addresses: impl ToSocketAddrs,
    mut f: impl FnMut(SocketAddr) -> io::Result<R>,
) -> io::Result<R> {
    let mut last = None;
    for address in resolve(addresses)? {
        match f(address) {
            Ok(result) => return Ok(result),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(super::lookup::no_address))
}
