//! An HTTP/1.1 server in blocking style: it reads requests as they come, in one piece or several, and writes the answers to all that are there at once.

use bench::workloads::net::HELLO;
use goruntime::net::TcpStream;
use std::io::{self, Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest head of a request.
const HEAD: usize = 8 << 10;

/// The most header fields of a request.
const FIELDS: usize = 64;

/// Serves one connection until the client closes it.
pub fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut room, mut end) = (vec![0; HEAD], 0);
    let (mut date, mut answers) = (Date::default(), Vec::new());
    loop {
        match stream.read(&mut room[end..])? {
            0 => return Ok(()),
            n => end += n,
        }
        let mut start = 0;
        while let Some(length) = request(&room[start..end])? {
            start += length;
            answer(date.now(), &mut answers);
        }
        room.copy_within(start..end, 0);
        end -= start;
        stream.write_all(&answers)?;
        answers.clear();
    }
}

/// The length of the first request, if it is whole. One with a body is refused.
fn request(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let status = request.parse(bytes).map_err(io::Error::other)?;
    let has_body = |field: &httparse::Header<'_>| {
        field.name.eq_ignore_ascii_case("content-length")
            || field.name.eq_ignore_ascii_case("transfer-encoding")
    };
    match status {
        httparse::Status::Complete(_) if request.headers.iter().any(has_body) => {
            Err(io::Error::other("a request has a body"))
        }
        httparse::Status::Complete(length) => Ok(Some(length)),
        httparse::Status::Partial if bytes.len() == HEAD => {
            Err(io::Error::other("the head of a request is too long"))
        }
        httparse::Status::Partial => Ok(None),
    }
}

fn answer(date: &str, into: &mut Vec<u8>) {
    let length = HELLO.len();
    write!(
        into,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nDate: {date}\r\n\r\n"
    )
    .expect("memory takes all");
    into.extend_from_slice(HELLO);
}

/// The date as text, which is made anew when the second has passed.
#[derive(Default)]
struct Date {
    second: u64,
    text: String,
}

impl Date {
    fn now(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = httpdate::fmt_http_date(now);
        }
        &self.text
    }
}
