//! One connection: sends a request, reads until the reply is whole, sends the next.
//!
//! Invariant: it never reads more than is missing of the reply, so that what it has not read belongs to no reply yet. With that, a read that gives
//! less than was asked for has emptied the socket, and the next bytes will be announced.

use bench::workloads::latency::Latencies;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// What is asked, and what must be answered.
pub trait Dialogue: Send {
    /// Puts the next request, or several at once, into `request`, and all of the answer into `reply`. Both are empty.
    fn next(&mut self, request: &mut Vec<u8>, reply: &mut Vec<u8>);

    /// Whether `got` is what `reply` has from `at` on.
    fn is_right(&self, reply: &[u8], at: usize, got: &[u8]) -> bool {
        reply[at..at + got.len()] == *got
    }
}

/// One connection.
pub struct Connection<D> {
    stream: TcpStream,
    dialogue: D,
    request: Vec<u8>,
    sent: usize,
    reply: Vec<u8>,
    received: usize,
    started: Instant,
    left: u64,
}

impl<D: Dialogue> Connection<D> {
    /// Connects.
    pub fn new(server: SocketAddr, dialogue: D) -> io::Result<Connection<D>> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream,
            dialogue,
            request: Vec::new(),
            sent: 0,
            reply: Vec::new(),
            received: 0,
            started: Instant::now(),
            left: 0,
        })
    }

    /// What to wait for.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Begins a course of so many requests.
    pub fn begin(&mut self, requests: u64) -> io::Result<()> {
        self.left = requests;
        match requests {
            0 => Ok(()),
            _ => self.ask(),
        }
    }

    /// Goes as far as it can without waiting. `true` when that completed the course. `scratch` is room to read into.
    pub fn advance(&mut self, scratch: &mut [u8], latencies: &mut Latencies) -> io::Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.write()?;
        while self.read(scratch)? {
            latencies.record(self.started.elapsed());
            self.left -= 1;
            if self.left == 0 {
                return Ok(true);
            }
            self.ask()?;
        }
        Ok(false)
    }

    fn ask(&mut self) -> io::Result<()> {
        self.request.clear();
        self.reply.clear();
        (self.sent, self.received) = (0, 0);
        self.dialogue.next(&mut self.request, &mut self.reply);
        self.started = Instant::now();
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// Whether the reply is whole.
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        loop {
            let missing = (self.reply.len() - self.received).min(scratch.len());
            let n = match self.stream.read(&mut scratch[..missing]) {
                Ok(0) => return Err(io::Error::other("the server closed the connection")),
                Ok(n) => n,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(why) => return Err(why),
            };
            let got = &scratch[..n];
            if !self.dialogue.is_right(&self.reply, self.received, got) {
                return Err(io::Error::other("a reply is not what it must be"));
            }
            self.received += n;
            if self.received == self.reply.len() {
                return Ok(true);
            }
            // An echo may have made room for more of the request.
            self.write()?;
            if n < missing {
                return Ok(false);
            }
        }
    }
}
