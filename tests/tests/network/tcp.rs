//! TCP over the real poller.

use super::{echo_server, within};
use goruntime::net::{KeepAlive, ListenConfig, TcpListener, TcpStream};
use goruntime::{go, time};
use goruntime_tests::apart;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn two_hundred_connections_echo_at_once() {
    let address = echo_server();
    let clients: Vec<_> = (0..200u8)
        .map(|i| {
            go(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let message = vec![i; 3000];
                let mut back = vec![0; message.len()];
                for _ in 0..10 {
                    stream.write_all(&message).unwrap();
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back, message);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
}

#[test]
fn plain_threads_may_use_the_same_sockets() {
    let address = echo_server();
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"from a thread").unwrap();
        let mut back = [0; 13];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"from a thread");
    })
    .join()
    .unwrap();
}

#[test]
fn a_large_transfer_both_ways() {
    let address = echo_server();
    go(move || {
        let stream = Arc::new(TcpStream::connect(address).unwrap());
        let writer = stream.clone();
        const LEN: usize = 8 << 20;
        let sender = go(move || {
            let chunk: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
            for _ in 0..LEN / chunk.len() {
                (&*writer).write_all(&chunk).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut all = Vec::new();
        (&*stream).read_to_end(&mut all).unwrap();
        sender.join().unwrap();
        assert_eq!(all.len(), LEN);
        assert!(all.iter().zip((0..=255u8).cycle()).all(|(a, b)| *a == b));
    })
    .join()
    .unwrap();
}

#[test]
fn a_read_times_out_and_the_connection_lives_on() {
    let address = echo_server();
    go(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(30)))
            .unwrap();
        let begin = Instant::now();
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() >= Duration::from_millis(30));
        stream.write_all(b"x").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        assert_eq!(
            stream
                .set_read_timeout(Some(Duration::ZERO))
                .unwrap_err()
                .kind(),
            ErrorKind::InvalidInput
        );
    })
    .join()
    .unwrap();
}

#[test]
fn closing_wakes_who_waits() {
    let address = echo_server();
    let stream = Arc::new(TcpStream::connect(address).unwrap());
    let reader = {
        let stream = stream.clone();
        go(move || (&*stream).read(&mut [0]).unwrap_err().kind())
    };
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let acceptor = {
        let listener = listener.clone();
        go(move || listener.accept().unwrap_err().kind())
    };
    go(|| time::sleep(Duration::from_millis(20)))
        .join()
        .unwrap();
    stream.close();
    listener.close();
    assert_eq!(reader.join().unwrap(), ErrorKind::NotConnected);
    assert_eq!(acceptor.join().unwrap(), ErrorKind::NotConnected);
}

#[test]
fn a_refused_connection_is_an_error() {
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let error = go(move || TcpStream::connect(free).unwrap_err())
        .join()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_deadline_is_heard_by_who_waits() {
    let address = echo_server();
    let stream = Arc::new(TcpStream::connect(address).unwrap());
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let stream = stream.clone();
            go(move || (&*stream).read(&mut [0]).unwrap_err().kind())
        })
        .collect();
    std::thread::sleep(Duration::from_millis(10));
    stream.set_read_deadline(Some(time::now() + Duration::from_millis(20)));
    for reader in readers {
        assert_eq!(reader.join().unwrap(), ErrorKind::TimedOut);
    }
    // Whatever comes is too late, until there is another deadline or none.
    (&*stream).write_all(b"x").unwrap();
    let error = (&*stream).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    stream.set_read_deadline(None);
    assert_eq!((&*stream).read(&mut [0]).unwrap(), 1);
    stream.set_write_deadline(Some(time::now()));
    let error = (&*stream).write(b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_read_deadline(Some(time::now() + Duration::from_millis(10)));
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn a_deadline_is_heard_by_a_thread_too() {
    let stream = Arc::new(TcpStream::connect(echo_server()).unwrap());
    let thread = {
        let stream = stream.clone();
        std::thread::spawn(move || (&*stream).read(&mut [0]).unwrap_err().kind())
    };
    std::thread::sleep(Duration::from_millis(10));
    stream.set_read_deadline(Some(Instant::now()));
    assert_eq!(thread.join().unwrap(), ErrorKind::TimedOut);
}

#[test]
fn a_write_that_finds_no_reader_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream
        .set_write_timeout(Some(Duration::from_millis(30)))
        .unwrap();
    let error = go(move || {
        let chunk = [0; 64 << 10];
        loop {
            if let Err(error) = stream.write(&chunk) {
                return error;
            }
        }
    });
    assert_eq!(error.join().unwrap().kind(), ErrorKind::TimedOut);
}

/// The peer goes without a good-bye, while somebody reads and after.
#[test]
fn a_reset_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = go(move || TcpStream::connect(address).unwrap());
    let (peer, _) = listener.accept().unwrap();
    let client = Arc::new(client.join().unwrap());
    let reader = {
        let client = client.clone();
        go(move || (&*client).read(&mut [0; 10]).unwrap_err().kind())
    };
    std::thread::sleep(Duration::from_millis(10));
    peer.set_linger(Some(Duration::ZERO)).unwrap();
    assert_eq!(peer.linger().unwrap(), Some(Duration::ZERO));
    drop(peer);
    assert_eq!(reader.join().unwrap(), ErrorKind::ConnectionReset);
    let error = (&*client).write(b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn half_a_connection_may_be_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = go(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = String::new();
        stream.read_to_string(&mut question).unwrap();
        write!(stream, "{} bytes", question.len()).unwrap();
    });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"how long is this?").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let error = stream.write(b"more").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "17 bytes");
    server.join().unwrap();
}

#[test]
fn options_are_what_was_set() {
    let stream = TcpStream::connect(echo_server()).unwrap();
    assert!(!stream.nodelay().unwrap());
    stream.set_nodelay(true).unwrap();
    assert!(stream.nodelay().unwrap());
    stream.set_ttl(33).unwrap();
    assert_eq!(stream.ttl().unwrap(), 33);
    assert_eq!(stream.linger().unwrap(), None);
    assert_eq!(stream.keep_alive().unwrap(), None);
    let keep_alive = KeepAlive {
        idle: Duration::from_secs(7),
        interval: Duration::from_secs(3),
        count: 4,
    };
    stream.set_keep_alive(Some(keep_alive)).unwrap();
    assert_eq!(stream.keep_alive().unwrap(), Some(keep_alive));
    stream.set_keep_alive(None).unwrap();
    assert_eq!(stream.keep_alive().unwrap(), None);
    assert_eq!(stream.read_timeout().unwrap(), None);
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    assert_eq!(stream.read_timeout().unwrap(), Some(Duration::from_secs(1)));
    let clone = stream.try_clone().unwrap();
    assert_eq!(clone.read_timeout().unwrap(), None, "it has its own");

    // What is accepted inherits it.
    let listener = ListenConfig::new().keep_alive(keep_alive);
    let listener = listener.listen("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(accepted.keep_alive().unwrap(), Some(keep_alive));
}

/// A clone reads while the other writes; std's types take over and give back.
#[test]
fn clones_and_conversions() {
    let mut writer = TcpStream::connect(echo_server()).unwrap();
    let mut reader = writer.try_clone().unwrap();
    let echoed = go(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    std::thread::sleep(Duration::from_millis(5));
    writer.write_all(b"one ").unwrap();
    let mut blocking: std::net::TcpStream = writer.into_std().unwrap();
    blocking.write_all(b"two ").unwrap();
    let mut writer = TcpStream::try_from(blocking).unwrap();
    writer.write_all(b"three").unwrap();
    writer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(echoed.join().unwrap(), "one two three");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.into_std().unwrap();
    let client = go(move || TcpStream::connect(address).map(drop));
    listener.accept().unwrap();
    client.join().unwrap().unwrap();
}

#[test]
fn peeking_leaves_it_there() {
    let mut stream = TcpStream::connect(echo_server()).unwrap();
    stream.write_all(b"ab").unwrap();
    let mut buffer = [0; 1];
    assert_eq!(stream.peek(&mut buffer).unwrap(), 1);
    let mut buffer = [0; 2];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"ab");
}

/// Two listeners on one port get a share of the connections each.
#[test]
fn a_port_may_be_shared() {
    let config = ListenConfig::new().reuse_port(true).backlog(200);
    let first = config.listen("127.0.0.1:0").unwrap();
    let address = first.local_addr().unwrap();
    assert_eq!(
        TcpListener::bind(address).unwrap_err().kind(),
        ErrorKind::AddrInUse
    );
    let second = config.listen(address).unwrap();
    let clients: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let accepted = |listener: &TcpListener| {
        listener.set_read_deadline(Some(time::now() + Duration::from_millis(50)));
        listener.incoming().take_while(Result::is_ok).count()
    };
    let counts = [accepted(&first), accepted(&second)];
    assert_eq!(counts[0] + counts[1], clients.len());
    assert!(counts.iter().all(|&n| n > 0), "{counts:?}");
}

/// Descriptors run out: accepting fails late enough not to spin, says why, and goes on when there is one again.
#[test]
fn accepting_survives_the_want_of_descriptors() {
    if !apart("tcp::accepting_survives_the_want_of_descriptors", &[]) {
        return;
    }
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
        if taken.len() == 1 {
            // No more than a few from here on.
            limit_descriptors(std::os::fd::AsRawFd::as_raw_fd(&taken[0]) as u64 + 5);
        }
    }
    let begin = Instant::now();
    for _ in 0..6 {
        let error = listener.accept().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    }
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_millis(5 * 63), "{waited:?}");
    taken.truncate(1);
    for _ in &clients {
        listener.accept().unwrap();
        // One at a time, lest another test of this process would want some.
    }
    // Whoever waits for the next try is woken by a close.
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    let _client = clients;
    let acceptor = {
        let listener = listener.clone();
        go(move || {
            loop {
                if listener.accept().unwrap_err().kind() == ErrorKind::NotConnected {
                    return;
                }
            }
        })
    };
    std::thread::sleep(Duration::from_millis(30));
    listener.close();
    within(Duration::from_secs(5), move || acceptor.join().unwrap());
}

fn limit_descriptors(to: u64) {
    let limit = libc::rlimit {
        rlim_cur: to,
        rlim_max: to,
    };
    // SAFETY: the structure is readable.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}
