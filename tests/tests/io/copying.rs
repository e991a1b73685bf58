//! `io::copy`: by way of the kernel and by way of a buffer, with the same result.

use super::{Folder, pattern};
use goruntime::fs::{self, File, OpenOptions};
use goruntime::io::{copy, copy_bidirectional, copy_n, pipe};
use goruntime::net::{TcpListener, TcpStream, UnixStream};
use goruntime::{go, time};
use std::io::{BufReader, ErrorKind, Read, Seek, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// More than a socket, a pipe and one step of `sendfile` hold.
const LENGTH: usize = 9_000_001;

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Sends the bytes from a goroutine and ends.
fn sends(mut stream: TcpStream, bytes: &Arc<Vec<u8>>) {
    let bytes = bytes.clone();
    go(move || stream.write_all(&bytes).unwrap());
}

/// Collects what comes, on a goroutine.
fn collects(mut stream: impl Read + Send + 'static) -> goruntime::JoinHandle<Vec<u8>> {
    go(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[test]
fn from_socket_to_socket() {
    let bytes = Arc::new(pattern(LENGTH));
    let ((source, mut from), (mut to, sink)) = (connection(), connection());
    sends(source, &bytes);
    let collected = collects(sink);
    assert_eq!(copy(&mut from, &mut to).unwrap(), LENGTH as u64);
    drop(to);
    assert!(collected.join().unwrap() == *bytes);

    // Between kinds, and by reference.
    let (source, from) = connection();
    let (to, sink) = UnixStream::pair().unwrap();
    sends(source, &bytes);
    let collected = collects(sink);
    assert_eq!(copy(&mut &from, &mut &to).unwrap(), LENGTH as u64);
    to.shutdown(Shutdown::Write).unwrap();
    assert!(collected.join().unwrap() == *bytes);
}

/// No more is taken out of the source than was asked for.
#[test]
fn so_many_bytes_and_no_more() {
    let bytes = Arc::new(pattern(300_000));
    let ((source, mut from), (mut to, mut sink)) = (connection(), connection());
    sends(source, &bytes);
    let mut got = vec![0; 100_000];
    for part in bytes.chunks(100_000) {
        assert_eq!(copy_n(&mut from, &mut to, 100_000).unwrap(), 100_000);
        sink.read_exact(&mut got).unwrap();
        assert!(got == part);
    }
    assert_eq!(copy_n(&mut from, &mut to, 1).unwrap(), 0, "the end");
    assert_eq!(copy_n(&mut from, &mut to, 0).unwrap(), 0);
}

#[test]
fn from_and_to_files() {
    let folder = Folder::new("from_and_to_files");
    let bytes = Arc::new(pattern(LENGTH));
    fs::write(folder.path("a"), &*bytes).unwrap();

    let (mut to, sink) = connection();
    let collected = collects(sink);
    let mut file = File::open(folder.path("a")).unwrap();
    file.seek(std::io::SeekFrom::Start(1000)).unwrap();
    assert_eq!(copy_n(&mut file, &mut to, 5000).unwrap(), 5000);
    assert_eq!(file.stream_position().unwrap(), 6000);
    assert_eq!(copy(&mut file, &mut to).unwrap(), LENGTH as u64 - 6000);
    drop(to);
    assert!(collected.join().unwrap() == bytes[1000..]);

    let (source, mut from) = connection();
    sends(source, &bytes);
    let mut file = File::create(folder.path("b")).unwrap();
    assert_eq!(copy(&mut from, &mut file).unwrap(), LENGTH as u64);
    assert!(fs::read(folder.path("b")).unwrap() == *bytes);

    // The kernel does not splice into a file that is written at its end.
    let (source, mut from) = connection();
    sends(source, &bytes);
    let mut file = OpenOptions::new()
        .append(true)
        .open(folder.path("b"))
        .unwrap();
    assert_eq!(copy(&mut from, &mut file).unwrap(), LENGTH as u64);
    let both = fs::read(folder.path("b")).unwrap();
    assert!(both[..LENGTH] == **bytes && both[LENGTH..] == **bytes);

    let mut from = std::fs::File::open(folder.path("a")).unwrap();
    let mut to = std::fs::File::create(folder.path("c")).unwrap();
    assert_eq!(copy(&mut from, &mut to).unwrap(), LENGTH as u64);
    assert!(fs::read(folder.path("c")).unwrap() == *bytes);
}

/// Files that the kernel makes up have no length, and it copies none of them.
#[test]
fn files_that_are_made_up() {
    let folder = Folder::new("files_that_are_made_up");
    let expected = fs::read("/proc/version").unwrap();
    let mut to = File::create(folder.path("file")).unwrap();
    let n = copy(&mut File::open("/proc/version").unwrap(), &mut to).unwrap();
    assert_eq!(n, expected.len() as u64);
    assert_eq!(fs::read(folder.path("file")).unwrap(), expected);

    let (mut to, sink) = connection();
    copy(&mut File::open("/proc/version").unwrap(), &mut to).unwrap();
    drop(to);
    assert_eq!(collects(sink).join().unwrap(), expected);

    let mut zero = File::open("/dev/zero").unwrap();
    let (mut to, sink) = connection();
    let collected = collects(sink);
    assert_eq!(copy_n(&mut zero, &mut to, 100_000).unwrap(), 100_000);
    drop(to);
    assert_eq!(collected.join().unwrap(), vec![0; 100_000]);
}

#[test]
fn by_way_of_pipes_and_buffers() {
    let bytes = pattern(LENGTH);
    let (mut reader, mut writer) = pipe().unwrap();
    let (mut to, sink) = connection();
    let collected = collects(sink);
    let sent = bytes.clone();
    go(move || writer.write_all(&sent).unwrap());
    assert_eq!(copy(&mut reader, &mut to).unwrap(), LENGTH as u64);
    drop(to);
    assert!(collected.join().unwrap() == bytes);

    let (source, from) = connection();
    sends(source, &Arc::new(bytes.clone()));
    let mut from = BufReader::new(from);
    let mut first = [0; 10];
    from.read_exact(&mut first).unwrap();
    let mut rest = Vec::new();
    let n = copy(&mut from, &mut rest).unwrap();
    assert_eq!(n as usize, LENGTH - 10);
    assert!(rest == bytes[10..]);
}

/// One that std has opened waits in the thread, as it always did.
#[test]
fn pipes_in_blocking_mode() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut reader = std::fs::File::from(std::os::fd::OwnedFd::from(reader));
    let mut writer = std::fs::File::from(std::os::fd::OwnedFd::from(writer));
    let bytes = Arc::new(pattern(500_000));
    let ((source, mut from), (mut to, sink)) = (connection(), connection());
    sends(source, &bytes);
    let collected = collects(sink);
    let first = go(move || copy(&mut from, &mut writer).unwrap());
    assert_eq!(copy(&mut reader, &mut to).unwrap(), 500_000);
    assert_eq!(first.join().unwrap(), 500_000);
    drop(to);
    assert!(collected.join().unwrap() == *bytes);
}

#[test]
fn errors_of_either_side_are_told() {
    let ((source, mut from), (mut to, sink)) = (connection(), connection());
    drop(sink);
    // Sends until it cannot: how much the system keeps under way is its own affair.
    let sender = go(move || while (&source).write_all(&[0; 10_000]).is_ok() {});
    let error = copy(&mut from, &mut to).unwrap_err().kind();
    assert!(matches!(
        error,
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    ));
    drop(from);
    sender.join().unwrap();

    let ((_source, mut from), (mut to, _sink)) = (connection(), connection());
    from.set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    let error = copy(&mut from, &mut to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// Two hundred connections through a proxy at once, each of which is half-closed before the answer is complete.
#[test]
fn a_proxy_passes_both_directions_and_their_ends_on() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = server.local_addr().unwrap();
    go(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            go(move || {
                let mut question = Vec::new();
                stream.read_to_end(&mut question).unwrap();
                question.reverse();
                stream.write_all(&question).unwrap();
            });
        }
    });
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    go(move || {
        for client in proxy.incoming() {
            let client = client.unwrap();
            go(move || {
                let server = TcpStream::connect(upstream).unwrap();
                let counts = copy_bidirectional(&client, &server).unwrap();
                assert_eq!(counts.0, counts.1);
            });
        }
    });
    let clients: Vec<_> = (0..200)
        .map(|i| {
            go(move || {
                let mut bytes = pattern(10_000 + 100 * i);
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&bytes).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                bytes.reverse();
                assert!(answer == bytes);
            })
        })
        .collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
}

/// An error on one side ends the other direction too, which would wait for ever.
#[test]
fn a_proxy_ends_when_one_side_breaks() {
    let ((client, a), (b, server)) = (connection(), connection());
    let proxy = go(move || copy_bidirectional(&a, &b).unwrap_err().kind());
    (&client).write_all(b"hello").unwrap();
    (&server).read_exact(&mut [0; 5]).unwrap();
    server.set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    let kind = proxy.join().unwrap();
    assert!(matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    ));
    client.set_read_deadline(Some(time::now() + Duration::from_secs(20)));
    // Shut down, not forgotten.
    assert_ne!(
        (&client).read(&mut [0]).map_err(|e| e.kind()),
        Err(ErrorKind::TimedOut)
    );
}
