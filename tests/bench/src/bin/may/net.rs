//! An echo server, a coroutine for each connection.

use bench::Arguments;
use bench::Workload;
use bench::workloads::net;
use may::go;
use may::net::{TcpListener, TcpStream};
use std::io::{self, Read, Write};

/// The workloads, each the same server under another load.
pub const WORKLOADS: &[Workload] = &[
    ("echo", |arguments| echo("echo", arguments)),
    ("reconnect", |arguments| echo("reconnect", arguments)),
];

/// Serves until the load generator has done its work.
fn echo(workload: &str, arguments: &Arguments) -> Result<(), String> {
    let listener =
        TcpListener::bind(net::LOOPBACK).map_err(|why| format!("cannot listen: {why}"))?;
    let address = listener.local_addr().map_err(|why| why.to_string())?;
    let buffer = net::buffer_size(arguments);
    drop(go!(move || {
        while let Ok((stream, _)) = listener.accept() {
            // A connection that fails is over; the generator will say so.
            drop(go!(move || drop(serve(stream, buffer))));
        }
    }));
    net::load(workload, address, arguments)
}

fn serve(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; buffer];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}
