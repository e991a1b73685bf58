//! Sockets over the real poller, on good days and on bad ones.

mod dial;
mod tcp;
mod udp;
mod unix;

use goruntime::go;
use goruntime::net::TcpListener;
use std::net::SocketAddr;
use std::time::Duration;

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// Sends back whatever it is sent, to everybody.
fn echo_server() -> SocketAddr {
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

/// What `f` returns, if it does so in time.
fn within<T: Send + 'static>(limit: Duration, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(f()));
    receiver.recv_timeout(limit).expect("it hangs, or panicked")
}
