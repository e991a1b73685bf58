//! Requests and answers on a connection: HTTP/1.1 with connections that are kept, bodies with a length, and limits on everything.

use goruntime::fs::File;
use goruntime::io::copy_n;
use goruntime::net::TcpStream;
use goruntime::time::{self, Duration};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;

/// The longest head of a request, in bytes.
const HEAD: u64 = 16 << 10;
/// The longest body.
const BODY: u64 = 1 << 20;
/// How long a client may take for a request, or be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client wants.
#[derive(Debug, Default)]
pub struct Request {
    pub method: String,
    /// Without what follows a `?`.
    pub path: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection is to be kept.
    pub keep: bool,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

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
        let request = match read(&mut reader) {
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
        let _ = copy_n(&mut stream, &mut io::sink(), BODY);
    }
}

/// The next request; `None` at the end, and the status to answer with if it cannot be understood.
fn read(reader: &mut BufReader<&TcpStream>) -> Result<Option<Request>, u16> {
    let mut head = reader.by_ref().take(HEAD);
    let mut line = || -> Result<Option<String>, u16> {
        let mut line = Vec::new();
        match head.read_until(b'\n', &mut line).map_err(|e| status(&e))? {
            0 if head.limit() == 0 => Err(431),
            0 => Ok(None),
            _ if line.ends_with(b"\n") => {
                let text = String::from_utf8(line).map_err(|_| 400u16)?;
                Ok(Some(text.trim_end().to_owned()))
            }
            _ if head.limit() == 0 => Err(431),
            _ => Err(400),
        }
    };
    let Some(first) = line()? else {
        return Ok(None);
    };
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(400);
    };
    if !version.starts_with("HTTP/1.") {
        return Err(400);
    }
    let mut request = Request {
        method: method.to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        ..Request::default()
    };
    loop {
        let header = line()?.ok_or(400u16)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or(400u16)?;
        let header = (name.to_ascii_lowercase(), value.trim().to_owned());
        request.headers.push(header);
    }
    request.keep = match request.header("connection") {
        Some(words) => !words.eq_ignore_ascii_case("close"),
        None => version != "HTTP/1.0",
    };
    if request.header("transfer-encoding").is_some() {
        return Err(501);
    }
    if let Some(length) = request.header("content-length") {
        let length: u64 = length.parse().map_err(|_| 400u16)?;
        if length > BODY {
            return Err(413);
        }
        let mut body = vec![0; length as usize];
        reader.read_exact(&mut body).map_err(|e| status(&e))?;
        request.body = body;
    }
    Ok(Some(request))
}

fn status(error: &io::Error) -> u16 {
    match error.kind() {
        ErrorKind::TimedOut => 408,
        _ => 400,
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
