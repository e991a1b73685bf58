//! Names, several addresses, and those that do not answer.

use super::echo_server;
use goruntime::net::{Dialer, ListenConfig, TcpListener, TcpStream, lookup_host};
use goruntime::{go, time};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const MILLI: Duration = Duration::from_millis(1);

/// An address that leads nowhere: a listener that takes no more connections, and says nothing about it. It is one for as long as what comes with it is kept.
fn silent(address: &str) -> Option<(SocketAddr, (TcpListener, Vec<TcpStream>))> {
    let listener = ListenConfig::new().backlog(0).listen(address).ok()?;
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, 100 * MILLI) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "its queue has no end");
    }
    Some((address, (listener, waiting)))
}

/// An address that says at once that nobody listens.
fn refusing(address: &str) -> Option<SocketAddr> {
    let listener = std::net::TcpListener::bind(address).ok()?;
    listener.local_addr().ok()
}

#[test]
fn names_are_looked_up_without_stopping_others() {
    let port = echo_server().port();
    let peer = go(move || {
        let stream = TcpStream::connect(("localhost", port)).unwrap();
        stream.peer_addr().unwrap()
    });
    assert_eq!(peer.join().unwrap().port(), port);
    let addresses = lookup_host("localhost").unwrap();
    assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback));
    assert!(lookup_host("no such name").is_err());
    let dialer = Dialer::new().timeout(Duration::from_secs(30));
    assert!(dialer.dial("no such name:80").is_err());
    assert!(dialer.dial("127.0.0.1").is_err(), "without a port");
    let address = format!("localhost:{port}");
    assert!(dialer.dial(&address).is_ok());
}

#[test]
fn an_address_that_does_not_answer_takes_no_longer_than_allowed() {
    let (address, _kept) = silent("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    let error = TcpStream::connect_timeout(&address, 50 * MILLI).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let error = Dialer::new()
        .deadline(time::now() + 50 * MILLI)
        .timeout(Duration::from_secs(100))
        .connect(address)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let took = begin.elapsed();
    assert!((100 * MILLI..900 * MILLI).contains(&took), "{took:?}");
    let error = TcpStream::connect_timeout(&address, Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// The next address of the same kind is tried after a refusal; the first error is told if all fail.
#[test]
fn addresses_are_tried_in_turn() {
    let (refusing, good) = (refusing("127.0.0.1:0").unwrap(), echo_server());
    let stream = TcpStream::connect(&[refusing, good][..]).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), good);
    let error = TcpStream::connect(&[refusing, refusing][..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let none: &[SocketAddr] = &[];
    let error = TcpStream::connect(none).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Addresses of the other IP version are tried beside those that do not answer, and at once after those that refuse.
#[test]
fn the_other_ip_version_is_fallen_back_to() {
    let Some((hangs, _kept)) = silent("[::1]:0") else {
        println!("no IPv6 here");
        return;
    };
    let good = echo_server();
    let dialer = Dialer::new().fallback_delay(Some(40 * MILLI));
    let begin = Instant::now();
    let mut stream = dialer.connect(&[hangs, good][..]).unwrap();
    let took = begin.elapsed();
    assert!((40 * MILLI..900 * MILLI).contains(&took), "{took:?}");
    assert_eq!(stream.peer_addr().unwrap(), good);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();

    // From a thread too; and the loser of the race is no goroutine that stays.
    let thread = std::thread::spawn(move || dialer.connect(&[good, hangs][..]).map(drop));
    thread.join().unwrap().unwrap();

    let refuses = refusing("[::1]:0").unwrap();
    let begin = Instant::now();
    let patient = Dialer::new().fallback_delay(Some(Duration::from_secs(60)));
    let stream = patient.connect(&[refuses, good][..]).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), good);
    assert!(begin.elapsed() < Duration::from_secs(30));

    // One after the other only: the time is shared.
    let error = Dialer::new()
        .fallback_delay(None)
        .timeout(60 * MILLI)
        .connect(&[hangs, hangs][..])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    // Nothing answers: the first address's error.
    let error = Dialer::new()
        .fallback_delay(Some(MILLI))
        .timeout(60 * MILLI)
        .connect(&[hangs, refusing("127.0.0.1:0").unwrap()][..])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn the_local_address_may_be_chosen() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dialer = Dialer::new().local_addr("127.0.0.2:0".parse().unwrap());
    let stream = dialer.connect(address).unwrap();
    let (_, peer) = listener.accept().unwrap();
    assert_eq!(peer, stream.local_addr().unwrap());
    assert_eq!(peer.ip().to_string(), "127.0.0.2");
    let other: SocketAddr = "[::1]:1".parse().unwrap();
    let error = dialer.connect(other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "of another version");
}
