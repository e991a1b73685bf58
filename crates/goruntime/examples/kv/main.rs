//! `kv`: a key-value server that speaks the Redis protocol, as an example of a program on goruntime.
//!
//! A goroutine per connection reads and writes in plain blocking style; the keyspace is made of collected objects, so nothing in it
//! is ever freed by hand: deleting a list of a million items is one store.
//!
//! Modules, each using only those above it:
//!
//! ```text
//!   resp  number  glob  random  clock  reply  input     the protocol, and what needs no runtime
//!   count -> dict -> list, zset -> value -> db          the keyspace, of collected objects
//!   options -> config -> session -> server -> info      what connections share
//!   command                                             what clients can ask for
//!   serve  cron                                         a connection; what happens now and then
//! ```

mod clock;
mod command;
mod config;
mod count;
mod cron;
mod db;
mod dict;
mod error;
mod glob;
mod info;
mod input;
mod list;
mod number;
mod options;
mod random;
mod reply;
mod resp;
mod serve;
mod server;
mod session;
mod value;
mod zset;

use crate::config::Config;
use crate::options::{Options, Task};
use crate::server::Server;
use goruntime::net::{TcpListener, TcpStream};
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// After a failure to accept a connection, such as too many open files, the next try is this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[goruntime::main]
fn main() {
    let outcome = match options::parse(std::env::args().skip(1)) {
        Ok(Task::Serve(options)) => run(options),
        Ok(Task::Help) => {
            print!("{}", options::HELP);
            return;
        }
        Err(mistake) => {
            eprintln!("kv: {mistake}\n\n{}", options::HELP);
            std::process::exit(2);
        }
    };
    if let Err(reason) = outcome {
        eprintln!("kv: {reason}");
        std::process::exit(1);
    }
}

/// Serves until the process ends.
fn run(options: Options) -> Result<(), String> {
    let Options { port, bind } = &options;
    let ip: IpAddr = bind
        .parse()
        .map_err(|_| format!("{bind} is not an IP address"))?;
    let listener = TcpListener::bind((ip, *port)).map_err(|error| {
        format!("cannot listen on {bind} port {port}: {error}; --port 0 takes a free port")
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| format!("no local address: {error}"))?;
    let server: &'static Server = Box::leak(Box::new(Server::new(Config::new(options), address)));
    // Whoever started the server may not care where it listens, and have closed the pipe.
    let _ = writeln!(io::stdout(), "listening on {address}").and_then(|()| io::stdout().flush());
    goruntime::go(move || cron::run(server));
    loop {
        match listener.accept() {
            Ok((stream, _)) => welcome(server, stream),
            Err(error) => {
                eprintln!(
                    "kv: cannot accept a connection: {error}; trying again (see `ulimit -n` if there are too many open files)"
                );
                goruntime::time::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn welcome(server: &'static Server, mut stream: TcpStream) {
    if server.clients.len() >= server.config.max_clients() {
        server.stats.rejected.fetch_add(1, Relaxed);
        let _ = stream.write_all(b"-ERR max number of clients reached\r\n");
        return;
    }
    server.stats.connections.fetch_add(1, Relaxed);
    // A connection that fails is over; there is nobody to tell.
    let connection = move || drop(serve::serve(server, stream));
    if let Err(error) = goruntime::Builder::new()
        .name("connection")
        .spawn(connection)
    {
        eprintln!("kv: closing a new connection: {error}");
    }
}
