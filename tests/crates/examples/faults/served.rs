//! The subject: three services, each connection of which is a goroutine.
//!
//! The store's protocol is lines: `SET key version length` and so many bytes, answered with `OK`; `GET key`, answered with `VALUE version length` and the bytes, or `NONE`; `PANIC`.

use crate::http;
use crate::store::{Journal, Store};
use goruntime::gc::{self, Gc};
use goruntime::net::{TcpListener, TcpStream};
use goruntime::time::{Duration, sleep};
use goruntime::{Builder, go};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tungstenite::Message;

/// What handlers panic with when they are asked to.
pub const ON_PURPOSE: &str = "on purpose";

/// Sessions begun, sessions whose object was found dead, panics that nobody asked for.
pub static STARTED: AtomicU64 = AtomicU64::new(0);
pub static CLEANED: AtomicU64 = AtomicU64::new(0);
pub static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

/// Serves until standard input ends.
pub fn run(journal: &str) -> io::Result<()> {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&ON_PURPOSE) {
            UNEXPECTED.fetch_add(1, Relaxed);
            report(panic);
        }
    }));
    let store = Arc::new(Store::default());
    let journal = Journal::open(journal)?;
    let addresses = [
        listen(move |stream| keyed(&stream, &store, &journal))?,
        listen(|stream| http::session(&stream))?,
        listen(conversation)?,
    ];
    println!(
        "listening {} {} {}",
        addresses[0], addresses[1], addresses[2]
    );
    goruntime::blocking(|| io::copy(&mut io::stdin(), &mut io::sink()))?;
    Ok(())
}

fn listen(
    serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    go(move || {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                sleep(Duration::from_millis(5));
                continue;
            };
            let serve = serve.clone();
            // Refused when there is no memory for a stack. Then the peer sees that its connection is closed, and nothing else happens.
            let _ = Builder::new().spawn(move || {
                let session = Gc::new(STARTED.fetch_add(1, Relaxed));
                gc::add_cleanup(session, |()| _ = CLEANED.fetch_add(1, Relaxed), ());
                let _ = serve(stream);
                gc::keep_alive(session);
            });
        }
    });
    Ok(address)
}

/// The store's service.
fn keyed(stream: &TcpStream, store: &Store, journal: &Journal) -> io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        match (words.first().copied(), number(1), number(2), number(3)) {
            (Some("SET"), Some(key), Some(version), Some(length)) => {
                let mut bytes = vec![0; length as usize];
                reader.read_exact(&mut bytes)?;
                if !journal.note(key, version) {
                    return Ok(());
                }
                store.set(key, version, &bytes);
                writer.write_all(b"OK\n")?;
            }
            (Some("GET"), Some(key), ..) => match store.get(key) {
                Some(entry) => {
                    let bytes = entry.bytes.as_slice();
                    let mut answer =
                        format!("VALUE {} {}\n", entry.version, bytes.len()).into_bytes();
                    answer.extend(bytes);
                    writer.write_all(&answer)?;
                }
                None => writer.write_all(b"NONE\n")?,
            },
            (Some("PANIC"), ..) => std::panic::panic_any(ON_PURPOSE),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Says again what it is told.
fn conversation(stream: TcpStream) -> io::Result<()> {
    let mut socket = tungstenite::accept(stream).map_err(io::Error::other)?;
    while let Ok(message) = socket.read() {
        match message {
            Message::Text(text) if text.as_str() == "panic" => std::panic::panic_any(ON_PURPOSE),
            Message::Text(_) | Message::Binary(_) => {
                socket.send(message).map_err(io::Error::other)?;
            }
            _ => {}
        }
    }
    Ok(())
}
