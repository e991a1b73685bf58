//! A TCP echo server.

use goruntime::{go, net::TcpListener};
use std::io;

/// A TCP echo server: one goroutine per connection, in plain blocking style.
#[goruntime::main]
fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:7007")?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        go(move || io::copy(&mut &stream, &mut &stream));
    }
    Ok(())
}
