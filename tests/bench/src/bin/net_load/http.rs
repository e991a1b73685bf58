//! Requests over HTTP/1.1 on connections that are kept, all for the same short text.
//!
//! What a server answers beside the text is its own affair, so one answer is taken as the sample of all. The date in it changes, and is
//! not compared.

use super::connection::Dialogue;
use super::crowd::{self, Load};
use bench::Arguments;
use bench::workloads::net::{HELLO, process};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;

/// Requests over all connections.
const REQUESTS: u64 = 50_000;
/// Connections.
const CONNECTIONS: u64 = 50;

const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain,*/*;q=0.8\r\nUser-Agent: net_load\r\n\r\n";

/// Prints what [`crowd::Taken::report`] prints.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let server = super::server(arguments)?;
    let connections = arguments.number("conns", CONNECTIONS).max(1);
    let load = Load {
        connections,
        exchanges: arguments.scaled("requests", REQUESTS).div_ceil(connections),
        pipeline: 1,
        process: process(arguments),
    };
    let sample = Sample::take(server).map_err(|why| format!("no sample of an answer: {why}"))?;
    let sample = Arc::new(sample);
    crowd::run(server, &load, |_| Plaintext(sample.clone()))?.report()
}

/// An answer.
struct Sample {
    bytes: Vec<u8>,
    /// Where the date is.
    date: Range<usize>,
}

impl Sample {
    fn take(server: SocketAddr) -> io::Result<Sample> {
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(REQUEST)?;
        let mut bytes = Vec::new();
        while !bytes.ends_with(HELLO) {
            let mut some = [0; 1024];
            match stream.read(&mut some)? {
                0 => break,
                n => bytes.extend_from_slice(&some[..n]),
            }
        }
        Sample::new(bytes).map_err(io::Error::other)
    }

    fn new(bytes: Vec<u8>) -> Result<Sample, String> {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let hello = String::from_utf8_lossy(HELLO).to_ascii_lowercase();
        let length = format!("\r\ncontent-length: {}\r\n", HELLO.len());
        let is_right = text.starts_with("http/1.1 200 ")
            && text.contains(&length)
            && text.ends_with(&format!("\r\n\r\n{hello}"));
        if !is_right {
            return Err(format!("{text:?} is not what was asked for"));
        }
        const DATE: &str = "\r\ndate: ";
        let start = text.find(DATE).ok_or("it has no date")? + DATE.len();
        let end = start + text[start..].find("\r\n").ok_or("its date has no end")?;
        Ok(Sample {
            bytes,
            date: start..end,
        })
    }
}

struct Plaintext(Arc<Sample>);

impl Dialogue for Plaintext {
    fn next(&mut self, request: &mut Vec<u8>, reply: &mut Vec<u8>) {
        request.extend_from_slice(REQUEST);
        reply.extend_from_slice(&self.0.bytes);
    }

    fn is_right(&self, reply: &[u8], at: usize, got: &[u8]) -> bool {
        let date = &self.0.date;
        let pairs = reply[at..].iter().zip(got).enumerate();
        pairs
            .filter(|(i, _)| !date.contains(&(at + i)))
            .all(|(_, (expected, got))| expected == got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026 07:00:00 GMT\r\nContent-Length: 13\r\n\r\nHello, World!";

    #[test]
    fn all_but_the_date_is_compared() {
        let sample = Sample::new(ANSWER.into()).unwrap();
        let dialogue = Plaintext(Arc::new(sample));
        let is_right = |got: &str| dialogue.is_right(ANSWER.as_bytes(), 0, got.as_bytes());
        assert!(is_right(ANSWER));
        assert!(is_right(&ANSWER.replace("07:00:00", "07:00:01")));
        assert!(!is_right(&ANSWER.replace("World", "Worle")));
        assert!(dialogue.is_right(ANSWER.as_bytes(), ANSWER.len() - 3, b"ld!"));
        assert!(!dialogue.is_right(ANSWER.as_bytes(), ANSWER.len() - 3, b"lx!"));
    }

    #[test]
    fn another_answer_is_no_sample() {
        for (from, to) in [
            ("200", "404"),
            ("World", "All"),
            ("Date", "Data"),
            ("13", "14"),
        ] {
            assert!(
                Sample::new(ANSWER.replace(from, to).into()).is_err(),
                "{to}"
            );
        }
    }
}
