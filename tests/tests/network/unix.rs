//! Sockets of this machine.

use super::within;
use goruntime::net::{UnixDatagram, UnixListener, UnixStream};
use goruntime::{go, time};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A path for a socket, removed in the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let place = std::env::temp_dir().join(format!("{name} {}", std::process::id()));
        let _ = std::fs::remove_file(&place);
        Place(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn two_hundred_connections_echo_at_once() {
    let place = Place::new("echo");
    let listener = UnixListener::bind(&place.0).unwrap();
    assert_eq!(
        listener.local_addr().unwrap().as_pathname(),
        Some(&*place.0)
    );
    go(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            go(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let clients: Vec<_> = (0..200u8)
        .map(|i| {
            let path = place.0.clone();
            go(move || {
                let mut stream = UnixStream::connect(path).unwrap();
                let message = vec![i; 3000];
                let mut back = vec![0; message.len()];
                for _ in 0..10 {
                    stream.write_all(&message).unwrap();
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back, message);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
}

/// A listener's queue is full. Its length is the system's, which std asks for.
#[test]
fn connecting_waits_for_a_queue_that_is_full() {
    let name = SocketAddr::from_abstract_name(format!("full {}", std::process::id())).unwrap();
    let std_listener = std::os::unix::net::UnixListener::bind_addr(&name).unwrap();
    let again = socket2::SockRef::from(&std_listener);
    again.listen(2).unwrap();
    let listener = UnixListener::from_std(std_listener).unwrap();
    let clients: Vec<_> = (0..20u8)
        .map(|i| {
            let name = name.clone();
            go(move || {
                let mut stream = UnixStream::connect_addr(&name).unwrap();
                stream.write_all(&[i]).unwrap();
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(10));
    let sum = go(move || {
        let read = |_| {
            let mut byte = [0];
            listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
            u32::from(byte[0])
        };
        (0..20).map(read).sum::<u32>()
    });
    assert_eq!(sum.join().unwrap(), 190);
    clients.into_iter().for_each(|c| c.join().unwrap());
}

#[test]
fn nobody_there() {
    let place = Place::new("nobody");
    let error = UnixStream::connect(&place.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    drop(UnixListener::bind(&place.0).unwrap());
    let error = UnixStream::connect(&place.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let error = UnixListener::bind(&place.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[test]
fn a_pair_half_closed_then_closed() {
    let (mut a, b) = UnixStream::pair().unwrap();
    let b = Arc::new(b);
    a.write_all(b"all there is").unwrap();
    a.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    (&*b).read_to_string(&mut text).unwrap();
    assert_eq!(text, "all there is");
    (&*b).write_all(b"and back").unwrap();
    let mut buffer = [0; 8];
    a.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"and back");

    let (_a, b) = UnixStream::pair().unwrap();
    let b = Arc::new(b);
    let reader = {
        let b = b.clone();
        go(move || (&*b).read(&mut [0]).unwrap_err().kind())
    };
    std::thread::sleep(Duration::from_millis(5));
    b.close();
    assert_eq!(reader.join().unwrap(), ErrorKind::NotConnected);
}

#[test]
fn accepting_ends_by_a_deadline_or_a_close() {
    let place = Place::new("deadline");
    let listener = Arc::new(UnixListener::bind(&place.0).unwrap());
    listener.set_read_deadline(Some(time::now() + Duration::from_millis(5)));
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::TimedOut);
    listener.set_read_deadline(None);
    let acceptor = {
        let listener = listener.clone();
        go(move || listener.accept().unwrap_err().kind())
    };
    std::thread::sleep(Duration::from_millis(5));
    listener.close();
    assert_eq!(acceptor.join().unwrap(), ErrorKind::NotConnected);
}

#[test]
fn datagrams_by_path_and_in_pairs() {
    let (here, there) = (Place::new("here"), Place::new("there"));
    let a = UnixDatagram::bind(&here.0).unwrap();
    let b = UnixDatagram::bind(&there.0).unwrap();
    a.send_to(b"to there", &there.0).unwrap();
    let mut buffer = [0; 20];
    let (n, from) = b.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"to there");
    assert_eq!(from.as_pathname(), Some(&*here.0));
    b.connect(&here.0).unwrap();
    b.send(b"back").unwrap();
    assert_eq!(a.recv(&mut buffer).unwrap(), 4);

    let (a, b) = UnixDatagram::pair().unwrap();
    let sender = go(move || (0..1000u32).for_each(|i| _ = a.send(&i.to_ne_bytes()).unwrap()));
    for i in 0..1000u32 {
        assert_eq!(b.recv(&mut buffer).unwrap(), 4);
        assert_eq!(buffer[..4], i.to_ne_bytes());
    }
    sender.join().unwrap();
}

/// The kernel tells a sender of room only if it is connected.
#[test]
fn a_full_receiver_is_waited_for_by_everybody() {
    for is_connected in [false, true] {
        let place = Place::new(if is_connected { "full c" } else { "full" });
        let receiver = UnixDatagram::bind(&place.0).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        if is_connected {
            sender.connect(&place.0).unwrap();
        }
        let path = place.0.clone();
        let send = move |timeout: Option<Duration>| {
            sender.set_write_timeout(timeout).unwrap();
            match is_connected {
                true => sender.send(b"x"),
                false => sender.send_to(b"x", &path),
            }
        };
        let mut sent = 0;
        let error = loop {
            match send(Some(Duration::from_millis(30))) {
                Ok(_) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let waiter = go(move || send(None).map(drop));
        std::thread::sleep(Duration::from_millis(10));
        let received = within(Duration::from_secs(20), move || {
            (0..=sent).for_each(|_| assert_eq!(receiver.recv(&mut [0]).unwrap(), 1));
            sent + 1
        });
        waiter.join().unwrap().unwrap();
        assert!(received > 1);
    }
}
