//! The addresses of names.
//!
//! The C library looks names up, as for std: in files, and over the network with calls that block. So they run without a P.

use crate::chan;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::time::Instant;

/// The addresses of a host, in the order in which they should be tried (Go's `LookupIP`).
///
/// ```
/// let addresses = goruntime::net::lookup_host("localhost")?;
/// assert!(addresses.iter().all(|address| address.is_loopback()));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When there is no such name, or no answer.
pub fn lookup_host(host: &str) -> io::Result<Vec<IpAddr>> {
    let found = crate::blocking(|| (host, 0).to_socket_addrs())?;
    Ok(found.map(|address| address.ip()).collect())
}

/// The addresses that `addresses` stands for.
pub(super) fn resolve<A: ToSocketAddrs>(addresses: A) -> io::Result<Vec<SocketAddr>> {
    let found = if is_known::<A>() {
        addresses.to_socket_addrs()
    } else {
        crate::blocking(|| addresses.to_socket_addrs())
    };
    Ok(found?.collect())
}

/// Whether values of this type are addresses and not names, so that nothing is looked up.
fn is_known<A>() -> bool {
    let it = typeid::of::<A>();
    it == typeid::of::<SocketAddr>()
        || it == typeid::of::<&SocketAddr>()
        || it == typeid::of::<&[SocketAddr]>()
        || it == typeid::of::<SocketAddrV4>()
        || it == typeid::of::<SocketAddrV6>()
        || it == typeid::of::<(IpAddr, u16)>()
        || it == typeid::of::<(Ipv4Addr, u16)>()
        || it == typeid::of::<(Ipv6Addr, u16)>()
}

/// The addresses of `host:port`, if they are found in time. A look-up cannot be ended; one that is late goes on alone.
pub(super) fn resolve_until(
    address: &str,
    deadline: Option<Instant>,
) -> io::Result<Vec<SocketAddr>> {
    let Some(deadline) = deadline else {
        return resolve(address);
    };
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let name = address.to_owned();
    let (sender, found) = chan::bounded(1);
    crate::Builder::new()
        .name("name lookup")
        .spawn(move || sender.send(resolve(name)))
        .map_err(io::Error::other)?;
    found.recv_until(deadline).unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer in time to what the addresses of {address} are"),
        ))
    })
}

pub(super) fn no_address() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the name has no addresses to connect or bind to",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses() {
        assert!(is_known::<SocketAddr>() && is_known::<&SocketAddr>());
        assert!(is_known::<&[SocketAddr]>() && is_known::<(IpAddr, u16)>());
        assert!(!is_known::<&str>() && !is_known::<String>() && !is_known::<(&str, u16)>());
    }
}
