//! Pipes of the system, and those in memory.

use super::pattern;
use goruntime::io::{memory_pipe, pipe};
use goruntime::{go, simulation, time};
use std::io::{Error, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn what_goes_in_comes_out() {
    let bytes = pattern(1_000_000);
    let (mut reader, mut writer) = pipe().unwrap();
    let sent = bytes.clone();
    let sender = go(move || writer.write_all(&sent).unwrap());
    let mut got = Vec::new();
    reader.read_to_end(&mut got).unwrap();
    sender.join().unwrap();
    assert!(got == bytes);

    let (mut reader, mut writer) = memory_pipe(1000);
    let sent = bytes.clone();
    let sender = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut got = Vec::new();
    reader.read_to_end(&mut got).unwrap();
    sender.join().unwrap();
    assert!(got == bytes);
}

#[test]
fn waiting_at_a_pipe_ends_by_a_deadline_or_a_close() {
    let (reader, mut writer) = pipe().unwrap();
    let reader = Arc::new(reader);
    let wait = || {
        let reader = reader.clone();
        go(move || (&*reader).read(&mut [0]).unwrap_err().kind())
    };
    let waiter = wait();
    std::thread::sleep(Duration::from_millis(5));
    reader.set_read_deadline(Some(time::now()));
    assert_eq!(waiter.join().unwrap(), ErrorKind::TimedOut);
    reader.set_read_deadline(None);
    let waiter = wait();
    std::thread::sleep(Duration::from_millis(5));
    reader.close();
    assert_eq!(waiter.join().unwrap(), ErrorKind::NotConnected);

    let timeout = Duration::from_millis(10);
    writer.set_write_timeout(Some(timeout)).unwrap();
    let error = loop {
        if let Err(error) = writer.write(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut, "it is full");
    drop(reader);
    assert_eq!(
        writer.write(b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
}

#[test]
fn the_ends_of_a_memory_pipe() {
    let (mut reader, mut writer) = memory_pipe(100);
    writer.write_all(b"so far").unwrap();
    writer.fail(Error::other("and no further"));
    let mut text = [0; 6];
    reader.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"so far");
    let error = reader.read(&mut text).unwrap_err();
    assert_eq!(error.to_string(), "and no further");
    assert_eq!(reader.read(&mut text).unwrap(), 0, "an error is told once");

    let (reader, mut writer) = memory_pipe(1);
    let writing = go(move || writer.write_all(b"two").unwrap_err().kind());
    std::thread::sleep(Duration::from_millis(5));
    drop(reader);
    assert_eq!(writing.join().unwrap(), ErrorKind::BrokenPipe);
}

/// Under schedules that a seed decides: nothing is lost or swapped, and both ends are heard.
#[test]
fn a_memory_pipe_in_simulations() {
    simulation::check(200, || {
        let (mut reader, mut writer) = memory_pipe(3);
        let writing = go(move || {
            for chunk in b"the quick brown fox".chunks(5) {
                writer.write_all(chunk).unwrap();
            }
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        writing.join().unwrap();
        assert_eq!(text, "the quick brown fox");
    });
}
