//! Sockets for goroutines, with std's methods: a call that would block parks the goroutine, not its thread.
//!
//! They implement `std::io::Read` and `Write`, by value and by reference, so that crates written for blocking streams run on them
//! unchanged. All of them work from plain threads too.
//!
//! | | |
//! | --- | --- |
//! | [`TcpListener`], [`TcpStream`], [`UdpSocket`] | the internet |
//! | [`UnixListener`], [`UnixStream`], [`UnixDatagram`] | this machine; their addresses are std's |
//! | [`Dialer`], [`ListenConfig`] | connecting and listening with more than the defaults |
//! | [`lookup_host`] | the addresses of a name |
//!
//! Besides std's timeouts, which each operation begins anew, there are Go's deadlines: a point in time from which on all fail, also those that wait
//! when it is set. [`from_std`](TcpStream::from_std) and [`into_std`](TcpStream::into_std) lead from std's types and back.
//!
//! ```
//! use goruntime::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! goruntime::go(move || {
//!     for stream in listener.incoming() {
//!         let mut stream = stream?;
//!         goruntime::go(move || stream.write_all(b"hello"));
//!     }
//!     Ok::<(), std::io::Error>(())
//! });
//! let mut text = String::new();
//! TcpStream::connect(address)?.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # Ok::<(), std::io::Error>(())
//! ```

mod accept;
mod dial;
mod listen;
mod lookup;
mod tcp;
mod udp;
mod unix;

pub use dial::Dialer;
pub use listen::{Incoming, ListenConfig, TcpListener};
pub use lookup::lookup_host;
pub use tcp::{KeepAlive, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixIncoming, UnixListener, UnixStream};
