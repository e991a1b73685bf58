//! One connection, start to end, in plain blocking style: read, execute all requests that are complete, write the replies at once.
//!
//! Invariant: the lock of the keyspace is never held while reading or writing, so that a client that does not read its replies stops nobody but
//! itself. Replies are sent in the order of the requests, all of them before the connection is closed.

use crate::clock::UnixMillis;
use crate::command::{self, Call};
use crate::input::Input;
use crate::reply::Reply;
use crate::resp::{Parser, Progress};
use crate::server::Server;
use crate::session::Session;
use goruntime::net::TcpStream;
use std::io::{self, Write};
use std::sync::atomic::Ordering::Relaxed;

/// A batch ends when its replies take this many bytes, to send them before making more.
const REPLY_BATCH: usize = 256 * 1024;

/// The longest request, in bytes. Only a request of many long arguments gets there.
const REQUEST_LIMIT: usize = 1 << 30;

/// Serves one connection until either side closes it.
///
/// # Errors
/// Those of the connection.
pub fn serve(server: &'static Server, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection {
        server,
        session: Session::new(&server.clients, stream.peer_addr()?, stream.local_addr()?),
        input: Input::new(),
        parser: Parser::new(),
        reply: Reply::default(),
    };
    while !connection.session.close {
        let count = connection.input.fill(&mut stream)?;
        if count == 0 {
            break;
        }
        server.stats.input.fetch_add(count as u64, Relaxed);
        connection.answer(&mut stream)?;
    }
    Ok(())
}

struct Connection {
    server: &'static Server,
    session: Session,
    input: Input,
    parser: Parser,
    reply: Reply,
}

impl Connection {
    /// Executes the requests that have arrived whole, and sends the replies.
    fn answer(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        loop {
            let all = self.execute_batch();
            if self.reply.len() > 0 {
                stream.write_all(self.reply.as_bytes())?;
                self.server
                    .stats
                    .output
                    .fetch_add(self.reply.len() as u64, Relaxed);
                self.reply.clear();
            }
            if all || self.session.close {
                break;
            }
        }
        if self.input.unread().len() > REQUEST_LIMIT {
            let address = stream.peer_addr()?;
            eprintln!(
                "kv: closing the connection from {address}: its request exceeds {REQUEST_LIMIT} bytes"
            );
            self.session.close = true;
        }
        Ok(())
    }

    /// Executes requests until there is no whole one left, which is `true`, or the replies should be sent first.
    fn execute_batch(&mut self) -> bool {
        let bulk_limit = self.server.config.bulk_limit();
        let now = UnixMillis::now();
        let (mut lock, mut name, mut count) = (None, "NULL", 0);
        let all = loop {
            if self.session.close || self.reply.len() >= REPLY_BATCH {
                break false;
            }
            let length = match self.parser.parse(self.input.unread(), bulk_limit) {
                Ok(Progress::Request(length)) => length,
                Ok(Progress::Incomplete(_)) => break true,
                Err(error) => {
                    self.reply.error(format!("ERR {error}").as_bytes());
                    self.session.close = true;
                    break true;
                }
            };
            let args = self.parser.args(self.input.unread());
            if !args.is_empty() {
                let mut call = Call {
                    args,
                    reply: &mut self.reply,
                    session: &mut self.session,
                    server: self.server,
                    now,
                    name,
                    lock: &mut lock,
                };
                command::execute(&mut call);
                name = call.name;
                count += 1;
            }
            self.input.consume(length);
        };
        drop(lock);
        if count > 0 {
            self.server.stats.commands.fetch_add(count, Relaxed);
            self.session.show(name, now);
        }
        all
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
