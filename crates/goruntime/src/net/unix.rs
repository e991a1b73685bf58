//! Sockets of this machine: between processes that share a file system, or by abstract names.
//!
//! Addresses are std's; one with an abstract name is made by `std::os::linux::net::SocketAddrExt` and taken by the `_addr` functions.

use super::accept::Shortage;
use crate::watched::{Watched, is_descriptor, reads, waits_to_read, waits_to_write, writes};
use gosched::poll::Direction;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// A connection.
///
/// Reading and writing may be done by different goroutines at the same time, through references or clones.
///
/// ```
/// use goruntime::net::UnixStream;
/// use std::io::{Read, Write};
///
/// let (mut left, mut right) = UnixStream::pair()?;
/// let reader = goruntime::go(move || {
///     let mut text = String::new();
///     right.read_to_string(&mut text).map(|_| text)
/// });
/// left.write_all(b"across")?;
/// drop(left);
/// assert_eq!(reader.join().unwrap()?, "across");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream(Watched<net::UnixStream>);

is_descriptor!(UnixStream, net::UnixStream);
waits_to_read!(UnixStream);
waits_to_write!(UnixStream);
reads!(UnixStream);
writes!(UnixStream);

/// Between tries to reach a socket whose queue is full: at first, and at most.
const FULL: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(20));

impl UnixStream {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// The system's: `ENOENT`, `ECONNREFUSED` when nobody listens any more, `EACCES`, ...
    pub fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to `address`, which may be an abstract name.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        let address = raw(address)?;
        let mut delay = FULL.0;
        loop {
            match socket.connect(&address) {
                // The listener's queue is full. Nothing tells when that changes, save a call that blocks its thread.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    crate::time::sleep(delay);
                    delay = (2 * delay).min(FULL.1);
                }
                Err(e) => return Err(e),
                Ok(()) => return Ok(UnixStream(Watched::nonblocking(socket.into())?)),
            }
        }
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    /// The system's: `EMFILE`.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (a, b) = net::UnixStream::pair()?;
        Ok((UnixStream::from_std(a)?, UnixStream::from_std(b)?))
    }

    /// Shuts down one direction or both: the peer reads to the end, or this side does.
    ///
    /// # Errors
    /// The system's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.get().shutdown(how)
    }

    /// This end's address.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get().local_addr()
    }

    /// The other end's address.
    ///
    /// # Errors
    /// The system's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get().peer_addr()
    }

    /// The error that the socket has met with, and clears it.
    ///
    /// # Errors
    /// The system's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get().take_error()
    }
}

/// A listening socket. Its file is left behind when it is dropped, as std leaves it.
///
/// Its timeouts and deadlines are those of [`accept`](Self::accept).
pub struct UnixListener(Watched<net::UnixListener>, Shortage);

is_descriptor!(UnixListener, net::UnixListener, Shortage::default());
waits_to_read!(UnixListener);

impl UnixListener {
    /// Listens at `path`, where no file may be.
    ///
    /// # Errors
    /// The system's: `EADDRINUSE` when there is one, `EACCES`, ...
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind(path)?)
    }

    /// Listens at `address`, which may be an abstract name.
    ///
    /// ```
    /// use goruntime::net::{UnixListener, UnixStream};
    /// use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    ///
    /// let name = format!("an example of {}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let listener = UnixListener::bind_addr(&address)?;
    /// let client = goruntime::go(move || UnixStream::connect_addr(&address));
    /// listener.accept()?;
    /// client.join().unwrap()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind_addr(address)?)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// As [`TcpListener::accept`](super::TcpListener::accept), with the same delay for want of descriptors or memory.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, address) = self.1.accept(&self.0, net::UnixListener::accept)?;
        Ok((UnixStream::from_std(stream)?, address))
    }

    /// An endless iterator over connections.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self }
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get().local_addr()
    }

    /// The error that the socket has met with, and clears it.
    ///
    /// # Errors
    /// The system's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get().take_error()
    }
}

/// Connections as they come; see [`UnixListener::incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

/// A socket for datagrams, which arrive in order and none of which is lost: a sender waits for a full receiver.
pub struct UnixDatagram(Watched<net::UnixDatagram>);

is_descriptor!(UnixDatagram, net::UnixDatagram);
waits_to_read!(UnixDatagram);
waits_to_write!(UnixDatagram);

impl UnixDatagram {
    /// One at `path`, where no file may be. It is left behind when the socket is dropped.
    ///
    /// # Errors
    /// The system's: `EADDRINUSE` when there is one, `EACCES`, ...
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind(path)?)
    }

    /// One at `address`, which may be an abstract name.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind_addr(address)?)
    }

    /// One without an address, which can only send or be connected.
    ///
    /// # Errors
    /// The system's: `EMFILE`.
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::unbound()?)
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    /// The system's: `EMFILE`.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (a, b) = net::UnixDatagram::pair()?;
        Ok((UnixDatagram::from_std(a)?, UnixDatagram::from_std(b)?))
    }

    /// Makes the socket at `path` the one that [`send`](Self::send) sends to, and the only one that is received from.
    ///
    /// # Errors
    /// The system's: `ENOENT`, `ECONNREFUSED`, `EACCES`, ...
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.0.get().connect(path)
    }

    /// The same with an address.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.0.get().connect_addr(address)
    }

    /// Sends a datagram to the socket at `path`. Returns its length.
    ///
    /// # Errors
    /// The system's; `TimedOut`.
    pub fn send_to(&self, buf: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.send_to_addr(buf, &SocketAddr::from_pathname(path)?)
    }

    /// The same with an address.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to).
    pub fn send_to_addr(&self, buf: &[u8], address: &SocketAddr) -> io::Result<usize> {
        let until = self.0.timeout(Direction::Write).deadline();
        let mut delay = FULL.0;
        loop {
            let soon = gosched::now() + delay;
            let sent = self.0.registration().io(
                Direction::Write,
                Some(until.map_or(soon, |until| until.min(soon))),
                || self.0.get().send_to_addr(buf, address),
            );
            let is_over = |kind| {
                kind != io::ErrorKind::TimedOut
                    || until.is_some_and(|until| gosched::now() >= until)
                    || self.0.registration().is_past(Direction::Write)
            };
            // The receiver is full. Its sender is told when that changes only if it is connected to it.
            match sent {
                Err(e) if !is_over(e.kind()) => delay = (2 * delay).min(FULL.1),
                result => return result,
            }
        }
    }

    /// Sends a datagram to where the socket is connected to. Returns its length.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to).
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(|socket| socket.send(buf))
    }

    /// Receives a datagram: its length and who sent it. What does not fit into `buf` is lost.
    ///
    /// # Errors
    /// The system's; `TimedOut`.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.read(|socket| socket.recv_from(buf))
    }

    /// Receives a datagram. Returns its length; what does not fit into `buf` is lost.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(|socket| socket.recv(buf))
    }

    /// Shuts down one direction or both.
    ///
    /// # Errors
    /// The system's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.get().shutdown(how)
    }

    /// This end's address.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get().local_addr()
    }

    /// Where it is connected to.
    ///
    /// # Errors
    /// `NotConnected` when it is not.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get().peer_addr()
    }

    /// The error that the socket has met with, and clears it.
    ///
    /// # Errors
    /// The system's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get().take_error()
    }
}

/// The form in which the system takes it.
fn raw(address: &SocketAddr) -> io::Result<SockAddr> {
    let path = match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => return SockAddr::unix(path),
        (None, Some(name)) => [b"\0", name].concat(),
        (None, None) => Vec::new(),
    };
    SockAddr::unix(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&path))
}
