//! A small client of the Redis protocol (RESP2): one command at a time, with a time limit on everything.
//!
//! Its own code and not the example's, so that an error in the server's understanding of the protocol is not shared by
//! whoever looks at it. Source: the protocol's specification, redis.io/docs/latest/develop/reference/protocol-spec.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer that this tool asks for is longer.
const LONGEST: usize = 16 << 20;

/// Lists within lists that an answer may have: reading one takes stack for each.
const DEEPEST: usize = 32;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR ...`
    Error(String),
    /// `:1`
    Integer(i64),
    /// A string; `None` is the null string.
    Bulk(Option<Vec<u8>>),
    /// A list; `None` is the null list.
    List(Option<Vec<Reply>>),
}

/// A connection to a server.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers within `limit`.
    pub fn connect(address: SocketAddr, limit: Duration) -> Result<Client, String> {
        let connect = || {
            let stream = TcpStream::connect_timeout(&address, limit)?;
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(limit))?;
            stream.set_nodelay(true)?;
            Ok(BufReader::new(stream))
        };
        match connect() {
            Ok(stream) => Ok(Client { stream }),
            Err(why) => {
                let why: std::io::Error = why;
                Err(format!("cannot connect to {address}: {why}"))
            }
        }
    }

    /// Sends a command and reads its answer. After an error the connection is of no more use.
    ///
    /// # Errors
    /// When the connection fails, the answer takes too long, or it is no RESP.
    pub fn command(&mut self, words: &[&str]) -> Result<Reply, String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let sent = self.stream.get_mut().write_all(request.as_bytes());
        sent.map_err(|why| format!("cannot send {}: {why}", words.join(" ")))?;
        read(&mut self.stream).map_err(|why| format!("no answer to {}: {why}", words.join(" ")))
    }

    /// Sends a command whose answer is a string.
    ///
    /// # Errors
    /// As [`Client::command`], and when the answer is anything else.
    pub fn text(&mut self, words: &[&str]) -> Result<String, String> {
        match self.command(words)? {
            Reply::Bulk(Some(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Reply::Simple(text) => Ok(text),
            other => Err(format!("the answer to {} is {other:?}", words.join(" "))),
        }
    }
}

/// Reads one answer.
///
/// # Errors
/// When `from` fails or ends, or what it gives is no RESP.
pub fn read(from: &mut impl BufRead) -> Result<Reply, String> {
    read_within(from, DEEPEST)
}

/// The same, for an answer with at most `depth` lists around one another.
fn read_within(from: &mut impl BufRead, depth: usize) -> Result<Reply, String> {
    let mut line = Vec::new();
    let got = from.take(LONGEST as u64).read_until(b'\n', &mut line);
    got.map_err(|why| why.to_string())?;
    let line = line
        .strip_suffix(b"\r\n")
        .ok_or("the connection was closed")?;
    let line = String::from_utf8_lossy(line);
    let mut characters = line.chars();
    let kind = characters.next().ok_or("an empty line")?;
    let rest = characters.as_str();
    let number = || {
        rest.parse::<i64>()
            .map_err(|_| format!("`{line}` holds no number"))
    };
    match kind {
        '+' => Ok(Reply::Simple(rest.to_owned())),
        '-' => Ok(Reply::Error(rest.to_owned())),
        ':' => Ok(Reply::Integer(number()?)),
        '$' => Ok(Reply::Bulk(match length(number()?)? {
            None => None,
            Some(length) => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes).map_err(|why| why.to_string())?;
                bytes.truncate(length);
                Some(bytes)
            }
        })),
        '*' => Ok(Reply::List(match length(number()?)? {
            None => None,
            Some(_) if depth == 0 => return Err("lists within lists without end".to_owned()),
            Some(length) => {
                let elements = (0..length).map(|_| read_within(from, depth - 1));
                Some(elements.collect::<Result<_, _>>()?)
            }
        })),
        _ => Err(format!("`{line}` is no answer")),
    }
}

/// A length; -1 stands for null.
fn length(number: i64) -> Result<Option<usize>, String> {
    match usize::try_from(number) {
        Ok(length) if length <= LONGEST => Ok(Some(length)),
        Err(_) if number == -1 => Ok(None),
        _ => Err(format!("a length of {number}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn reads_every_kind_of_answer() {
        let bytes: &[u8] =
            b"+OK\r\n-ERR no\r\n:-7\r\n$5\r\na\r\nbc\r\n$-1\r\n*2\r\n:1\r\n$0\r\n\r\n*-1\r\n";
        let mut from = bytes;
        let replies: Vec<_> = (0..7).map(|_| read(&mut from).unwrap()).collect();
        let expected = [
            Reply::Simple("OK".to_owned()),
            Reply::Error("ERR no".to_owned()),
            Reply::Integer(-7),
            Reply::Bulk(Some(b"a\r\nbc".to_vec())),
            Reply::Bulk(None),
            Reply::List(Some(vec![Reply::Integer(1), Reply::Bulk(Some(Vec::new()))])),
            Reply::List(None),
        ];
        assert_eq!(replies, expected);
        assert!(from.is_empty());
    }

    #[test]
    fn refuses_what_is_no_answer() {
        for bytes in [
            "",
            "+OK",
            "hello\r\n",
            ":x\r\n",
            "$-2\r\n",
            "$99999999999\r\n",
            "$3\r\na",
        ] {
            assert!(read(&mut bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        let nested = "*1\r\n".repeat(100_000) + ":1\r\n";
        assert!(read(&mut nested.as_bytes()).is_err());
    }

    #[test]
    fn talks_to_a_server_and_gives_up_on_one_that_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 14];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(b"$4\r\nPONG\r\n").unwrap();
            (request, stream)
        });
        let mut client = Client::connect(address, Duration::from_millis(300)).unwrap();
        assert_eq!(client.text(&["PING"]).unwrap(), "PONG");
        let (request, _open) = server.join().unwrap();
        assert_eq!(&request, b"*1\r\n$4\r\nPING\r\n");
        assert!(client.text(&["PING"]).is_err());
    }
}
