//! Connecting to one of several addresses, the way Go's `Dialer` does it.
//!
//! A name mostly has addresses of both IP versions, of which one may lead nowhere without anything saying so for minutes. So the addresses of the first one's version are tried in
//! turn, and after a short delay, or as soon as they have failed, those of the other version beside them (RFC 6555, "happy eyeballs"). The first connection wins.
//!
//! The time that is left is divided evenly among the addresses that are left, though none gets less than two seconds of it.
//!
//! Invariant: of a race at most one connection outlives it, and none is begun after it. The loser is told by closing the socket that it waits for, under the lock under which it would have put
//! another one in its place, and asks before it begins another; what it has won nonetheless goes with the channel.
//!
//! Whoever looks for a connection that was left over has these cases to consider. The loser connects before it is told, or while it is: it has taken its socket back, or takes it back when the lock
//! is free, and sends it; the channel drops what nobody receives. It is told before it waits: `begin` refuses, and the socket is dropped. It is told while it waits: the wait fails.

use super::lookup::{no_address, resolve, resolve_until};
use super::{KeepAlive, TcpStream};
use crate::chan;
use crate::watched::Watched;
use gosched::poll::Direction;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the first addresses have before the others are tried too; Go's figure, of RFC 6555's range.
const FALLBACK_DELAY: Duration = Duration::from_millis(300);

/// No address gets less time than this, if it is left.
const LEAST: Duration = Duration::from_secs(2);

/// How often a connection to itself is given up for another try.
const SELF_CONNECTIONS: u32 = 3;

/// How to connect.
///
/// ```
/// use goruntime::net::{Dialer, KeepAlive, TcpListener};
/// use std::time::Duration;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let dialer = Dialer::new()
///     .timeout(Duration::from_secs(2))
///     .keep_alive(KeepAlive::default());
/// let stream = dialer.dial(&format!("localhost:{}", listener.local_addr()?.port()))?;
/// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is connected yet"]
pub struct Dialer {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    local: Option<SocketAddr>,
    fallback_delay: Option<Duration>,
    keep_alive: Option<KeepAlive>,
}

impl Default for Dialer {
    fn default() -> Dialer {
        Dialer {
            timeout: None,
            deadline: None,
            local: None,
            fallback_delay: Some(FALLBACK_DELAY),
            keep_alive: None,
        }
    }
}

impl Dialer {
    /// What [`TcpStream::connect`] uses: no limit but the system's, and a fallback after 300 ms.
    pub fn new() -> Dialer {
        Dialer::default()
    }

    /// How long it may take in all.
    pub fn timeout(mut self, timeout: Duration) -> Dialer {
        self.timeout = Some(timeout);
        self
    }

    /// By when it has to be done; if there is a timeout too, the earlier counts.
    pub fn deadline(mut self, deadline: Instant) -> Dialer {
        self.deadline = Some(deadline);
        self
    }

    /// The address to connect from; port 0 asks for a free one. Only addresses of its version are tried.
    pub fn local_addr(mut self, address: SocketAddr) -> Dialer {
        self.local = Some(address);
        self
    }

    /// How long to wait for the addresses of one IP version before those of the other are tried beside them; `None` for trying one after the other only.
    pub fn fallback_delay(mut self, delay: Option<Duration>) -> Dialer {
        self.fallback_delay = delay;
        self
    }

    /// Has the connection probe a silent peer.
    pub fn keep_alive(mut self, keep_alive: KeepAlive) -> Dialer {
        self.keep_alive = Some(keep_alive);
        self
    }

    /// Connects to `host:port`. The time that looking the name up takes is limited too.
    ///
    /// # Errors
    /// When the name is not found; `TimedOut`; otherwise that of the first address: `ECONNREFUSED`, `ENETUNREACH`, ...
    pub fn dial(&self, address: &str) -> io::Result<TcpStream> {
        let deadline = self.limit()?;
        self.connect_any(resolve_until(address, deadline)?, deadline)
    }

    /// Connects to one of `addresses`. If they are a name, the time that looking it up takes is counted, but the look-up is not cut short; see [`dial`](Self::dial).
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub fn connect(&self, addresses: impl ToSocketAddrs) -> io::Result<TcpStream> {
        let deadline = self.limit()?;
        self.connect_any(resolve(addresses)?, deadline)
    }

    fn limit(&self) -> io::Result<Option<Instant>> {
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a timeout of zero would always have passed",
            ));
        }
        let from_timeout = self.timeout.and_then(|t| gosched::now().checked_add(t));
        Ok(match (from_timeout, self.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    fn connect_any(
        &self,
        mut addresses: Vec<SocketAddr>,
        deadline: Option<Instant>,
    ) -> io::Result<TcpStream> {
        if let Some(local) = self.local {
            addresses.retain(|address| address.is_ipv4() == local.is_ipv4());
        }
        let is_v4 = addresses.first().ok_or_else(no_address)?.is_ipv4();
        let (first, others): (Vec<_>, Vec<_>) = addresses
            .iter()
            .partition(|address| address.is_ipv4() == is_v4);
        match self.fallback_delay {
            Some(delay) if !others.is_empty() => self.race(first, others, delay, deadline),
            _ => self.one_after_the_other(&addresses, deadline, &Attempt::default()),
        }
    }

    /// Tries `first` in turn, and `others` beside it when that has taken `delay` or failed.
    fn race(
        &self,
        first: Vec<SocketAddr>,
        others: Vec<SocketAddr>,
        delay: Duration,
        deadline: Option<Instant>,
    ) -> io::Result<TcpStream> {
        let (results, finish) = chan::bounded(2);
        let attempts = [(); 2].map(|()| Arc::<Attempt>::default());
        let start = |lane: usize, addresses: Vec<SocketAddr>| {
            let (dialer, results) = (self.clone(), results.clone());
            let attempt = attempts[lane].clone();
            crate::Builder::new()
                .name("dial")
                .spawn(move || {
                    let result = dialer.one_after_the_other(&addresses, deadline, &attempt);
                    // Nobody listens if the other has won.
                    let _ = results.send((lane, result));
                })
                .map_err(io::Error::other)
        };
        start(0, first)?;
        let mut errors = [None, None];
        let mut running = 1;
        match finish.recv_until(gosched::now() + delay) {
            Ok((_, Ok(stream))) => return Ok(stream),
            Ok((lane, Err(error))) => {
                errors[lane] = Some(error);
                running = 0;
            }
            Err(_) => {}
        }
        match start(1, others) {
            Ok(_) => running += 1,
            Err(error) => errors[1] = Some(error),
        }
        for _ in 0..running {
            match finish.recv() {
                Ok((lane, Ok(stream))) => {
                    attempts[1 - lane].cancel();
                    return Ok(stream);
                }
                Ok((lane, Err(error))) => errors[lane] = Some(error),
                Err(_) => break,
            }
        }
        let [first, second] = errors;
        Err(first.or(second).unwrap_or_else(no_address))
    }

    /// Returns the first error: that address was to be tried first for a reason.
    fn one_after_the_other(
        &self,
        addresses: &[SocketAddr],
        deadline: Option<Instant>,
        attempt: &Attempt,
    ) -> io::Result<TcpStream> {
        let mut first = None;
        for (at, &address) in addresses.iter().enumerate() {
            attempt.go_on()?;
            let until = deadline.map(|d| share(gosched::now(), d, addresses.len() - at));
            match self.connect_one(address, until, attempt) {
                Ok(stream) => return Ok(stream),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(no_address))
    }

    fn connect_one(
        &self,
        address: SocketAddr,
        deadline: Option<Instant>,
        attempt: &Attempt,
    ) -> io::Result<TcpStream> {
        let mut tries = 0;
        loop {
            let stream = self.try_one(address, deadline, attempt)?;
            tries += 1;
            // To a port of this machine that nobody listens on, the system may connect a socket to itself, if it happens to choose that port for it.
            if tries < SELF_CONNECTIONS
                && self.local.is_none_or(|local| local.port() == 0)
                && stream.local_addr()? == stream.peer_addr()?
            {
                continue;
            }
            return Ok(stream);
        }
    }

    fn try_one(
        &self,
        address: SocketAddr,
        deadline: Option<Instant>,
        attempt: &Attempt,
    ) -> io::Result<TcpStream> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        if let Some(local) = self.local {
            socket.bind(&local.into())?;
        }
        if let Some(keep_alive) = self.keep_alive {
            keep_alive.set(SockRef::from(&socket))?;
        }
        let connected = match socket.connect(&address.into()) {
            Ok(()) => true,
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => false,
            Err(e) => return Err(e),
        };
        let stream = Arc::new(TcpStream(Watched::nonblocking(socket.into())?));
        if !connected {
            attempt.begin(&stream)?;
            let result = wait_connected(&stream, deadline);
            attempt.end();
            result?;
        }
        Ok(Arc::into_inner(stream).expect("an attempt that has ended holds no stream"))
    }
}

/// Until when the first of `left` addresses may take, if all have until `deadline`.
fn share(now: Instant, deadline: Instant, left: usize) -> Instant {
    let remaining = deadline.saturating_duration_since(now);
    let even = remaining / u32::try_from(left).unwrap_or(u32::MAX);
    now + even.max(LEAST.min(remaining))
}

fn wait_connected(stream: &TcpStream, deadline: Option<Instant>) -> io::Result<()> {
    let socket = stream.0.get();
    stream.0.registration().io(Direction::Write, deadline, || {
        // Writable means decided: there is an error or a peer.
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(e) => Err(e),
        }
    })
}

/// What a racer is at, for the one that has won.
#[derive(Default)]
struct Attempt(Mutex<State>);

#[derive(Default)]
struct State {
    cancelled: bool,
    stream: Option<Arc<TcpStream>>,
}

impl State {
    fn go_on(&self) -> io::Result<()> {
        if self.cancelled {
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(())
    }
}

impl Attempt {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it makes sense to begin another connection: an error if the race is over.
    fn go_on(&self) -> io::Result<()> {
        self.state().go_on()
    }

    fn begin(&self, stream: &Arc<TcpStream>) -> io::Result<()> {
        let mut state = self.state();
        state.go_on()?;
        state.stream = Some(stream.clone());
        Ok(())
    }

    fn end(&self) {
        self.state().stream = None;
    }

    fn cancel(&self) {
        let mut state = self.state();
        state.cancelled = true;
        if let Some(stream) = &state.stream {
            stream.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loser_begins_no_further_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let attempt = Attempt::default();
        let dial = || Dialer::new().one_after_the_other(&[address, address], None, &attempt);
        assert_eq!(dial().unwrap().peer_addr().unwrap(), address);
        listener.accept().unwrap();
        attempt.cancel();
        assert_eq!(dial().unwrap_err().kind(), io::ErrorKind::NotConnected);
        let none = listener.accept().unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }

    /// The racer that waits has its socket closed by the winner, whether or not it has been connected by then, and keeps nothing of it.
    #[test]
    fn a_loser_that_connects_late_leaves_nothing_behind() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for round in 0..200 {
            let attempt = Arc::<Attempt>::default();
            let (sender, receiver) = chan::bounded(1);
            let own = attempt.clone();
            let racer = crate::go(move || {
                let result = Dialer::new().one_after_the_other(&[address], None, &own);
                let _ = sender.send(result);
            });
            (0..round % 20).for_each(|_| crate::yield_now());
            attempt.cancel();
            // What it has sent by now, or sends later, goes with the channel.
            drop(receiver);
            racer.join().unwrap();
            assert!(attempt.state().stream.is_none());
        }
        // Each of its connections has ended: whichever there were give the end of the stream, none waits.
        listener.set_nonblocking(true).unwrap();
        while let Ok((mut stream, _)) = listener.accept() {
            let patience = Some(Duration::from_secs(5));
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(patience).unwrap();
            let read = io::Read::read(&mut stream, &mut [0]);
            assert!(
                matches!(&read, Ok(0))
                    || matches!(&read, Err(e) if e.kind() == io::ErrorKind::ConnectionReset),
                "{read:?}"
            );
        }
    }

    #[test]
    fn time_is_shared_evenly_but_not_too_thinly() {
        let now = Instant::now();
        let seconds = |total: u64, left| {
            let until = share(now, now + Duration::from_secs(total), left);
            until.duration_since(now).as_secs_f64()
        };
        assert_eq!(seconds(30, 3), 10.0);
        assert_eq!(seconds(30, 1), 30.0);
        assert_eq!(seconds(5, 10), 2.0);
        assert_eq!(seconds(1, 10), 1.0);
        let past = now - Duration::from_millis(1);
        assert_eq!(share(now, past, 2), now);
    }
}
