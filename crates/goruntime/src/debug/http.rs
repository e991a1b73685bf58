//! Requests and responses, and how they are written on the wire: as much of HTTP/1.1 (RFC 9110, RFC 9112) as looking in takes.
//!
//! A request is a head of at most 16 KiB and a body of known length, of at most 1 MiB. A response has a length, so the connection can be used again.

use std::borrow::Cow;
use std::fmt::Write;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// As in the request's first line.
    pub method: &'a str,
    /// The path and what follows it: `/debug/pprof/profile?seconds=5`.
    pub target: &'a str,
    /// Empty where there is none.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A request by the method `GET`.
    pub fn get(target: &'a str) -> Request<'a> {
        Request {
            method: "GET",
            target,
            body: &[],
        }
    }

    pub(super) fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// All after the question mark.
    pub(super) fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// A parameter's value, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut pairs = self.query().split('&');
        pairs.find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| decoded(value))
        })
    }
}

/// A value without its percent signs and pluses.
fn decoded(value: &str) -> Cow<'_, str> {
    if !value.contains(['%', '+']) {
        return Cow::Borrowed(value);
    }
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
                match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
                    Some(byte) => {
                        bytes.push(byte);
                        rest = &after[2..];
                    }
                    None => bytes.push(b'%'),
                }
            }
            other => bytes.push(*other),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// 200 and the like.
    pub status: u16,
    /// Names and values, `Content-Type` among them, `Content-Length` not.
    pub headers: Vec<(&'static str, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Response {
    pub(super) fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Response {
        let headers = vec![
            ("Content-Type", kind.to_owned()),
            ("X-Content-Type-Options", "nosniff".to_owned()),
            ("Cache-Control", "no-store".to_owned()),
        ];
        Response {
            status,
            headers,
            body: body.into(),
        }
    }

    pub(super) fn text(status: u16, text: &str) -> Response {
        Response::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Response {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |(n, _): &&(&str, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().find(is_it).map(|(_, v)| v.as_str())
    }

    /// As it is written on the wire; without the body to the method `HEAD`.
    pub(super) fn to_bytes(&self, keep_alive: bool, with_body: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let length = self.body.len();
        for (name, value) in &self.headers {
            // A string takes everything.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(
            head,
            "Content-Length: {length}\r\nConnection: {connection}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        if with_body {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// Bytes of a head at most, and of a body.
pub(super) const HEAD: usize = 16 << 10;
const BODY: usize = 1 << 20;
/// Header fields at most.
const FIELDS: usize = 64;

/// A request's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: String,
    /// The path and what follows.
    pub target: String,
    /// Bytes of the body.
    pub body: usize,
    /// Whether more requests may come on the connection.
    pub keep_alive: bool,
    /// The name under which the client knows the server.
    pub host: Option<String>,
    /// Whether a browser sent it on behalf of a page of another origin, other than by a link that somebody followed.
    pub is_foreign: bool,
}

/// What has come of a request so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not the whole head.
    Partial,
    /// The head, and its length in bytes.
    Whole(Head, usize),
    /// It cannot be answered; the status says why.
    Refused(u16),
}

/// Reads a head. What comes after it is left alone.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let len = match request.parse(&bytes[..bytes.len().min(HEAD)]) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD => return Parsed::Refused(431),
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => return Parsed::Refused(431),
        Err(_) => return Parsed::Refused(400),
    };
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Parsed::Refused(400);
    };
    let mut head = Head {
        method: method.to_owned(),
        target: target.to_owned(),
        body: 0,
        keep_alive: request.version == Some(1),
        host: None,
        is_foreign: false,
    };
    let (mut length, mut is_cross, mut is_followed) = (None, false, false);
    for field in request.headers {
        let Ok(value) = std::str::from_utf8(field.value) else {
            continue;
        };
        let value = value.trim();
        match field.name.to_ascii_lowercase().as_str() {
            "content-length" => match value.parse::<usize>() {
                // Two lengths are how requests are smuggled.
                Ok(n) if length.is_none_or(|length| length == n) => length = Some(n),
                _ => return Parsed::Refused(400),
            },
            "transfer-encoding" => return Parsed::Refused(501),
            "connection" if value.eq_ignore_ascii_case("close") => head.keep_alive = false,
            "host" => head.host = Some(value.to_owned()),
            "sec-fetch-site" => is_cross = matches!(value, "cross-site" | "same-site"),
            "sec-fetch-dest" => is_followed = value == "document",
            _ => {}
        }
    }
    head.body = length.unwrap_or(0);
    head.is_foreign = is_cross && !is_followed;
    if head.body > BODY {
        return Parsed::Refused(413);
    }
    Parsed::Whole(head, len)
}

/// Whether a server on this machine's own addresses is meant by that name, and not by one that somebody made to lead here.
pub fn is_own_name(host: Option<&str>) -> bool {
    let Some(host) = host else { return true };
    if host.parse::<std::net::SocketAddr>().is_ok() || host.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Head {
        match parse(text.as_bytes()) {
            Parsed::Whole(head, len) => {
                assert_eq!(len, text.len());
                head
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text = "POST /a?b=1 HTTP/1.1\r\nHost: localhost:6060\r\ncontent-length: 5\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..cut]), Parsed::Partial, "{cut}");
        }
        let head = whole(text);
        assert_eq!(
            (head.method.as_str(), head.target.as_str()),
            ("POST", "/a?b=1")
        );
        assert_eq!((head.body, head.keep_alive), (5, true));
        assert_eq!(head.host.as_deref(), Some("localhost:6060"));
        assert!(!whole("GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(!whole("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").keep_alive);
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let refused = |text: &str, status| {
            assert_eq!(parse(text.as_bytes()), Parsed::Refused(status), "{text}");
        };
        refused("GET\r\n\r\n", 400);
        refused("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400);
        refused(
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        );
        refused("GET / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", 413);
        refused("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501);
        refused(&format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(HEAD)), 431);
        let many = "A: b\r\n".repeat(FIELDS + 1);
        refused(&format!("GET / HTTP/1.1\r\n{many}\r\n"), 431);
    }

    #[test]
    fn foreign_pages_are_told_from_links() {
        let of = |fields: &str| whole(&format!("GET / HTTP/1.1\r\n{fields}\r\n")).is_foreign;
        assert!(!of(""));
        assert!(!of(
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Dest: empty\r\n"
        ));
        assert!(of(
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: empty\r\n"
        ));
        assert!(of(
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: iframe\r\n"
        ));
        assert!(!of(
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n"
        ));
    }

    #[test]
    fn names_of_this_machine() {
        for name in [
            "localhost",
            "localhost:6060",
            "a.localhost:1",
            "127.0.0.1:6060",
            "[::1]:6060",
            "[::1]",
            "10.0.0.7",
        ] {
            assert!(is_own_name(Some(name)), "{name}");
        }
        for name in [
            "example.org",
            "example.org:6060",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "",
        ] {
            assert!(!is_own_name(Some(name)), "{name}");
        }
        assert!(is_own_name(None));
    }

    #[test]
    fn parameters_are_decoded() {
        let request = Request::get("/x?seconds=5&q=a%20b+c%2&debug");
        assert_eq!(request.path(), "/x");
        assert_eq!(request.parameter("seconds").as_deref(), Some("5"));
        assert_eq!(request.parameter("q").as_deref(), Some("a b c%2"));
        assert_eq!(request.parameter("debug").as_deref(), Some(""));
        assert_eq!(request.parameter("second"), None);
    }

    #[test]
    fn a_response_on_the_wire() {
        let response = Response::text(404, "no");
        let text = String::from_utf8(response.to_bytes(true, true)).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 404 Not Found\r\nContent-Type: text/plain"),
            "{text}"
        );
        assert!(
            text.ends_with("Content-Length: 3\r\nConnection: keep-alive\r\n\r\nno\n"),
            "{text}"
        );
        let head = String::from_utf8(response.to_bytes(false, false)).unwrap();
        assert!(head.ends_with("Connection: close\r\n\r\n"), "{head}");
    }
}
