//! The whole runtime on a kernel that refuses: the first call of each kind, the second, and so on.
//!
//! A child process works through everything that asks the kernel for something, first while calls are refused and then again when they are
//! not. Whatever was refused, it ends by itself, and either the second time works, or it has ended with a message that says what was refused.

#![cfg(not(feature = "system-allocator"))]

use goruntime::gc::{Gc, GcPtr, Trace};
use goruntime::net::{TcpListener, TcpStream};
use goruntime::{Builder, JoinHandle, chan, gc, time};
use goruntime_tests::is_child;
use goruntime_tests::refuse::{self, Call, Ran};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// What was refused, in the words of whoever reported it.
type Attempt = Result<(), String>;

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Joins all, and returns the first failure.
fn all<T>(handles: Vec<Result<JoinHandle<T>, String>>) -> Attempt {
    let mut result = Ok(());
    for handle in handles {
        let ended = handle.and_then(|h| h.join().map(drop).map_err(said));
        result = result.and(ended);
    }
    result
}

fn goroutines() -> Attempt {
    let one = |n: u32| {
        Builder::new()
            .spawn(move || std::hint::black_box(n))
            .map_err(said)
    };
    all((0..20).map(one).collect())?;
    let large = Builder::new().stack_size(1 << 20).spawn(|| ());
    all(vec![large.map_err(said)])
}

fn channels_and_timers() -> Attempt {
    let (tx, rx) = chan::bounded(1);
    let sender = Builder::new().spawn(move || {
        for n in 0..10u32 {
            time::sleep(Duration::from_micros(200));
            if tx.send(n).is_err() {
                return;
            }
        }
    });
    let sender = sender.map_err(said);
    assert!(rx.iter().eq(if sender.is_ok() { 0..10 } else { 0..0 }));
    all(vec![sender])
}

fn blocked_threads() -> Attempt {
    let one = |_| {
        Builder::new()
            .spawn(|| goruntime::blocking(|| std::thread::sleep(Duration::from_millis(2))))
            .map_err(said)
    };
    all((0..4).map(one).collect())
}

fn network() -> Attempt {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").map_err(said)?);
    let address = listener.local_addr().map_err(said)?;
    let accepting = listener.clone();
    let server = Builder::new().spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = accepting.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)
    });
    let server = server.map_err(said)?;
    let client = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])
    };
    let client = client().map_err(said);
    listener.close();
    let server = server.join().map_err(said)?.map_err(said);
    client.and(server)
}

#[derive(Trace)]
struct Node {
    value: usize,
    next: GcPtr<Node>,
}

/// Kept by a static alone: what the collector must not miss, whatever it is refused.
static KEPT: std::sync::Mutex<Option<Gc<Node>>> = std::sync::Mutex::new(None);

fn collected() -> Attempt {
    const NODES: usize = 5_000;
    let mut list = None;
    for value in 0..NODES {
        let next = GcPtr::new(list);
        list = Some(Gc::new(Node { value, next }));
    }
    *KEPT.lock().unwrap() = list.take();
    for _ in 0..3 {
        gc::collect();
        // What was freed by mistake is used again, and not with these values.
        let others: Vec<Gc<Node>> = (0..NODES)
            .map(|_| {
                Gc::new(Node {
                    value: usize::MAX,
                    next: GcPtr::null(),
                })
            })
            .collect();
        assert!(others.iter().all(|other| other.value == usize::MAX));
    }
    let mut at = *KEPT.lock().unwrap();
    for value in (0..NODES).rev() {
        let node = at.expect("the list is whole");
        assert_eq!(node.value, value, "freed although a static led to it");
        at = node.next.load();
    }
    Ok(())
}

fn memory() -> Attempt {
    let mut large = Vec::<u8>::new();
    large.try_reserve_exact(80 << 20).map_err(said)?;
    large.resize(1 << 20, 7);
    Ok(())
}

fn everything() -> Attempt {
    let steps = [
        goroutines,
        channels_and_timers,
        blocked_threads,
        network,
        memory,
        collected,
    ];
    let mut result = Ok(());
    for step in steps {
        let ran = match std::panic::catch_unwind(step) {
            Ok(ran) => ran,
            Err(panic) => Err(match panic.downcast::<String>() {
                Ok(message) => *message,
                Err(_) => "a panic without a formatted message".to_owned(),
            }),
        };
        result = result.and(ran);
    }
    result
}

/// The child's part. Without a supervisor it is a test that everything works.
#[test]
fn child() {
    refuse::begin();
    if let Err(why) = everything() {
        eprintln!("refused: {why}");
    }
    refuse::end();
    everything().unwrap();
    eprintln!("works again");
}

/// Words of which one is in every message of a program that could not go on.
const CLEAR: &[&str] = &[
    "goruntime: cannot start",
    "memory allocation of",
    "failed to allocate an alternative stack",
    "failed to set up alternative stack guard page",
    "the engine cannot run on a new thread",
    "out of memory",
];

fn check(call: Call, nth: u32, ran: &Ran) {
    let text = String::from_utf8_lossy(&ran.output.stderr);
    let status = ran.output.status;
    let context = format!("{} {nth}: {status}\n{text}", call.name);
    assert!(!text.contains("freed although"), "{context}");
    if status.success() {
        assert!(text.contains("works again"), "{context}");
        return;
    }
    assert!(ran.refused > 0, "failed without a refusal: {context}");
    let by_itself = matches!(status.code(), Some(1 | 2)) || status.signal() == Some(libc::SIGABRT);
    assert!(by_itself, "{context}");
    assert!(CLEAR.iter().any(|words| text.contains(words)), "{context}");
}

/// Refuses one call of each in turn, and then all from there on.
fn refuse_in_turn(name: &'static str, number: libc::c_long, errno: i32) {
    if is_child() {
        return;
    }
    let call = Call {
        name,
        number,
        errno,
    };
    for times in [1, u32::MAX] {
        let refused = refuse::each("child", call, times, |nth, ran| check(call, nth, ran));
        assert!(refused > 0, "{name} is never called");
    }
}

#[test]
fn mappings() {
    refuse_in_turn("mmap", libc::SYS_mmap, libc::ENOMEM);
}

#[test]
fn protection() {
    refuse_in_turn("mprotect", libc::SYS_mprotect, libc::ENOMEM);
}

#[test]
fn advice() {
    refuse_in_turn("madvise", libc::SYS_madvise, libc::EINVAL);
}

#[test]
fn threads() {
    refuse_in_turn("clone3", libc::SYS_clone3, libc::EAGAIN);
}

#[test]
fn pollers() {
    refuse_in_turn("epoll_create1", libc::SYS_epoll_create1, libc::EMFILE);
    refuse_in_turn("eventfd2", libc::SYS_eventfd2, libc::EMFILE);
}

#[test]
fn watches() {
    refuse_in_turn("epoll_ctl", libc::SYS_epoll_ctl, libc::ENOSPC);
}

#[test]
fn exact_sleeps() {
    refuse_in_turn("epoll_pwait2", libc::SYS_epoll_pwait2, libc::ENOSYS);
}

#[test]
fn fences() {
    refuse_in_turn("membarrier", libc::SYS_membarrier, libc::EPERM);
}

#[test]
fn handlers() {
    refuse_in_turn("rt_sigaction", libc::SYS_rt_sigaction, libc::EINVAL);
    refuse_in_turn("sigaltstack", libc::SYS_sigaltstack, libc::ENOMEM);
}

#[test]
fn files() {
    refuse_in_turn("openat", libc::SYS_openat, libc::EMFILE);
}

#[test]
fn sockets() {
    refuse_in_turn("socket", libc::SYS_socket, libc::EMFILE);
    refuse_in_turn("accept4", libc::SYS_accept4, libc::EMFILE);
    refuse_in_turn("listen", libc::SYS_listen, libc::EADDRINUSE);
    refuse_in_turn("connect", libc::SYS_connect, libc::ECONNREFUSED);
}

#[test]
fn processors() {
    refuse_in_turn(
        "sched_getaffinity",
        libc::SYS_sched_getaffinity,
        libc::EPERM,
    );
}
