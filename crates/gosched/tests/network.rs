//! Descriptors: goroutines and threads that wait for them, deadlines, closing.

// Miri wants other flags of epoll.
#![cfg(not(miri))]

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{TestEnv, eventually, go};
use gosched::env::Env;
use gosched::poll::scripted::Scripted;
use gosched::poll::{Direction, Registration};
use gosched::{Nanos, Scheduler, Snapshot};

on_both_engines!(
    echoes,
    threads_wait_too,
    deadlines_pass,
    a_deadline_may_be_set_while_somebody_waits,
    closing_wakes_both_directions,
    readers_take_turns,
    a_busy_p_is_helped_by_the_monitor,
    registrations_are_reused,
);

/// A socket under the scheduler's care. The registration is dropped first.
struct Socket {
    registration: Registration,
    stream: UnixStream,
}

impl Socket {
    fn pair<E: Env>(s: &'static Scheduler<E>) -> (Socket, Socket) {
        let (a, b) = UnixStream::pair().unwrap();
        let socket = |stream: UnixStream| {
            stream.set_nonblocking(true).unwrap();
            Socket {
                registration: s.register(stream.as_raw_fd()).unwrap(),
                stream,
            }
        };
        (socket(a), socket(b))
    }

    fn read(&self, buffer: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        self.registration
            .io(Direction::Read, deadline, || (&self.stream).read(buffer))
    }

    fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = self
                .registration
                .io(Direction::Write, None, || (&self.stream).write(bytes))?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn echo(&self) {
        let mut buffer = [0; 700];
        loop {
            match self.read(&mut buffer, None).unwrap() {
                0 => return,
                n => self.write_all(&buffer[..n]).unwrap(),
            }
        }
    }

    fn read_exactly(&self, n: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = [0; 512];
        while all.len() < n {
            let got = self.read(&mut buffer, None).unwrap();
            assert!(got > 0);
            all.extend_from_slice(&buffer[..got]);
        }
        all
    }
}

fn echoes<E: TestEnv>() {
    for procs in [1, 2] {
        let s = E::scheduler(procs);
        s.run_main(move || {
            let clients: Vec<_> = (0..8u8)
                .map(|i| {
                    let (client, server) = Socket::pair(s);
                    go(s, move || server.echo());
                    go(s, move || {
                        for round in 0..20 {
                            let message = vec![i + round; 1000];
                            client.write_all(&message).unwrap();
                            assert_eq!(client.read_exactly(1000), message);
                        }
                        // More than the socket holds, so that writers wait as well.
                        let client = Arc::new(client);
                        let writer = client.clone();
                        let large = vec![i; 600_000];
                        let sent = large.clone();
                        let writer = go(s, move || writer.write_all(&sent).unwrap());
                        assert_eq!(client.read_exactly(large.len()), large);
                        writer.join().unwrap();
                    })
                })
                .collect();
            clients.into_iter().for_each(|c| c.join().unwrap());
        })
        .unwrap();
    }
}

fn threads_wait_too<E: TestEnv>() {
    let s = E::scheduler(1);
    let (client, server) = Socket::pair(s);
    go(s, move || server.echo());
    for i in 0..50 {
        client.write_all(&[i]).unwrap();
        assert_eq!(client.read_exactly(1), [i]);
    }
    let soon = Some(Instant::now() + Duration::from_millis(3));
    let error = client.read(&mut [0], soon).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

fn deadlines_pass<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        let (client, server) = Socket::pair(s);
        for ms in [0, 1, 4] {
            let start = Instant::now();
            let deadline = Some(start + Duration::from_millis(ms));
            let error = client.read(&mut [0], deadline).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(start.elapsed() >= Duration::from_millis(ms));
        }
        server.write_all(b"x").unwrap();
        let deadline = Some(Instant::now() + Duration::from_secs(60));
        assert_eq!(client.read(&mut [0; 4], deadline).unwrap(), 1);
        let mut snapshot = Snapshot::default();
        s.observe(&mut snapshot);
        assert_eq!(
            (snapshot.poll_waiters, snapshot.next_timer),
            (0, Nanos::NEVER)
        );
    })
    .unwrap();
}

/// Also for those who wait for their turn, and from both sides: sooner, later, never.
fn a_deadline_may_be_set_while_somebody_waits<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let (client, server) = Socket::pair(s);
        let client = Arc::new(client);
        let read = |client: &Arc<Socket>| {
            let client = client.clone();
            go(s, move || client.read(&mut [0; 8], None))
        };
        let at = |millis| Some(gosched::now() + Duration::from_millis(millis));
        let direction = Direction::Read;
        let waiting = || {
            let mut snapshot = Snapshot::default();
            s.observe(&mut snapshot);
            snapshot.poll_waiters == 1
        };

        let readers = [read(&client), read(&client), read(&client)];
        eventually("a waiter", waiting);
        client.registration.set_deadline(direction, at(20));
        for reader in readers {
            let error = reader.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
        server.write_all(b"data").unwrap();
        let error = client.read(&mut [0; 8], None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "also when there is data");
        client.registration.set_deadline(direction, None);
        assert_eq!(client.read(&mut [0; 8], None).unwrap(), 4);

        client.registration.set_deadline(direction, at(60));
        let readers = [read(&client), read(&client)];
        eventually("a waiter", waiting);
        client.registration.set_deadline(direction, None);
        gosched::sleep(Duration::from_millis(120));
        for reader in readers {
            server.write_all(b"late").unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), 4, "it was taken back");
        }
        // The other direction has its own.
        client.registration.set_deadline(direction, at(0));
        client.write_all(b"x").unwrap();
    })
    .unwrap();
}

fn closing_wakes_both_directions<E: TestEnv>() {
    let s = E::scheduler(2);
    let (client, _server) = Socket::pair(s);
    let client = Arc::new(client);
    let (reader, writer) = (client.clone(), client.clone());
    let reading = go(s, move || reader.read(&mut [0], None).unwrap_err().kind());
    let writing = go(s, move || {
        loop {
            if let Err(error) = writer.write_all(&[0; 65536]) {
                return error.kind();
            }
        }
    });
    eventually("both wait", || {
        let mut snapshot = Snapshot::default();
        s.observe(&mut snapshot);
        snapshot.poll_waiters == 2
    });
    client.registration.close();
    assert_eq!(reading.join().unwrap(), ErrorKind::NotConnected);
    assert_eq!(writing.join().unwrap(), ErrorKind::NotConnected);
    let late = client.read(&mut [0], None).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotConnected);
}

fn readers_take_turns<E: TestEnv>() {
    let s = E::scheduler(2);
    let (client, server) = Socket::pair(s);
    let client = Arc::new(client);
    let readers: Vec<_> = (0..4)
        .map(|i| {
            let client = client.clone();
            let read = move || {
                let mut sum = 0;
                let mut byte = [0];
                while client.read(&mut byte, None).unwrap() == 1 {
                    sum += u64::from(byte[0]);
                }
                sum
            };
            if i == 0 {
                Err(std::thread::spawn(read))
            } else {
                Ok(go(s, read))
            }
        })
        .collect();
    // Several bytes per edge: a reader that takes one must leave the others to be found.
    for _ in 0..50 {
        server.write_all(&[1, 2, 3]).unwrap();
    }
    server.stream.shutdown(std::net::Shutdown::Both).unwrap();
    let sum: u64 = readers
        .into_iter()
        .map(|r| match r {
            Ok(goroutine) => goroutine.join().unwrap(),
            Err(thread) => thread.join().unwrap(),
        })
        .sum();
    assert_eq!(sum, 300);
}

/// With one P that never becomes idle nobody else looks for descriptors and timers.
fn a_busy_p_is_helped_by_the_monitor<E: TestEnv>() {
    let s = E::scheduler(1);
    let (client, server) = Socket::pair(s);
    let reader = go(s, move || client.read(&mut [0], None).unwrap());
    eventually("it waits", || {
        let mut snapshot = Snapshot::default();
        s.observe(&mut snapshot);
        snapshot.poll_waiters == 1 && snapshot.polled
    });
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = stop.clone();
    let spinner = go(s, move || {
        while !seen.load(std::sync::atomic::Ordering::Relaxed) {
            gosched::yield_now();
        }
    });
    server.write_all(b"x").unwrap();
    eventually("it has read", || {
        s.poll_network_if_due(Nanos::from_millis(1));
        reader.is_finished()
    });
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    spinner.join().unwrap();
    assert_eq!(reader.join().unwrap(), 1);
}

fn registrations_are_reused<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        for i in 0..300 {
            let (client, server) = Socket::pair(s);
            if i % 2 == 0 {
                server.write_all(b"unread").unwrap();
            }
            let soon = Some(Instant::now() + Duration::from_micros(50));
            let _ = client.read(&mut [0; 2], soon);
        }
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let error = s.register(file.as_raw_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        let (client, server) = Socket::pair(s);
        go(s, move || server.echo());
        client.write_all(b"still").unwrap();
        assert_eq!(client.read_exactly(5), b"still");
    })
    .unwrap();
}

struct Played;

impl Env for Played {
    type Engine = gosched::engine::threads::ThreadEngine;
    type Poller = Scripted;
    type Hooks = ();
}

/// Late and repeated reports, and reports for nobody, do no harm.
#[test]
fn a_scripted_poller_may_report_anything() {
    const FD: RawFd = 1000;
    let s: &'static Scheduler<Played> = Scheduler::new(
        common::config(2),
        gosched::engine::threads::ThreadEngine::new(),
        Scripted::new(),
        (),
    );
    let registration = Arc::new(s.register(FD).unwrap());
    assert!(s.poller().make_ready(FD, true, true));
    let tries = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (waiting, counted) = (registration.clone(), tries.clone());
    let reader = go(s, move || {
        waiting.io(Direction::Read, None, || {
            match counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0..4 => Err(ErrorKind::WouldBlock.into()),
                n => Ok(n),
            }
        })
    });
    eventually("enough reports", || {
        s.poller().make_ready(FD, true, false);
        s.poller().make_ready(FD, false, true);
        reader.is_finished()
    });
    assert_eq!(reader.join().unwrap().unwrap(), 4);
    drop(registration);
    assert!(!s.poller().make_ready(FD, true, true));
}
