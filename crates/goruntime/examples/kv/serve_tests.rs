//! Connections over real sockets: clients that are slow, rude or dead.

use super::*;
use crate::config::Config;
use crate::options::Options;
use goruntime::net::TcpListener;
use std::io::Read;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// A server of its own for a test.
fn start() -> (&'static Server, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(Config::new(Options::default()), address);
    let server: &'static Server = Box::leak(Box::new(server));
    goruntime::go(move || {
        while let Ok((stream, _)) = listener.accept() {
            goruntime::go(move || drop(serve(server, stream)));
        }
    });
    (server, address)
}

fn connect(address: SocketAddr) -> std::net::TcpStream {
    let stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `request` and gives as many bytes of the reply as `expected` has.
fn ask(stream: &mut std::net::TcpStream, request: &[u8], expected: &str) {
    stream.write_all(request).unwrap();
    let mut reply = vec![0; expected.len()];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(String::from_utf8_lossy(&reply), expected);
}

/// Sends `request` and no more, and gives all that comes until the server closes.
fn last_words(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    // The server may close before it has read everything, and what it said first is then lost.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    reply
}

fn wait_for_no_clients(server: &Server) {
    let start = Instant::now();
    while server.clients.len() > 0 {
        assert!(
            start.elapsed() < PATIENCE,
            "{} connections are left",
            server.clients.len()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let (_, address) = start();
    let mut stream = connect(address);
    stream.set_nodelay(true).unwrap();
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nv\r\n\0x\r\n";
    let (last, first) = request.split_last().unwrap();
    for byte in first {
        stream.write_all(&[*byte]).unwrap();
    }
    ask(&mut stream, &[*last], "+OK\r\n");
    ask(&mut stream, b"GET k\r\n", "$5\r\nv\r\n\0x\r\n");
}

#[test]
fn replies_come_in_order_however_many() {
    let (_, address) = start();
    let mut stream = connect(address);
    let value = "x".repeat(1000);
    ask(
        &mut stream,
        format!("SET k {value}\r\n").as_bytes(),
        "+OK\r\n",
    );
    // More than one batch of replies; sent from another thread, as both directions fill up.
    const TIMES: usize = 2000;
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        writer
            .write_all("INCR n\r\nGET k\r\n".repeat(TIMES).as_bytes())
            .unwrap();
    });
    for n in 1..=TIMES {
        ask(&mut stream, b"", &format!(":{n}\r\n$1000\r\n{value}\r\n"));
    }
    sender.join().unwrap();
}

#[test]
fn a_client_that_reads_nothing_stops_nobody() {
    let (server, address) = start();
    let mut good = connect(address);
    let value = "x".repeat(60_000);
    ask(
        &mut good,
        format!("SET k {value}\r\n").as_bytes(),
        "+OK\r\n",
    );
    let bad = connect(address);
    bad.set_nonblocking(true).unwrap();
    // Until neither side takes more: the server's goroutine is stuck in its write.
    let requests = "GET k\r\n".repeat(1000);
    let mut quiet = 0;
    while quiet < 20 {
        match (&bad).write_all(requests.as_bytes()) {
            Ok(_) => quiet = 0,
            Err(_) => {
                quiet += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    for n in 1..=100 {
        ask(&mut good, b"INCR n\r\n", &format!(":{n}\r\n"));
    }
    drop((good, bad));
    wait_for_no_clients(server);
}

#[test]
fn announcing_much_and_sending_little_holds_nothing_up() {
    let (server, address) = start();
    let mut waiting: Vec<_> = (0..50).map(|_| connect(address)).collect();
    for stream in &mut waiting {
        stream
            .write_all(b"*2\r\n$4\r\nECHO\r\n$536870912\r\nabc")
            .unwrap();
    }
    ask(&mut connect(address), b"PING\r\n", "+PONG\r\n");
    drop(waiting);
    wait_for_no_clients(server);
}

#[test]
fn what_is_not_the_protocol_is_answered_and_the_connection_closed() {
    let (server, address) = start();
    assert_eq!(
        last_words(address, b"PING\r\n*1\r\nx\r\n"),
        b"+PONG\r\n-ERR Protocol error: expected '$', got 'x'\r\n"
    );
    assert_eq!(last_words(address, b"QUIT\r\nPING\r\n"), b"+OK\r\n");
    assert_eq!(
        last_words(address, b"POST / HTTP/1.1\r\nHost: localhost\r\n"),
        b""
    );
    wait_for_no_clients(server);
}

#[test]
fn random_bytes_and_sudden_deaths_leave_nothing_behind() {
    let (server, address) = start();
    for round in 0..100u64 {
        let noise: Vec<u8> = (0..round * 10)
            .map(|_| crate::random::bits() as u8)
            .collect();
        last_words(address, &noise);
        let mut dead = connect(address);
        let _ = dead.write_all(&b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"[..round as usize % 20]);
    }
    wait_for_no_clients(server);
    ask(&mut connect(address), b"PING\r\n", "+PONG\r\n");
}

#[test]
fn a_connection_can_be_found_in_the_list_while_it_lasts() {
    let (server, address) = start();
    let mut stream = connect(address);
    ask(
        &mut stream,
        b"CLIENT SETNAME me\r\nSELECT 3\r\n",
        "+OK\r\n+OK\r\n",
    );
    let line = server.clients.list().first().unwrap().to_string();
    let local = stream.local_addr().unwrap();
    for word in [
        format!("addr={local} "),
        " name=me ".into(),
        " db=3 ".into(),
        " cmd=select ".into(),
    ] {
        assert!(line.contains(&word), "{word} is not in {line}");
    }
    drop(stream);
    wait_for_no_clients(server);
}
