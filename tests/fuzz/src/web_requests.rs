//! The parser of HTTP requests of the `web` example: however the stream is cut the same comes out, within the limits, and
//! what came out comes out again when it is written.

use crate::foreign::web_request::{BODY, Request, read};
use std::io::BufReader;

pub fn run(data: &[u8]) {
    let whole = all(data, data.len().max(1));
    for piece in [1, 7] {
        assert_eq!(all(data, piece), whole, "in pieces of {piece}");
    }
    for request in whole.0 {
        assert!(request.body.len() as u64 <= BODY);
        let written = write(&request);
        assert_eq!(all(&written, 64), (vec![request], None));
    }
}

/// The requests in a stream that is read in such pieces, and why they end, if not with the stream.
fn all(stream: &[u8], piece: usize) -> (Vec<Request>, Option<u16>) {
    let mut reader = BufReader::with_capacity(piece, stream);
    let mut requests = Vec::new();
    loop {
        match read(&mut reader) {
            Ok(Some(request)) => requests.push(request),
            Ok(None) => return (requests, None),
            Err(status) => {
                assert!([400, 413, 431, 501].contains(&status));
                return (requests, Some(status));
            }
        }
    }
}

fn write(request: &Request) -> Vec<u8> {
    let version = if request.keep { "HTTP/1.1" } else { "HTTP/1.0" };
    let mut bytes = format!("{} {} {version}\r\n", request.method, request.path).into_bytes();
    for (name, value) in &request.headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(&request.body);
    bytes
}
