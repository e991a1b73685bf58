//! TCP over the real poller.

use goruntime::net::{TcpListener, TcpStream};
use goruntime::{go, time};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

fn echo_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    go(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            go(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

#[test]
fn two_hundred_connections_echo_at_once() {
    let address = echo_server();
    let clients: Vec<_> = (0..200u8)
        .map(|i| {
            go(move || {
                let mut stream = TcpStream::connect(address).unwrap();
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

#[test]
fn plain_threads_may_use_the_same_sockets() {
    let address = echo_server();
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"from a thread").unwrap();
        let mut back = [0; 13];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"from a thread");
    })
    .join()
    .unwrap();
}

#[test]
fn a_large_transfer_both_ways() {
    let address = echo_server();
    go(move || {
        let stream = Arc::new(TcpStream::connect(address).unwrap());
        let writer = stream.clone();
        const LEN: usize = 8 << 20;
        let sender = go(move || {
            let chunk: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
            for _ in 0..LEN / chunk.len() {
                (&*writer).write_all(&chunk).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut all = Vec::new();
        (&*stream).read_to_end(&mut all).unwrap();
        sender.join().unwrap();
        assert_eq!(all.len(), LEN);
        assert!(all.iter().zip((0..=255u8).cycle()).all(|(a, b)| *a == b));
    })
    .join()
    .unwrap();
}

#[test]
fn a_read_times_out_and_the_connection_lives_on() {
    let address = echo_server();
    go(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(30)))
            .unwrap();
        let begin = Instant::now();
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() >= Duration::from_millis(30));
        stream.write_all(b"x").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        assert_eq!(
            stream
                .set_read_timeout(Some(Duration::ZERO))
                .unwrap_err()
                .kind(),
            ErrorKind::InvalidInput
        );
    })
    .join()
    .unwrap();
}

#[test]
fn closing_wakes_who_waits() {
    let address = echo_server();
    let stream = Arc::new(TcpStream::connect(address).unwrap());
    let reader = {
        let stream = stream.clone();
        go(move || (&*stream).read(&mut [0]).unwrap_err().kind())
    };
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let acceptor = {
        let listener = listener.clone();
        go(move || listener.accept().unwrap_err().kind())
    };
    go(|| time::sleep(Duration::from_millis(20)))
        .join()
        .unwrap();
    stream.close();
    listener.close();
    assert_eq!(reader.join().unwrap(), ErrorKind::NotConnected);
    assert_eq!(acceptor.join().unwrap(), ErrorKind::NotConnected);
}

#[test]
fn a_refused_connection_is_an_error() {
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let error = go(move || TcpStream::connect(free).unwrap_err())
        .join()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn names_are_looked_up_without_stopping_others() {
    let address = echo_server();
    let port = address.port();
    go(move || {
        TcpStream::connect(("localhost", port))
            .unwrap()
            .peer_addr()
            .unwrap()
    })
    .join()
    .unwrap();
}
