//! The server's parser of requests: however the stream is cut the same comes out, a plain parser reads the same, and what came
//! out comes out again when it is written.

use crate::foreign::requests::{Parser, Progress, ProtocolError};

/// Small, so that lengths beyond it are found.
const BULK_LIMIT: usize = 300;

type Request = Vec<Vec<u8>>;

pub fn run(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let whole = feed(stream, stream.len().max(1));
    for piece in [1, 1 + usize::from(cut)] {
        assert_eq!(feed(stream, piece), whole, "in pieces of {piece}");
    }
    let (requests, _) = whole;
    let plain = plainly(stream);
    assert_eq!(requests.get(..plain.len()), Some(&plain[..]));
    // A word of a line may be longer than what is sent by length.
    if requests
        .iter()
        .flatten()
        .any(|argument| argument.len() > BULK_LIMIT)
    {
        return;
    }
    let written: Vec<u8> = requests.iter().flat_map(|request| write(request)).collect();
    assert_eq!(feed(&written, 7), (requests, None));
}

/// What a connection gets that receives `piece` bytes at a time: the requests that are not empty, and the error.
fn feed(stream: &[u8], piece: usize) -> (Vec<Request>, Option<ProtocolError>) {
    let mut parser = Parser::new();
    let (mut requests, mut start, mut end) = (Vec::new(), 0, 0);
    loop {
        match parser.parse(&stream[start..end], BULK_LIMIT) {
            Ok(Progress::Request(length)) => {
                let args = parser.args(&stream[start..end]);
                if !args.is_empty() {
                    requests.push(args.from(0).map(<[u8]>::to_vec).collect());
                }
                start += length;
            }
            Ok(Progress::Incomplete(more)) => {
                assert!(more > 0);
                if end == stream.len() {
                    return (requests, None);
                }
                end = stream.len().min(end + piece);
            }
            Err(error) => return (requests, Some(error)),
        }
    }
}

/// The requests up to the first that is no complete array, by someone who has the whole stream in hand.
fn plainly(mut stream: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    while let Some((request, rest)) = array(stream) {
        if !request.is_empty() {
            requests.push(request);
        }
        stream = rest;
    }
    requests
}

fn array(stream: &[u8]) -> Option<(Request, &[u8])> {
    let (count, mut rest) = header(b'*', stream)?;
    let mut request = Vec::new();
    // A count that is not positive is an empty request.
    for _ in 0..count.max(0) {
        let (length, contents) = header(b'$', rest)?;
        let length = usize::try_from(length).ok()?;
        if length > BULK_LIMIT {
            return None;
        }
        request.push(contents.get(..length)?.to_vec());
        rest = contents.get(length + 2..)?;
    }
    Some((request, rest))
}

/// The number in a line that starts with `kind`, written as it would be printed, and what follows the line.
fn header(kind: u8, stream: &[u8]) -> Option<(i32, &[u8])> {
    let end = stream.iter().position(|&byte| byte == b'\r')?;
    let text = std::str::from_utf8(&stream[..end]).ok()?;
    let digits = text.strip_prefix(char::from(kind))?;
    let number: i32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some((number, stream.get(end + 2..)?))
}

fn write(request: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
    for argument in request {
        bytes.extend(format!("${}\r\n", argument.len()).bytes());
        bytes.extend(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}
