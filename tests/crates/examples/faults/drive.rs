//! The course of it: start the subject, load it, hurt it, and look what is left.

use crate::disk::Disk;
use crate::faults::{self, FAULTS, descriptors_of, status_of};
use crate::load::{self, PATIENCE, Shared};
use goruntime::go;
use goruntime::process::{Child, Command, Stdio};
use goruntime::time::{Duration, Instant, sleep};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Between two faults.
const RESPITE: Duration = Duration::from_millis(300);

/// Descriptors and goroutines that come and go.
const FEW: u64 = 3;

/// What the subject has when nobody wants anything of it.
#[derive(Clone, Copy, Debug)]
struct Rest {
    goroutines: u64,
    descriptors: u64,
}

/// Runs for so many seconds.
pub fn run(seconds: u64) -> io::Result<()> {
    let disk = Disk::new()?;
    let (mut subject, addresses) = start(&disk)?;
    let pid = subject.id() as i32;
    let shared = Arc::new(Shared::new(addresses, disk));
    load::ask(&shared, "/settle")?;
    let before = rest(&shared, pid)?;

    let (stores, others) = load::start(&shared);
    let teller = {
        let shared = shared.clone();
        go(move || tell(&shared, pid))
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut felt = [0u32; FAULTS.len()];
    'all: loop {
        for ((_, fault), felt) in FAULTS.iter().zip(&mut felt) {
            if Instant::now() >= end || subject.try_wait()?.is_some() {
                break 'all;
            }
            *felt += u32::from(fault(&shared, pid)?);
            sleep(RESPITE);
        }
    }
    shared.over.store(true, Relaxed);
    let panicked = || io::Error::other("a client has panicked");
    let mut keys = Vec::new();
    for client in stores {
        keys.extend(client.join().map_err(|_| panicked())?);
    }
    for client in others {
        client.join().map_err(|_| panicked())?;
    }
    teller.join().map_err(|_| panicked())?;

    if let Some(status) = subject.try_wait()? {
        shared.wrong(format!("the subject has ended: {status}"));
    } else {
        if let Err(error) = load::verify(&shared, &keys) {
            shared.wrong(error.to_string());
        }
        if let Err(error) = settle(&shared, pid, before) {
            shared.wrong(error.to_string());
        }
        if let Err(error) = faults::memory_is_back(&shared) {
            shared.wrong(error.to_string());
        }
    }
    for ((name, _), felt) in FAULTS.iter().zip(felt) {
        println!("fault {name}: {felt} times");
        if felt == 0 {
            shared.wrong(format!("nothing was felt of the fault `{name}`"));
        }
    }
    println!(
        "{} answers, {} acknowledged writes, {} connections reset or handlers that panicked on purpose, {} others broken",
        shared.done.load(Relaxed),
        shared.acknowledged.load(Relaxed),
        shared.injected.load(Relaxed),
        shared.broken.load(Relaxed)
    );
    subject.kill()?;
    subject.wait()?;
    let wrong = shared.all_wrong();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(wrong.join("\n")))
}

/// Starts the subject, and waits until it serves.
fn start(disk: &Disk) -> io::Result<(Child, [SocketAddr; 3])> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("serve")
        .arg(disk.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut subject = command.spawn()?;
    let mut line = String::new();
    if let Some(said) = subject.stdout.take() {
        BufReader::new(said).read_line(&mut line)?;
    }
    let mut addresses = line.split_whitespace().skip(1).map(str::parse);
    match [(); 3].map(|()| addresses.next()) {
        [Some(Ok(store)), Some(Ok(http)), Some(Ok(sockets))] => {
            Ok((subject, [store, http, sockets]))
        }
        _ => Err(io::Error::other(format!("the subject says {line:?}"))),
    }
}

/// A number that the subject says of itself.
fn figure(figures: &str, name: &str) -> u64 {
    let mut words = figures.split_whitespace();
    words.find(|word| *word == name);
    words
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn rest(shared: &Shared, pid: i32) -> io::Result<Rest> {
    Ok(Rest {
        goroutines: figure(&load::ask(shared, "/figures")?, "goroutines"),
        descriptors: descriptors_of(pid)?,
    })
}

/// Says each second what the subject has.
fn tell(shared: &Shared, pid: i32) {
    let begin = Instant::now();
    while !shared.over.load(Relaxed) {
        sleep(Duration::from_secs(1));
        let Ok(figures) = load::ask(shared, "/figures") else {
            continue;
        };
        println!(
            "soak second {} rounds {} rss {} goroutines {} threads {} fds {} cycles {}",
            begin.elapsed().as_secs(),
            shared.done.load(Relaxed),
            status_of(pid, "VmRSS:").unwrap_or(0) * 1024,
            figure(&figures, "goroutines"),
            status_of(pid, "Threads:").unwrap_or(0),
            descriptors_of(pid).unwrap_or(0),
            figure(&figures, "cycles"),
        );
    }
}

/// Waits until the subject is at rest again: no goroutine, descriptor or session of the load's is left.
fn settle(shared: &Shared, pid: i32, before: Rest) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leaked = load::ask(shared, "/settle")?;
        let now = rest(shared, pid)?;
        let figures = load::ask(shared, "/figures")?;
        let (started, cleaned) = (figure(&figures, "started"), figure(&figures, "cleaned"));
        let unexpected = figure(&figures, "unexpected");
        if unexpected > 0 {
            return Err(io::Error::other(format!(
                "{unexpected} panics that nobody asked for"
            )));
        }
        // A stale word may keep a few sessions.
        if leaked == "leaked 0"
            && now.goroutines <= before.goroutines + FEW
            && now.descriptors <= before.descriptors + FEW
            && started - cleaned <= started / 20 + FEW
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            let goroutines = load::ask(shared, "/goroutines")?;
            return Err(io::Error::other(format!(
                "it does not come to rest: {before:?}, then {now:?}, {leaked}; {cleaned} sessions of {started} were found dead\n{goroutines}"
            )));
        }
        sleep(Duration::from_millis(50));
    }
}
