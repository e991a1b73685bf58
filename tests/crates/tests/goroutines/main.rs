//! Blocking crates of other people, unchanged, on goroutines and this runtime's sockets: two hundred at once over loopback, every byte verified.

mod http;
mod http_client;
mod http_server;
mod postgres;
mod tls;
mod websocket;

use goruntime::go;
use goruntime::net::{TcpListener, TcpStream};
use std::net::SocketAddr;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// How many at once.
const CROWD: usize = 200;

/// Runs `f` on so many goroutines, and waits for them all.
fn crowd(f: impl Fn(usize) + Clone + Send + 'static) {
    let goroutines: Vec<_> = (0..CROWD)
        .map(|i| {
            let f = f.clone();
            go(move || f(i))
        })
        .collect();
    for goroutine in goroutines {
        goroutine.join().unwrap();
    }
}

/// Serves every connection on a goroutine of its own, for as long as the test runs.
fn serve(f: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    go(move || {
        for stream in listener.incoming() {
            let (stream, f) = (stream.unwrap(), f.clone());
            go(move || f(stream));
        }
    });
    address
}

/// Bytes that differ from each other and for each `seed`.
fn payload(seed: usize, length: usize) -> Vec<u8> {
    let mut x = seed as u32 | 1 << 20;
    let next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}
