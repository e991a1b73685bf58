//! UDP.

use super::ListenConfig;
use super::lookup::{no_address, resolve};
use crate::watched::{Watched, is_descriptor, waits_to_read, waits_to_write};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// A UDP socket.
///
/// ```
/// use goruntime::net::UdpSocket;
///
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.send_to(b"ping", server.local_addr()?)?;
/// let mut buffer = [0; 16];
/// let (length, from) = server.recv_from(&mut buffer)?;
/// assert_eq!((&buffer[..length], from), (&b"ping"[..], client.local_addr()?));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket(pub(super) Watched<std::net::UdpSocket>);

is_descriptor!(UdpSocket, std::net::UdpSocket);
waits_to_read!(UdpSocket);
waits_to_write!(UdpSocket);

impl UdpSocket {
    /// Binds the first of `addresses` that can be had. Port 0 asks for a free one.
    ///
    /// # Errors
    /// The system's: `EADDRINUSE`, `EACCES`, `EMFILE`, ...
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        ListenConfig::new().listen_packet(addresses)
    }

    /// Sends a datagram to the first of `addresses`. Returns its length.
    ///
    /// # Errors
    /// The system's: `EMSGSIZE` for one that is too long; `TimedOut`.
    pub fn send_to(&self, buf: &[u8], addresses: impl ToSocketAddrs) -> io::Result<usize> {
        let addresses = resolve(addresses)?;
        let address = addresses.first().ok_or_else(no_address)?;
        self.0.write(|socket| socket.send_to(buf, address))
    }

    /// Receives a datagram: its length and who sent it. What does not fit into `buf` is lost.
    ///
    /// # Errors
    /// The system's; `TimedOut`.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.read(|socket| socket.recv_from(buf))
    }

    /// The same, and leaves it there.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.read(|socket| socket.peek_from(buf))
    }

    /// Makes the first of `addresses` that can be reached the one that [`send`](Self::send) sends to, and the only one that is received from.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(&self, addresses: impl ToSocketAddrs) -> io::Result<()> {
        // Tells the kernel an address, and waits for nothing.
        self.0.get().connect(&*resolve(addresses)?)
    }

    /// Sends a datagram to where the socket is connected to. Returns its length.
    ///
    /// # Errors
    /// The system's: `ECONNREFUSED` when the peer has said, to an earlier one, that it does not listen; `TimedOut`.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(|socket| socket.send(buf))
    }

    /// Receives a datagram from where the socket is connected to. Returns its length; what does not fit into `buf` is lost.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(|socket| socket.recv(buf))
    }

    /// The same, and leaves it there.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(|socket| socket.peek(buf))
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

    /// Allows datagrams to broadcast addresses (`SO_BROADCAST`).
    ///
    /// # Errors
    /// The system's; so for all that follow.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.0.get().set_broadcast(broadcast)
    }

    /// Whether `SO_BROADCAST` is set.
    ///
    /// # Errors
    /// The system's.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.0.get().broadcast()
    }

    /// How many routers a datagram may pass (`IP_TTL`).
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

    /// Receives what is sent to a group, on the interface with this address (`IP_ADD_MEMBERSHIP`); `0.0.0.0` lets the system choose one.
    ///
    /// # Errors
    /// The system's.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.0.get().join_multicast_v4(group, interface)
    }

    /// Ends [`join_multicast_v4`](Self::join_multicast_v4).
    ///
    /// # Errors
    /// The system's.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.0.get().leave_multicast_v4(group, interface)
    }

    /// Receives what is sent to a group, on the interface with this index (`IPV6_ADD_MEMBERSHIP`); 0 lets the system choose one.
    ///
    /// # Errors
    /// The system's.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.get().join_multicast_v6(group, interface)
    }

    /// Ends [`join_multicast_v6`](Self::join_multicast_v6).
    ///
    /// # Errors
    /// The system's.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.get().leave_multicast_v6(group, interface)
    }

    /// Whether members on this machine receive what is sent to an IPv4 group from it (`IP_MULTICAST_LOOP`).
    ///
    /// # Errors
    /// The system's.
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.0.get().set_multicast_loop_v4(on)
    }

    /// See [`set_multicast_loop_v4`](Self::set_multicast_loop_v4).
    ///
    /// # Errors
    /// The system's.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.0.get().multicast_loop_v4()
    }

    /// How many routers a datagram to an IPv4 group may pass (`IP_MULTICAST_TTL`); 1 at first.
    ///
    /// # Errors
    /// The system's.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.0.get().set_multicast_ttl_v4(ttl)
    }

    /// See [`set_multicast_ttl_v4`](Self::set_multicast_ttl_v4).
    ///
    /// # Errors
    /// The system's.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.0.get().multicast_ttl_v4()
    }

    /// As [`set_multicast_loop_v4`](Self::set_multicast_loop_v4), for IPv6.
    ///
    /// # Errors
    /// The system's.
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        self.0.get().set_multicast_loop_v6(on)
    }

    /// See [`set_multicast_loop_v6`](Self::set_multicast_loop_v6).
    ///
    /// # Errors
    /// The system's.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.0.get().multicast_loop_v6()
    }

    /// The error that the socket has met with, and clears it.
    ///
    /// # Errors
    /// The system's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get().take_error()
    }
}
