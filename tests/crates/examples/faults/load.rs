//! Clients: goroutines that know what they should be answered.

use crate::disk::Disk;
use crate::http;
use crate::random::{Random, value};
use goruntime::net::TcpStream;
use goruntime::time::{Duration, Instant, sleep};
use goruntime::{JoinHandle, go};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tungstenite::Message;

/// An answer that takes longer never comes: no fault lasts for so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Clients of the store, of HTTP, of WebSockets.
const CLIENTS: [u64; 3] = [32, 8, 8];

/// Keys of each client of the store, which writes to no others.
const KEYS: u64 = 16;

/// What clients share.
pub struct Shared {
    /// The store's address, that of HTTP and that of WebSockets.
    pub addresses: [SocketAddr; 3],
    pub disk: Disk,
    pub over: AtomicBool,
    /// Answers that were right.
    pub done: AtomicU64,
    /// Writes that were acknowledged.
    pub acknowledged: AtomicU64,
    /// Connections that ended before their client wanted.
    pub broken: AtomicU64,
    /// Connections that their client reset, and handlers that it had panic.
    pub injected: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// A key, and the versions of its value that were sent and acknowledged.
#[derive(Clone, Copy)]
pub struct Key {
    pub name: u64,
    pub sent: u64,
    pub acknowledged: u64,
}

type Load = (Vec<JoinHandle<Vec<Key>>>, Vec<JoinHandle<()>>);

impl Shared {
    pub fn new(addresses: [SocketAddr; 3], disk: Disk) -> Shared {
        Shared {
            addresses,
            disk,
            over: AtomicBool::new(false),
            done: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            injected: AtomicU64::new(0),
            wrong: Mutex::default(),
        }
    }

    /// Something is not as it must be.
    pub fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        // The first few tell enough.
        if wrong.len() < 20 {
            wrong.push(what);
        }
    }

    pub fn all_wrong(&self) -> Vec<String> {
        self.wrong
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn connect(&self, service: usize) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.addresses[service], PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_deadline(Some(Instant::now() + PATIENCE));
        stream.set_write_deadline(Some(Instant::now() + PATIENCE));
        Ok(stream)
    }

    /// Has `talk` on one connection after the other.
    fn keep_talking(&self, mut talk: impl FnMut() -> io::Result<()>) {
        while !self.over.load(Relaxed) {
            let Err(error) = talk() else { continue };
            match error.kind() {
                io::ErrorKind::TimedOut => self.wrong(format!("no answer for {PATIENCE:?}")),
                io::ErrorKind::InvalidData => self.wrong(error.to_string()),
                _ => _ = self.broken.fetch_add(1, Relaxed),
            }
            sleep(Duration::from_millis(2));
        }
    }
}

/// Starts all clients.
pub fn start(shared: &Arc<Shared>) -> Load {
    let clients = |which: usize| (0..CLIENTS[which]).map(|n| (n, shared.clone()));
    let keyed = clients(0).map(|(n, shared)| go(move || store_client(n, &shared)));
    let http = clients(1).map(|(n, shared)| go(move || http_client(n, &shared)));
    let sockets = clients(2).map(|(n, shared)| go(move || socket_client(n, &shared)));
    (keyed.collect(), http.chain(sockets).collect())
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Has the peer see a reset instead of an end.
fn reset(shared: &Shared, stream: &TcpStream) -> io::Result<()> {
    shared.injected.fetch_add(1, Relaxed);
    stream.set_linger(Some(Duration::ZERO))
}

/// The handler panics: the connection ends without an answer.
fn see_end(shared: &Shared, mut stream: impl Read) -> io::Result<()> {
    shared.injected.fetch_add(1, Relaxed);
    match stream.read(&mut [0; 1]) {
        Ok(1..) => Err(wrong("an answer of a handler that has panicked".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(error),
        _ => Ok(()),
    }
}

fn store_client(client: u64, shared: &Shared) -> Vec<Key> {
    let key = |n| Key {
        name: client * KEYS + n,
        sent: 0,
        acknowledged: 0,
    };
    let mut keys: Vec<Key> = (0..KEYS).map(key).collect();
    let mut random = Random::new(client);
    shared.keep_talking(|| store_talk(shared, &mut keys, &mut random));
    keys
}

fn store_talk(shared: &Shared, keys: &mut [Key], random: &mut Random) -> io::Result<()> {
    let stream = shared.connect(0)?;
    let (mut reader, mut writer) = (BufReader::new(&stream), &stream);
    for _ in 0..random.below(100) {
        let key = &mut keys[random.below(KEYS) as usize];
        match random.below(200) {
            0 => {
                writer.write_all(b"PANIC\n")?;
                return see_end(shared, reader);
            }
            // In the middle of a write, or behind it.
            1 => {
                let text = set(key);
                writer.write_all(&text[..random.below(text.len() as u64 + 1) as usize])?;
                return reset(shared, &stream);
            }
            2..100 => {
                writer.write_all(&set(key))?;
                let mut line = String::new();
                reader.read_line(&mut line)?;
                match line.as_str() {
                    "OK\n" => key.acknowledged = key.sent,
                    "" => return Err(io::ErrorKind::UnexpectedEof.into()),
                    line => return Err(wrong(format!("a write was answered with {line:?}"))),
                }
                shared.acknowledged.fetch_add(1, Relaxed);
            }
            _ => get(*key, &mut reader, writer)?,
        }
        shared.done.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// The next write to a key.
fn set(key: &mut Key) -> Vec<u8> {
    key.sent += 1;
    let bytes = value(key.name, key.sent);
    let mut text = format!("SET {} {} {}\n", key.name, key.sent, bytes.len()).into_bytes();
    text.extend(bytes);
    text
}

fn get(key: Key, reader: &mut impl BufRead, mut writer: impl Write) -> io::Result<()> {
    writeln!(writer, "GET {}", key.name)?;
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let (version, bytes) = match words[..] {
        ["NONE"] => (0, Vec::new()),
        ["VALUE", version, length] => {
            let number = |word: &str| word.parse::<u64>().map_err(|_| wrong(line.clone()));
            let mut bytes = vec![0; number(length)? as usize];
            reader.read_exact(&mut bytes)?;
            (number(version)?, bytes)
        }
        _ => return Err(wrong(format!("a read was answered with {line:?}"))),
    };
    if !(key.acknowledged..=key.sent).contains(&version) {
        return Err(wrong(format!(
            "key {}: version {version}, acknowledged {}, sent {}",
            key.name, key.acknowledged, key.sent
        )));
    }
    if version > 0 && bytes != value(key.name, version) {
        return Err(wrong(format!("key {}: other bytes", key.name)));
    }
    Ok(())
}

/// Looks whether what was acknowledged is in the store and in the journal.
pub fn verify(shared: &Shared, keys: &[Key]) -> io::Result<()> {
    let stream = shared.connect(0)?;
    let (mut reader, writer) = (BufReader::new(&stream), &stream);
    for key in keys {
        get(*key, &mut reader, writer)?;
        let deadline = Instant::now() + PATIENCE;
        while shared.disk.version(key.name) < key.acknowledged {
            if Instant::now() > deadline {
                return Err(wrong(format!("key {} is not in the journal", key.name)));
            }
            sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Asks the HTTP service for something on a connection of its own.
pub fn ask(shared: &Shared, path: &str) -> io::Result<String> {
    let stream = shared.connect(1)?;
    let body = request(&mut BufReader::new(&stream), &stream, path)?;
    String::from_utf8(body).map_err(io::Error::other)
}

fn request(reader: &mut impl BufRead, mut writer: impl Write, path: &str) -> io::Result<Vec<u8>> {
    writer.write_all(format!("GET {path} HTTP/1.1\r\nHost: subject\r\n\r\n").as_bytes())?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if let Some(number) = line.strip_prefix("Content-Length: ") {
            length = number.trim().parse().map_err(|_| wrong(line.clone()))?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn http_client(client: u64, shared: &Shared) {
    let mut random = Random::new(1000 + client);
    shared.keep_talking(|| {
        let stream = shared.connect(1)?;
        let mut reader = BufReader::new(&stream);
        for _ in 0..random.below(30) {
            match random.below(60) {
                0 => {
                    (&stream).write_all(b"GET /panic HTTP/1.1\r\n\r\n")?;
                    return see_end(shared, reader);
                }
                // In the middle of the answer.
                1..4 => {
                    (&stream).write_all(b"GET /bytes HTTP/1.1\r\n\r\n")?;
                    reader.read_exact(&mut [0; 10_000])?;
                    return reset(shared, &stream);
                }
                4..20 => {
                    let bytes = request(&mut reader, &stream, "/bytes")?.len();
                    if bytes != http::BYTES {
                        return Err(wrong(format!("{bytes} bytes")));
                    }
                }
                _ => {
                    let objects = request(&mut reader, &stream, "/tree")?;
                    if objects != http::TREE.to_string().into_bytes() {
                        return Err(wrong(format!("a tree of {objects:?} objects")));
                    }
                }
            }
            shared.done.fetch_add(1, Relaxed);
        }
        Ok(())
    });
}

fn socket_client(client: u64, shared: &Shared) {
    let mut random = Random::new(2000 + client);
    shared.keep_talking(|| {
        let stream = shared.connect(2)?;
        let url = format!("ws://{}/", shared.addresses[2]);
        let (mut socket, _) =
            tungstenite::client(url, &stream).map_err(|_| io::ErrorKind::BrokenPipe)?;
        for n in 0..random.below(50) {
            let message = match random.below(100) {
                0 => Message::text("panic"),
                1 => return reset(shared, &stream),
                2..50 => Message::text(format!("message {n} of {client}")),
                _ => Message::binary(value(client, n)),
            };
            let sent = socket.send(message.clone());
            if message == Message::text("panic") {
                return see_end(shared, &stream);
            }
            match sent.and_then(|()| socket.read()) {
                Ok(answer) if answer == message => {}
                Ok(answer) => return Err(wrong(format!("{message} was answered with {answer}"))),
                Err(tungstenite::Error::Io(error)) => return Err(error),
                Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            shared.done.fetch_add(1, Relaxed);
        }
        Ok(())
    });
}
