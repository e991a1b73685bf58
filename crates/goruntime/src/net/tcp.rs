//! TCP.

use crate::runtime::scheduler_here;
use gosched::poll::{Direction, Registration};
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

/// Pending connections that the kernel keeps for a listener, where its own limit allows; Go's figure for Linux is that limit.
const BACKLOG: i32 = 4096;

/// Tries each address in turn and returns the first success.
fn each_address<R>(
    addresses: impl ToSocketAddrs,
    mut f: impl FnMut(SocketAddr) -> io::Result<R>,
) -> io::Result<R> {
    // A name is looked up in files and over the network, by calls that block.
    let addresses = crate::blocking(|| addresses.to_socket_addrs())?;
    let mut last = None;
    for address in addresses {
        match f(address) {
            Ok(result) => return Ok(result),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the name has no addresses to connect or bind to",
        )
    }))
}

fn socket(address: &SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    Socket::new(Domain::for_address(*address), kind, Some(Protocol::TCP))
}

/// A listening TCP socket.
pub struct TcpListener {
    // Before the socket, which must be open when it is dropped.
    registration: Registration,
    socket: std::net::TcpListener,
}

impl TcpListener {
    /// Listens on the first of `addresses` that can be had. Port 0 asks for a free one.
    ///
    /// `SO_REUSEADDR` is set, as std does.
    ///
    /// # Errors
    /// The system's: `EADDRINUSE`, `EACCES`, `EMFILE`, ...
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
        each_address(addresses, |address| {
            let socket = socket(&address)?;
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            TcpListener::from_std(socket.into())
        })
    }

    /// Takes over a listener of std.
    ///
    /// # Errors
    /// The system's, when the descriptor cannot be watched.
    pub fn from_std(socket: std::net::TcpListener) -> io::Result<TcpListener> {
        socket.set_nonblocking(true)?;
        let registration = scheduler_here().register(socket.as_raw_fd())?;
        Ok(TcpListener {
            registration,
            socket,
        })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// The system's. `EMFILE` (no more descriptors) leaves the connection in the queue: wait a little before the next try.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, address) = self
            .registration
            .io(Direction::Read, None, || self.socket.accept())?;
        Ok((TcpStream::from_std(socket)?, address))
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
        self.socket.local_addr()
    }

    /// Makes every `accept`, waiting or to come, fail with `NotConnected`.
    pub fn close(&self) {
        self.registration.close();
    }
}

/// Connections as they come; see [`TcpListener::incoming`].
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

/// A TCP connection.
///
/// Reading and writing may be done by different goroutines at the same time, through references.
pub struct TcpStream {
    // Before the socket, which must be open when it is dropped.
    registration: Registration,
    socket: std::net::TcpStream,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

/// An optional duration, in nanoseconds; 0 for none.
#[derive(Default)]
struct Timeout(AtomicU64);

impl Timeout {
    fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout.is_some_and(|t| t.is_zero()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a timeout of zero would always have passed; use None for no timeout",
            ));
        }
        let nanos = timeout.map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanos, Relaxed);
        Ok(())
    }

    fn get(&self) -> Option<Duration> {
        match self.0.load(Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.get().and_then(|t| gosched::now().checked_add(t))
    }
}

impl TcpStream {
    /// Connects to the first of `addresses` that answers.
    ///
    /// # Errors
    /// The system's: `ECONNREFUSED`, `ETIMEDOUT`, `EMFILE`, ...
    pub fn connect(addresses: impl ToSocketAddrs) -> io::Result<TcpStream> {
        each_address(addresses, |address| Self::connect_until(address, None))
    }

    /// Connects within `timeout`.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); `TimedOut`.
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        Self::connect_until(*address, gosched::now().checked_add(timeout))
    }

    fn connect_until(address: SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
        let socket = socket(&address)?;
        match socket.connect(&address.into()) {
            Ok(()) => return Self::from_std(socket.into()),
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(e) => return Err(e),
        }
        let stream = Self::from_std(socket.into())?;
        stream.registration.io(Direction::Write, deadline, || {
            // Writable means decided: there is an error or a peer.
            if let Some(error) = stream.socket.take_error()? {
                return Err(error);
            }
            match stream.socket.peer_addr() {
                Ok(_) => Ok(()),
                Err(e) if e.kind() == io::ErrorKind::NotConnected => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                Err(e) => Err(e),
            }
        })?;
        Ok(stream)
    }

    /// Takes over a connection of std.
    ///
    /// # Errors
    /// The system's, when the descriptor cannot be watched.
    pub fn from_std(socket: std::net::TcpStream) -> io::Result<TcpStream> {
        socket.set_nonblocking(true)?;
        let registration = scheduler_here().register(socket.as_raw_fd())?;
        Ok(TcpStream {
            registration,
            socket,
            read_timeout: Timeout::default(),
            write_timeout: Timeout::default(),
        })
    }

    /// Another handle on the same connection, with timeouts of its own.
    ///
    /// # Errors
    /// The system's: `EMFILE`.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        Self::from_std(self.socket.try_clone()?)
    }

    /// Reads without taking the bytes out.
    ///
    /// # Errors
    /// The system's; `TimedOut`.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let deadline = self.read_timeout.deadline();
        self.registration
            .io(Direction::Read, deadline, || self.socket.peek(buf))
    }

    /// Shuts down one direction or both.
    ///
    /// # Errors
    /// The system's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Makes every call that waits on this handle, now or later, fail with `NotConnected`. The connection stays open until the handle
    /// is dropped.
    pub fn close(&self) {
        self.registration.close();
    }

    /// The other end's address.
    ///
    /// # Errors
    /// The system's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// This end's address.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends small writes at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// The system's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_nodelay(nodelay)
    }

    /// Whether `TCP_NODELAY` is set.
    ///
    /// # Errors
    /// The system's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.nodelay()
    }

    /// How long a read may wait; `None` for ever.
    ///
    /// # Errors
    /// `InvalidInput` for a duration of zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read_timeout.set(timeout)
    }

    /// How long a write may wait; `None` for ever.
    ///
    /// # Errors
    /// `InvalidInput` for a duration of zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.write_timeout.set(timeout)
    }

    /// See [`set_read_timeout`](Self::set_read_timeout).
    pub fn read_timeout(&self) -> Option<Duration> {
        self.read_timeout.get()
    }

    /// See [`set_write_timeout`](Self::set_write_timeout).
    pub fn write_timeout(&self) -> Option<Duration> {
        self.write_timeout.get()
    }

    /// The error that the socket has met with, and clears it.
    ///
    /// # Errors
    /// The system's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let deadline = self.read_timeout.deadline();
        self.registration
            .io(Direction::Read, deadline, || (&self.socket).read(buf))
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let deadline = self.write_timeout.deadline();
        self.registration
            .io(Direction::Write, deadline, || (&self.socket).write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let deadline = self.write_timeout.deadline();
        self.registration.io(Direction::Write, deadline, || {
            (&self.socket).write_vectored(bufs)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}
