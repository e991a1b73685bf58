//! An HTTP/1.1 server on `httparse`, for the client to talk to: it keeps connections open, and answers with what it was sent, upside down.

use std::io::{self, Read, Write};

/// Serves a connection until the peer ends it.
pub fn serve(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let head = match head(&buffer)? {
            Some(head) => head,
            None if fill(&mut stream, &mut buffer)? => continue,
            None => return Ok(()),
        };
        let mut body = buffer.split_off(head.end);
        while body.len() < head.length {
            if !fill(&mut stream, &mut body)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        buffer = body.split_off(head.length);
        body.reverse();
        let mut answer = format!("HTTP/1.1 200 OK\r\nX-Path: {}\r\n", head.path).into_bytes();
        if head.chunked {
            answer.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(1000) {
                answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
                answer.extend(chunk);
                answer.extend(b"\r\n");
            }
            answer.extend(b"0\r\n\r\n");
        } else {
            answer.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            answer.extend(body);
        }
        stream.write_all(&answer)?;
        stream.flush()?;
    }
}

struct Head {
    /// Where the body begins.
    end: usize,
    path: String,
    length: usize,
    /// The answer is to come in pieces.
    chunked: bool,
}

fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(end) => {
            let path = request.path.unwrap_or_default().to_owned();
            let length = request
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"))
                .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
            Ok(Some(Head {
                end,
                chunked: path.starts_with("/chunked"),
                path,
                length: length.unwrap_or(0),
            }))
        }
    }
}

/// Reads some more; false at the end.
fn fill(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut part = [0; 4096];
    let n = stream.read(&mut part)?;
    buffer.extend(&part[..n]);
    Ok(n > 0)
}
