//! A connection: requests and answers in turn (HTTP/1.1, with connections that are kept).

use crate::request::{self, Request};
use goruntime::fs::File;
use goruntime::io::copy_n;
use goruntime::net::TcpStream;
use goruntime::time::{self, Duration};
use std::io::{self, BufReader, ErrorKind, Write};
use std::net::Shutdown;

/// How long a client may take for a request, or be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it gets.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub kind: &'static str,
    pub body: Body,
}

#[derive(Debug)]
pub enum Body {
    Bytes(Vec<u8>),
    /// So many bytes of a file.
    File(File, u64),
}

impl Response {
    pub fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Response {
        Response {
            status,
            kind,
            body: Body::Bytes(body.into()),
        }
    }

    pub fn html(text: &str) -> Response {
        Response::new(200, "text/html; charset=utf-8", text)
    }

    pub fn json(status: u16, text: String) -> Response {
        Response::new(status, "application/json", text)
    }

    /// Something is wrong.
    pub fn error(status: u16) -> Response {
        Response::new(status, "text/plain", format!("{}\n", reason(status)))
    }

    fn length(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(_, length) => *length,
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        _ => "Internal Server Error",
    }
}

/// Answers requests until the client goes, wants the connection closed, or makes a mistake.
pub fn serve(stream: &TcpStream, answer: impl Fn(&Request) -> Response) {
    let mut reader = BufReader::new(stream);
    loop {
        stream.set_read_deadline(Some(time::now() + PATIENCE));
        let request = match request::read(&mut reader) {
            Ok(None) => return,
            Ok(Some(request)) => request,
            Err(status) => return refuse(stream, status),
        };
        let response = answer(&request);
        let is_head = request.method == "HEAD";
        // A client that is gone cannot be told.
        if write(stream, response, request.keep, is_head).is_err() || !request.keep {
            return;
        }
    }
}

/// Says what is wrong, and listens on for a moment: closing a connection with something unread resets it, and the client would not see the answer.
fn refuse(mut stream: &TcpStream, status: u16) {
    if write(stream, Response::error(status), false, false).is_ok() {
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_deadline(Some(time::now() + Duration::from_secs(1)));
        let _ = copy_n(&mut stream, &mut io::sink(), request::BODY);
    }
}

fn write(mut stream: &TcpStream, response: Response, keep: bool, is_head: bool) -> io::Result<()> {
    let mut out = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}\r\n",
        response.status,
        reason(response.status),
        response.kind,
        response.length(),
        if keep { "" } else { "Connection: close\r\n" },
    )
    .into_bytes();
    match response.body {
        _ if is_head => stream.write_all(&out),
        Body::Bytes(bytes) => {
            out.extend(bytes);
            stream.write_all(&out)
        }
        Body::File(mut file, length) => {
            stream.write_all(&out)?;
            // The kernel sends it. One that has become shorter meanwhile leaves the client waiting for the rest, so it is let go.
            match copy_n(&mut file, &mut stream, length)? {
                sent if sent == length => Ok(()),
                _ => Err(ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}
