//! Both ways between two connections.

use super::copy;
use crate::both::both;
use crate::net::{TcpStream, UnixStream};
use std::io::{self, Read, Write};
use std::net::Shutdown;

/// A connection whose directions can be used and ended independently.
pub trait Connection: Sync {
    /// Ends one direction or both.
    ///
    /// # Errors
    /// The system's.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

impl Connection for TcpStream {
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        TcpStream::shutdown(self, how)
    }
}

impl Connection for UnixStream {
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        UnixStream::shutdown(self, how)
    }
}

/// Copies from `a` to `b` and from `b` to `a` at the same time, until both have ended, and passes the end of each direction on. Returns how many bytes went each way.
///
/// ```no_run
/// use goruntime::{io, net::TcpListener, net::TcpStream};
///
/// // A proxy.
/// for client in TcpListener::bind("127.0.0.1:8080")?.incoming() {
///     let client = client?;
///     goruntime::go(move || {
///         let server = TcpStream::connect("127.0.0.1:80")?;
///         io::copy_bidirectional(&client, &server)
///     });
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The first error of either direction ends both.
pub fn copy_bidirectional<A, B>(a: &A, b: &B) -> io::Result<(u64, u64)>
where
    A: Connection,
    B: Connection,
    for<'a> &'a A: Read + Write,
    for<'b> &'b B: Read + Write,
{
    let (there, back) = both(
        || {
            let result = copy(&mut &*a, &mut &*b);
            end(result, a, b)
        },
        || {
            let result = copy(&mut &*b, &mut &*a);
            end(result, b, a)
        },
    )?;
    Ok((there?, back?))
}

/// Tells the other end of a direction that it has ended; after an error, everybody.
fn end(result: io::Result<u64>, from: &impl Connection, to: &impl Connection) -> io::Result<u64> {
    // A peer that is gone cannot be told, and says so where it is read from.
    if result.is_ok() {
        let _ = to.shutdown(Shutdown::Write);
    } else {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
    result
}
