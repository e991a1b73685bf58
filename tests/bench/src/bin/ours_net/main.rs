//! The net suite on goruntime: an echo server with a goroutine for each connection, and the key-value server of its examples.
//!
//! `main` is a plain thread, which waits for the generator while goroutines serve.

use bench::Arguments;
use bench::workloads::net::{self, server};
use goruntime::go;
use goruntime::net::{TcpListener, TcpStream};
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode};

/// The allocator of a program on goruntime, which its `main` attribute would install.
#[global_allocator]
static ALLOCATOR: goruntime::GoMalloc = goruntime::GoMalloc::new();

fn main() -> ExitCode {
    bench::main_of(&[
        ("echo", |arguments| echo("echo", arguments)),
        ("reconnect", |arguments| echo("reconnect", arguments)),
        ("kv", kv),
    ])
}

/// Serves until the load generator has done its work.
fn echo(workload: &str, arguments: &Arguments) -> Result<(), String> {
    let listener =
        TcpListener::bind(net::LOOPBACK).map_err(|why| format!("cannot listen: {why}"))?;
    let address = listener.local_addr().map_err(|why| why.to_string())?;
    let buffer = net::buffer_size(arguments);
    go(move || {
        while let Ok((stream, _)) = listener.accept() {
            // A connection that fails is over; the generator will say so.
            go(move || serve(stream, buffer));
        }
    });
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

fn kv(arguments: &Arguments) -> Result<(), String> {
    let program = net::beside("kv")?;
    let command = |port: u16| {
        let mut command = Command::new(program);
        command.arg(format!("--port={port}"));
        command
    };
    server::run_kv(command, arguments)
}
