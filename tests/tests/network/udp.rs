//! UDP.

use goruntime::net::{ListenConfig, UdpSocket};
use goruntime::{go, time};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

#[test]
fn two_hundred_goroutines_ask_one() {
    let server = socket();
    let address = server.local_addr().unwrap();
    go(move || {
        let mut buffer = [0; 100];
        loop {
            let (n, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(server.send_to(&buffer[..n], from).unwrap(), n);
        }
    });
    let clients: Vec<_> = (0..200u8)
        .map(|i| {
            go(move || {
                let socket = socket();
                socket.connect(address).unwrap();
                // The kernel may drop what comes too fast.
                let timeout = Duration::from_millis(200);
                socket.set_read_timeout(Some(timeout)).unwrap();
                let mut buffer = [0; 100];
                for _ in 0..100 {
                    socket.send(&[i; 30]).unwrap();
                    match socket.recv(&mut buffer) {
                        Ok(n) => return assert_eq!(&buffer[..n], &[i; 30]),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
                    }
                }
                panic!("no answer");
            })
        })
        .collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
}

#[test]
fn datagrams_keep_their_bounds() {
    let (a, b) = (socket(), socket());
    let to = b.local_addr().unwrap();
    for datagram in [&b"first"[..], b"", b"a third one"] {
        a.send_to(datagram, to).unwrap();
    }
    let mut buffer = [0; 5];
    assert_eq!(b.peek_from(&mut buffer).unwrap().0, 5);
    assert_eq!(b.recv_from(&mut buffer).unwrap().0, 5);
    assert_eq!(&buffer, b"first");
    let from = a.local_addr().unwrap();
    assert_eq!(b.recv_from(&mut buffer).unwrap(), (0, from));
    assert_eq!(b.recv_from(&mut buffer).unwrap().0, 5, "the rest is lost");
    assert_eq!(&buffer, b"a thi");
    let error = a.send_to(&[0; 70_000], to).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
}

#[test]
fn waiting_ends_by_a_deadline_or_a_close() {
    let socket = Arc::new(socket());
    let wait = || {
        let socket = socket.clone();
        go(move || socket.recv_from(&mut [0]).unwrap_err().kind())
    };
    let waiter = wait();
    std::thread::sleep(Duration::from_millis(5));
    socket.set_read_deadline(Some(time::now() + Duration::from_millis(5)));
    assert_eq!(waiter.join().unwrap(), ErrorKind::TimedOut);
    socket.set_read_deadline(None);
    let waiter = wait();
    std::thread::sleep(Duration::from_millis(5));
    socket.close();
    assert_eq!(waiter.join().unwrap(), ErrorKind::NotConnected);
}

#[test]
fn a_peer_that_does_not_listen_is_an_error_of_the_next_call() {
    let gone = socket().local_addr().unwrap();
    let socket = socket();
    assert_eq!(
        socket.peer_addr().unwrap_err().kind(),
        ErrorKind::NotConnected
    );
    socket.connect(gone).unwrap();
    assert_eq!(socket.peer_addr().unwrap(), gone);
    socket.send(b"hello?").unwrap();
    let error = socket.recv(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn options_are_what_was_set() {
    let socket = socket();
    assert!(!socket.broadcast().unwrap());
    socket.set_broadcast(true).unwrap();
    assert!(socket.broadcast().unwrap());
    socket.set_ttl(9).unwrap();
    assert_eq!(socket.ttl().unwrap(), 9);
    socket.set_multicast_loop_v4(false).unwrap();
    assert!(!socket.multicast_loop_v4().unwrap());
    socket.set_multicast_ttl_v4(3).unwrap();
    assert_eq!(socket.multicast_ttl_v4().unwrap(), 3);
    let (group, interface) = (Ipv4Addr::new(239, 1, 2, 3), Ipv4Addr::LOCALHOST);
    socket.join_multicast_v4(&group, &interface).unwrap();
    assert!(socket.join_multicast_v4(&group, &interface).is_err());
    socket.leave_multicast_v4(&group, &interface).unwrap();
    assert!(socket.leave_multicast_v4(&group, &interface).is_err());
}

#[test]
fn a_port_may_be_shared() {
    let config = ListenConfig::new().reuse_port(true);
    let first = config.listen_packet("127.0.0.1:0").unwrap();
    let address = first.local_addr().unwrap();
    let error = UdpSocket::bind(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let second = config.listen_packet(address).unwrap();
    assert_eq!(second.local_addr().unwrap(), address);
}
