//! The net suite on goruntime: an echo server with a goroutine for each connection, an HTTP server in the same style, and the key-value server of its examples.
//!
//! `main` is a plain thread, which waits for the generator while goroutines serve.

mod http;

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
        ("http", http),
        ("kv", kv),
    ])
}

fn echo(workload: &str, arguments: &Arguments) -> Result<(), String> {
    let buffer = net::buffer_size(arguments);
    listen(workload, arguments, move |stream| serve(stream, buffer))
}

fn http(arguments: &Arguments) -> Result<(), String> {
    listen("http", arguments, http::serve)
}

/// Serves each connection on a goroutine of its own, until the load generator has done its work.
fn listen(
    workload: &str,
    arguments: &Arguments,
    serve: impl Fn(TcpStream) -> io::Result<()> + Copy + Send + 'static,
) -> Result<(), String> {
    let listener =
        TcpListener::bind(net::LOOPBACK).map_err(|why| format!("cannot listen: {why}"))?;
    let address = listener.local_addr().map_err(|why| why.to_string())?;
    go(move || {
        while let Ok((stream, _)) = listener.accept() {
            // A connection that fails is over; the generator will say so.
            go(move || serve(stream));
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
