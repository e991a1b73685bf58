//! What a client wants: HTTP/1.1 with bodies that have a length, and limits on everything.
//!
//! What could be understood in two ways is refused, lest somebody between the client and here understand it in the other.

use std::io::{self, BufRead, ErrorKind, Read};

/// The longest head of a request, in bytes.
pub const HEAD: u64 = 16 << 10;
/// The longest body.
pub const BODY: u64 = 1 << 20;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    /// How long the body is.
    fn length(&self) -> Result<u64, u16> {
        let Some(length) = self.header("content-length") else {
            return Ok(0);
        };
        let differs =
            |(name, value): &(String, String)| name == "content-length" && value != length;
        let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || self.headers.iter().any(differs) {
            return Err(400);
        }
        match length.parse() {
            Ok(length @ 0..=BODY) => Ok(length),
            _ => Err(413),
        }
    }
}

/// The next request; `None` at the end, and the status to answer with if it cannot be understood.
pub fn read(reader: &mut impl BufRead) -> Result<Option<Request>, u16> {
    let mut head = reader.by_ref().take(HEAD);
    let Some(first) = line(&mut head)? else {
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
        let header = line(&mut head)?.ok_or(400u16)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or(400u16)?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(400);
        }
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
    let mut body = vec![0; request.length()? as usize];
    let got = reader.read_exact(&mut body);
    got.map_err(|error| status(&error))?;
    request.body = body;
    Ok(Some(request))
}

/// The next line of the head without its end; `None` at the end of everything.
fn line(head: &mut io::Take<impl BufRead>) -> Result<Option<String>, u16> {
    let mut line = Vec::new();
    let got = head.read_until(b'\n', &mut line);
    if got.map_err(|error| status(&error))? == 0 && head.limit() > 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(if head.limit() == 0 { 431 } else { 400 });
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map(Some).map_err(|_| 400)
}

fn status(error: &io::Error) -> u16 {
    match error.kind() {
        ErrorKind::TimedOut => 408,
        _ => 400,
    }
}
