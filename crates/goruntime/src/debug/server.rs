//! The server: a goroutine that accepts, and one for each connection.
//!
//! Bounds: sixty-four connections, ten seconds for a request to come in, thirty for a response to be taken, a minute between requests. Beyond them a connection is
//! closed; nothing is kept for it.

use super::http::{self, Parsed, Request, Response};
use super::respond;
use crate::net::{TcpListener, TcpStream};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 64;
const TO_ASK: Duration = Duration::from_secs(10);
const TO_TAKE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);

/// A server that runs. Dropped, it goes on.
#[derive(Clone, Debug)]
pub struct Server {
    listener: Arc<TcpListener>,
    address: SocketAddr,
}

impl Server {
    /// Where it listens: the port that was found, if it was asked for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections. Requests that are being answered still are.
    pub fn close(&self) {
        self.listener.close();
    }
}

/// Serves the pages of [`debug`](super) from now on, and begins to sample allocations ([`start_heap`](crate::profile::start_heap)). From goroutines and threads; it does not
/// wait.
///
/// # Errors
/// `InvalidInput` if the address is not this machine's own (loopback), for which there is [`serve_anyone`]; the system's.
///
/// ```
/// let server = goruntime::debug::serve("127.0.0.1:0")?;
/// println!("http://{}/debug/", server.local_addr());
/// # server.close();
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn serve(addresses: impl ToSocketAddrs) -> io::Result<Server> {
    let listener = TcpListener::bind(addresses)?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{address} can be reached from elsewhere, and these pages show the program's inside to whoever asks: \
                 take 127.0.0.1, or `serve_anyone` where everybody may look"
            ),
        ));
    }
    start(listener, address, true)
}

/// As [`serve`], on any address, to whoever reaches it: see [who may look](super#who-may-look).
///
/// # Errors
/// The system's.
pub fn serve_anyone(addresses: impl ToSocketAddrs) -> io::Result<Server> {
    let listener = TcpListener::bind(addresses)?;
    let address = listener.local_addr()?;
    start(listener, address, false)
}

fn start(listener: TcpListener, address: SocketAddr, own_names: bool) -> io::Result<Server> {
    crate::profile::start_heap();
    let listener = Arc::new(listener);
    let accepting = listener.clone();
    let goroutine = crate::Builder::new().name("debug server");
    goroutine
        .spawn(move || accept(&accepting, own_names))
        .map_err(io::Error::other)?;
    Ok(Server { listener, address })
}

fn accept(listener: &TcpListener, own_names: bool) {
    /// After an error that may pass, as when there are no descriptors.
    const PAUSE: Duration = Duration::from_millis(50);
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let Some(counted) = Counted::new(&open) else {
                    continue; // closes it
                };
                let goroutine = crate::Builder::new().name("debug connection");
                // Without memory for a goroutine the connection is closed.
                let _ = goroutine.spawn(move || {
                    let _counted = counted;
                    // The client has gone, or did not keep to the times.
                    let _ = converse(stream, own_names);
                });
            }
            Err(why) if why.kind() == ErrorKind::NotConnected => return,
            Err(_) => gosched::sleep(PAUSE),
        }
    }
}

/// A connection among those that are open.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Option<Counted> {
        // Counted before it is looked, so that it can be taken back by dropping.
        let counted = Counted(open.clone());
        (open.fetch_add(1, Relaxed) < CONNECTIONS).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Answers requests until there are no more.
fn converse(mut stream: TcpStream, own_names: bool) -> io::Result<()> {
    stream.set_write_timeout(Some(TO_TAKE))?;
    let mut input = Vec::new();
    loop {
        let (head, len) = match read_head(&mut stream, &mut input)? {
            Ok(head) => head,
            Err(0) => return Ok(()),
            Err(status) => {
                let refusal =
                    Response::text(status, "that is no request that can be answered here");
                stream.write_all(&refusal.to_bytes(false, true))?;
                return take_leave(&mut stream);
            }
        };
        let end = len + head.body;
        let deadline = Instant::now() + TO_ASK;
        while input.len() < end {
            if read_some(&mut stream, &mut input, deadline)? == 0 {
                return Ok(());
            }
        }
        let request = Request {
            method: &head.method,
            target: &head.target,
            body: &input[len..end],
        };
        let is_foreign = head.is_foreign || !http::is_own_name(head.host.as_deref());
        let response = if own_names && is_foreign {
            Response::text(403, "these pages are for this machine only")
        } else {
            respond(request)
        };
        let bytes = response.to_bytes(head.keep_alive, head.method != "HEAD");
        stream.write_all(&bytes)?;
        input.drain(..end);
        if !head.keep_alive {
            return Ok(());
        }
    }
}

/// Reads on for a moment: a connection that is closed with something unread is reset, and the client may not see what was answered.
fn take_leave(stream: &mut TcpStream) -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(1);
    const MOST: usize = 1 << 20;
    stream.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + PATIENCE;
    let mut rest = Vec::new();
    while rest.len() < MOST && read_some(stream, &mut rest, deadline)? > 0 {}
    Ok(())
}

/// A request's head and its length; or the status with which to refuse it, 0 if none came.
fn read_head(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
) -> io::Result<Result<(http::Head, usize), u16>> {
    let mut deadline = Instant::now() + if input.is_empty() { IDLE } else { TO_ASK };
    loop {
        match http::parse(input) {
            Parsed::Whole(head, len) => return Ok(Ok((head, len))),
            Parsed::Refused(status) => return Ok(Err(status)),
            Parsed::Partial => {}
        }
        let is_first = input.is_empty();
        match read_some(stream, input, deadline) {
            Ok(0) => return Ok(Err(0)),
            Ok(_) if is_first => deadline = Instant::now() + TO_ASK,
            Ok(_) => {}
            Err(why) if why.kind() == ErrorKind::TimedOut && !is_first => return Ok(Err(408)),
            Err(why) => return Err(why),
        }
    }
}

/// Reads what there is, waiting until `deadline` at most. Returns how much it was.
fn read_some(stream: &mut TcpStream, input: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut buffer = [0; 4096];
    let n = stream.read(&mut buffer)?;
    input.extend_from_slice(&buffer[..n]);
    Ok(n)
}
