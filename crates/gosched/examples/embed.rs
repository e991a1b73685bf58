//! The scheduler alone, in a program of its own making: `cargo run -p gosched --example embed`.
//!
//! An embedder supplies three things. Here they are
//!
//! - the execution contexts: the threads that the crate brings along ([`ThreadEngine`]);
//! - the poller: [`Poll`], made of `poll(2)` in a page, to show what is asked of one;
//! - the hooks: [`Count`], which counts events.
//!
//! And it gives the scheduler a monitor, a few lines in a thread: without one, a goroutine that computes for long keeps its P.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gosched::engine::threads::ThreadEngine;
use gosched::env::{Env, Event, Hooks, Poller, Readiness, Token};
use gosched::poll::{Direction, Registration};
use gosched::{Config, Nanos, Scheduler, Snapshot};

/// Our choice of ports.
struct Embedded;

impl Env for Embedded {
    type Engine = ThreadEngine;
    type Poller = Poll;
    type Hooks = Count;
}

/// Counts the goroutines that have run.
#[derive(Default)]
struct Count {
    started: AtomicU64,
}

impl Hooks for Count {
    fn listens(&self) -> bool {
        true
    }

    fn event(&self, _: Option<u32>, event: Event) {
        if let Event::Created(..) = event {
            self.started.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A poller over `poll(2)`.
///
/// The scheduler wants to hear of changes, and `poll` tells of states. It also bears reports of nothing new. So what has been reported is left alone
/// for a millisecond and then reported again, if it still is so.
struct Poll {
    watched: Mutex<Vec<Watched>>,
    /// What ends a wait: a byte in this pipe.
    wake: (OwnedFd, OwnedFd),
}

#[derive(Clone, Copy)]
struct Watched {
    fd: RawFd,
    token: Token,
    quiet_until: Instant,
}

impl Poll {
    const QUIET: Duration = Duration::from_millis(1);

    fn new() -> io::Result<Poll> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Poll {
            watched: Mutex::new(Vec::new()),
            wake: (reader.into(), writer.into()),
        })
    }
}

impl Poller for Poll {
    fn register(&self, fd: RawFd, token: Token) -> io::Result<()> {
        let quiet_until = Instant::now();
        let new = Watched {
            fd,
            token,
            quiet_until,
        };
        self.watched.lock().unwrap().push(new);
        // Whoever waits has not heard of it.
        self.wake();
        Ok(())
    }

    fn deregister(&self, fd: RawFd) -> io::Result<()> {
        self.watched.lock().unwrap().retain(|w| w.fd != fd);
        Ok(())
    }

    fn wait(&self, timeout: Option<Nanos>, ready: &mut [Readiness]) -> io::Result<usize> {
        let (asked, quiet) = {
            let now = Instant::now();
            let watched = self.watched.lock().unwrap();
            let asked: Vec<Watched> = watched
                .iter()
                .filter(|w| w.quiet_until <= now)
                .take(ready.len())
                .copied()
                .collect();
            (asked.clone(), asked.len() < watched.len())
        };
        let entry = |fd, events| libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        let mut entries: Vec<_> = asked
            .iter()
            .map(|w| entry(w.fd, libc::POLLIN | libc::POLLOUT))
            .collect();
        entries.push(entry(self.wake.0.as_raw_fd(), libc::POLLIN));
        let most = if quiet { Some(Poll::QUIET) } else { None };
        let timeout = timeout
            .map(Nanos::to_duration)
            .into_iter()
            .chain(most)
            .min();
        let millis = timeout.map_or(-1, |t| t.as_micros().div_ceil(1000).min(1 << 30) as i32);
        // SAFETY: the entries are writable, and as many as said.
        if unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as _, millis) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let is_glance = timeout == Some(Duration::ZERO);
        if entries.pop().is_some_and(|wake| wake.revents != 0) && !is_glance {
            let mut bytes = [0u8; 64];
            // SAFETY: the buffer is writable; an empty pipe is no error here.
            unsafe {
                libc::read(
                    self.wake.0.as_raw_fd(),
                    bytes.as_mut_ptr().cast(),
                    bytes.len(),
                )
            };
        }
        let mut n = 0;
        for (watched, entry) in asked.iter().zip(&entries).filter(|(_, e)| e.revents != 0) {
            let failed = entry.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0;
            ready[n] = Readiness {
                token: watched.token,
                readable: failed || entry.revents & libc::POLLIN != 0,
                writable: failed || entry.revents & libc::POLLOUT != 0,
            };
            n += 1;
            let mut all = self.watched.lock().unwrap();
            if let Some(w) = all.iter_mut().find(|w| w.fd == watched.fd) {
                w.quiet_until = Instant::now() + Poll::QUIET;
            }
        }
        Ok(n)
    }

    fn wake(&self) {
        // SAFETY: one byte that is there; a full pipe wakes just as well.
        unsafe { libc::write(self.wake.1.as_raw_fd(), [1u8].as_ptr().cast(), 1) };
    }
}

/// A stream whose reads and writes park the goroutine.
struct Stream {
    stream: UnixStream,
    registration: Registration,
}

impl Stream {
    fn new(scheduler: &'static Scheduler<Embedded>, stream: UnixStream) -> io::Result<Stream> {
        stream.set_nonblocking(true)?;
        let registration = scheduler.register(stream.as_raw_fd())?;
        Ok(Stream {
            stream,
            registration,
        })
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.registration
            .io(Direction::Read, None, || (&self.stream).read(buffer))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.registration
            .io(Direction::Write, None, || (&self.stream).write(bytes))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scheduler = Scheduler::<Embedded>::new(
        Config::default(),
        ThreadEngine::new(),
        Poll::new()?,
        Count::default(),
    );
    // The monitor: takes the P of whoever has run for long, and looks at descriptors when nobody does.
    scheduler.add_service_thread();
    std::thread::spawn(move || {
        let (mut now, mut before) = (Snapshot::default(), Snapshot::default());
        loop {
            std::thread::sleep(Duration::from_millis(10));
            std::mem::swap(&mut now, &mut before);
            scheduler.observe(&mut now);
            for (i, (p, was)) in now.procs.iter().zip(&before.procs).enumerate() {
                if p.current.is_some() && p.tick == was.tick {
                    scheduler.retake(i);
                }
            }
            scheduler.poll_network_if_due(Nanos::from_millis(10));
        }
    });
    let answers = scheduler.run_main(move || -> io::Result<u32> {
        let clients: Vec<_> = (0..10u8)
            .map(|i| {
                let (here, there) = UnixStream::pair()?;
                let (here, there) = (
                    Stream::new(scheduler, here)?,
                    Stream::new(scheduler, there)?,
                );
                let echo = move || {
                    let mut byte = [0];
                    while there.read(&mut byte).is_ok_and(|n| n == 1) {
                        let _ = there.write(&byte);
                    }
                };
                scheduler.spawn(echo).map_err(io::Error::other)?;
                let client = move || {
                    let mut byte = [0];
                    here.write(&[i])?;
                    here.read(&mut byte)?;
                    Ok::<u32, io::Error>(byte[0].into())
                };
                scheduler.spawn(client).map_err(io::Error::other)
            })
            .collect::<io::Result<_>>()?;
        gosched::sleep(Duration::from_millis(5));
        clients
            .into_iter()
            .map(|c| c.join().expect("a client does not panic"))
            .sum()
    })??;
    assert_eq!(answers, 45);
    println!(
        "{answers}, by {} goroutines",
        scheduler.hooks().started.load(Ordering::Relaxed)
    );
    Ok(())
}
