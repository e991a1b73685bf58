//! Commands against the replies of a real Redis 7, kept in `golden.txt`.

use super::*;
use crate::clock::UnixMillis;
use crate::config::Config;
use crate::options::Options;
use crate::reply::Reply;
use crate::resp::{Parser, Progress};
use crate::server::Server;
use crate::session::Session;

const GOLDEN: &str = include_str!("../golden.txt");

struct Client {
    server: &'static Server,
    session: Session,
    parser: Parser,
}

impl Client {
    fn new() -> Client {
        let address = "127.0.0.1:1".parse().unwrap();
        let server = Server::new(Config::new(Options::default()), address);
        let server: &'static Server = Box::leak(Box::new(server));
        let session = Session::new(&server.clients, address, address);
        Client {
            server,
            session,
            parser: Parser::new(),
        }
    }

    /// The reply to an inline request, escaped.
    fn call(&mut self, line: &str) -> String {
        let line = format!("{line}\r\n");
        let parsed = self.parser.parse(line.as_bytes(), usize::MAX);
        assert_eq!(parsed, Ok(Progress::Request(line.len())), "{line}");
        let (mut reply, mut lock) = (Reply::default(), None);
        execute(&mut Call {
            args: self.parser.args(line.as_bytes()),
            reply: &mut reply,
            session: &mut self.session,
            server: self.server,
            now: UnixMillis::now(),
            name: "",
            lock: &mut lock,
        });
        reply
            .as_bytes()
            .escape_ascii()
            .to_string()
            .replace("\\'", "'")
            .replace("\\\"", "\"")
    }
}

#[test]
fn replies_are_those_of_redis() {
    let mut client = Client::new();
    let mut request = "";
    let mut compared = 0;
    let mut differences = Vec::new();
    for line in GOLDEN.lines() {
        if let Some(line) = line.strip_prefix("> ") {
            request = line;
        } else if let Some(expected) = line.strip_prefix("< ") {
            let reply = client.call(request);
            compared += 1;
            if reply != expected {
                differences.push(format!("{request}\n  redis {expected}\n  kv    {reply}"));
            }
        }
    }
    assert!(compared > 300, "only {compared} requests found");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_failed_command_leaves_no_half_reply() {
    let mut client = Client::new();
    client.call("RPUSH l a b");
    assert_eq!(
        client.call("SET l x GET"),
        "-WRONGTYPE Operation against a key holding the wrong kind of value\\r\\n"
    );
    assert_eq!(client.call("LLEN l"), ":2\\r\\n");
}

#[test]
fn expired_keys_are_gone_for_every_command() {
    let mut client = Client::new();
    for (set, read, gone) in [
        ("SET k v PXAT 1", "GET k", "$-1"),
        ("SET k v PXAT 1", "EXISTS k", ":0"),
        ("SET k v PXAT 1", "DEL k", ":0"),
        ("SET k v PXAT 1", "KEYS *", "*0"),
        ("SET k v PXAT 1", "SCAN 0", "*2\\r\\n$1\\r\\n0\\r\\n*0"),
        ("SET k v PXAT 1", "RANDOMKEY", "$-1"),
        ("SET k v PXAT 1", "RENAME k l", "-ERR no such key"),
        ("SET k 5 PXAT 1", "INCR k", ":1"),
        ("SET k v PXAT 1", "APPEND k w", ":1"),
        ("SET k v PXAT 1", "LPUSH k w", ":1"),
        ("SET k v PXAT 1", "SET k w NX", "+OK"),
        ("SET k v PXAT 1", "RENAMENX x k", "-ERR no such key"),
    ] {
        client.call("FLUSHALL");
        assert_eq!(client.call(set), "+OK\\r\\n");
        assert_eq!(client.call(read), format!("{gone}\\r\\n"), "{read}");
        let ttl = client.call("TTL k");
        assert!(
            ttl == ":-1\\r\\n" || ttl == ":-2\\r\\n",
            "{read} keeps the old deadline: {ttl}"
        );
    }
}
