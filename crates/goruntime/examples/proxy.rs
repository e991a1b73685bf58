//! A TCP proxy, whose bytes stay in the kernel: `proxy 127.0.0.1:8080 upstream:80`. The first Ctrl-C lets it finish what it has begun, the second ends it.

use goruntime::io::copy_bidirectional;
use goruntime::net::{Dialer, TcpListener, TcpStream};
use goruntime::signal::{self, Signal};
use goruntime::sync::WaitGroup;
use goruntime::time::Duration;
use std::sync::Arc;

#[goruntime::main]
fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(here), Some(upstream)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: proxy ADDRESS UPSTREAM");
        std::process::exit(2);
    };
    let listener = Arc::new(TcpListener::bind(here)?);
    println!("listening on {}", listener.local_addr()?);

    let interrupts = signal::notify([Signal::INTERRUPT, Signal::TERMINATE])?;
    let closing = listener.clone();
    goruntime::go(move || {
        let signal = interrupts.recv();
        // From here on another one ends the program.
        drop(interrupts);
        println!("{signal:?}: no more connections");
        closing.close();
    });

    let connections = Arc::new(WaitGroup::new());
    for client in listener.incoming() {
        let client = match client {
            Ok(client) => client,
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => break,
            // Want of descriptors, say, which has taken its time: others may be done by now.
            Err(error) => {
                eprintln!("cannot accept: {error}");
                continue;
            }
        };
        let (upstream, connections) = (upstream.clone(), connections.clone());
        connections.add(1);
        goruntime::go(move || {
            if let Err(error) = pass(&client, &upstream) {
                eprintln!("{:?}: {error}", client.peer_addr());
            }
            connections.done();
        });
    }
    connections.wait();
    Ok(())
}

fn pass(client: &TcpStream, upstream: &str) -> std::io::Result<()> {
    let dialer = Dialer::new().timeout(Duration::from_secs(10));
    let server = dialer.dial(upstream)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(client, &server).map(|_| ())
}
