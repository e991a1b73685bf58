//! The whole runtime under everything at once, round after round, for as many seconds as the argument says.
//!
//! Each round starts goroutines that communicate, sleep, block, serve sockets and keep collected objects, checks what they did, and waits for their end.
//! Between rounds the program should be what it was: so once a second, between two rounds, a line says what it has:
//! `soak second S rounds N rss BYTES goroutines N threads N fds N cycles N`. `cargo xtask soak` looks whether anything grows.

use goruntime::gc::{Gc, GcPtr, Trace};
use goruntime::net::{TcpListener, TcpStream};
use goruntime::sync::WaitGroup;
use goruntime::time::{Duration, Instant, sleep};
use goruntime::{blocking, chan, go, metrics};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

fn main_loop(seconds: u64) -> Result<(), String> {
    let begin = Instant::now();
    let (mut rounds, mut told) = (0u64, 0);
    while begin.elapsed().as_secs() < seconds {
        storm_of_goroutines()?;
        messages()?;
        sleepers()?;
        objects()?;
        sockets().map_err(|why| format!("sockets: {why}"))?;
        blockers();
        rounds += 1;
        let second = begin.elapsed().as_secs();
        if second > told {
            told = second;
            tell(second, rounds)?;
        }
    }
    println!("soak over after {rounds} rounds");
    Ok(())
}

fn tell(second: u64, rounds: u64) -> Result<(), String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|why| why.to_string())?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let fds = std::fs::read_dir("/proc/self/fd")
        .map_err(|why| why.to_string())?
        .count();
    let m = metrics::snapshot();
    println!(
        "soak second {second} rounds {rounds} rss {} goroutines {} threads {} fds {fds} cycles {}",
        field("VmRSS:").unwrap_or(0) * 1024,
        m.goroutines,
        field("Threads:").unwrap_or(0),
        m.gc_cycles
    );
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?} and not {expected:?}"))
}

/// Goroutines that start others and end.
fn storm_of_goroutines() -> Result<(), String> {
    let done = Arc::new(AtomicU64::new(0));
    let group = Arc::new(WaitGroup::new());
    for _ in 0..100 {
        group.add(1);
        let (done, group) = (done.clone(), group.clone());
        go(move || {
            let children: Vec<_> = (0..20).map(|n: u64| go(move || n)).collect();
            for child in children {
                done.fetch_add(child.join().unwrap_or(u64::MAX), Relaxed);
            }
            group.done();
        });
    }
    group.wait();
    same("sum of the children", done.load(Relaxed), 100 * 190)
}

/// Many to many, through one channel.
fn messages() -> Result<(), String> {
    let (send, receive) = chan::bounded::<u64>(16);
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let receive = receive.clone();
            go(move || receive.iter().sum::<u64>())
        })
        .collect();
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let send = send.clone();
            go(move || (0..500).try_for_each(|n| send.send(n)).is_ok())
        })
        .collect();
    drop((send, receive));
    for sender in senders {
        same("a sender", sender.join().ok(), Some(true))?;
    }
    let sums = receivers
        .into_iter()
        .map(|receiver| receiver.join().unwrap_or(u64::MAX));
    same("sum of the messages", sums.sum::<u64>(), 8 * 499 * 250)
}

/// Timers, those that fire and those that do not.
fn sleepers() -> Result<(), String> {
    let (send, receive) = chan::bounded::<u64>(1000);
    for n in 0..200 {
        let send = send.clone();
        go(move || {
            sleep(Duration::from_micros(100 + n * 10));
            send.send(n).is_ok()
        });
    }
    drop(send);
    let mut sum = 0;
    while let Ok(n) = receive.recv_until(Instant::now() + Duration::from_secs(20)) {
        sum += n;
    }
    same("sum of the sleepers", sum, 199 * 100)
}

#[derive(Trace)]
struct Node {
    value: u64,
    next: GcPtr<Node>,
}

/// Lists of collected objects on the stacks of goroutines that wait meanwhile.
fn objects() -> Result<(), String> {
    let keepers: Vec<_> = (0..20)
        .map(|_| {
            go(|| {
                let mut list: Option<Gc<Node>> = None;
                for value in 0..2000 {
                    let next = GcPtr::new(list);
                    list = Some(Gc::new(Node { value, next }));
                    if value % 500 == 0 {
                        goruntime::yield_now();
                    }
                }
                let mut sum = 0;
                while let Some(node) = list {
                    sum += node.value;
                    list = node.next.load();
                }
                sum
            })
        })
        .collect();
    for keeper in keepers {
        same("sum of a list", keeper.join().ok(), Some(1999 * 1000))?;
    }
    Ok(())
}

/// Connections that come, say something and go.
fn sockets() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = go(move || -> std::io::Result<()> {
        for _ in 0..10 {
            let (mut stream, _) = listener.accept()?;
            go(move || -> std::io::Result<()> {
                let mut word = [0; 4];
                stream.read_exact(&mut word)?;
                stream.write_all(&word)
            });
        }
        Ok(())
    });
    let clients: Vec<_> = (0..10u32)
        .map(|n| {
            go(move || -> std::io::Result<bool> {
                let mut stream = TcpStream::connect(address)?;
                stream.write_all(&n.to_le_bytes())?;
                let mut word = [0; 4];
                stream.read_exact(&mut word)?;
                Ok(word == n.to_le_bytes())
            })
        })
        .collect();
    let failed = || std::io::Error::other("a goroutine panicked");
    for client in clients {
        if !client.join().map_err(|_| failed())?? {
            return Err(std::io::Error::other("an echo is another word"));
        }
    }
    server.join().map_err(|_| failed())?
}

/// Calls that block their thread, announced and not.
fn blockers() {
    let all: Vec<_> = (0..8)
        .map(|n| {
            go(move || match n % 2 {
                0 => blocking(|| std::thread::sleep(Duration::from_millis(1))),
                _ => std::thread::sleep(Duration::from_millis(1)),
            })
        })
        .collect();
    for one in all {
        let _ = one.join();
    }
}

#[goruntime::main]
fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    if let Err(why) = main_loop(seconds.unwrap_or(10)) {
        println!("soak failed: {why}");
        std::process::exit(1);
    }
}
