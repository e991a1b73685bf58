//! Goroutines that nobody can wake any more are found, and no others.

#![cfg(not(any(feature = "system-allocator", feature = "thread-engine")))]

use goruntime::context::Context;
use goruntime::gc::{Gc, Trace};
use goruntime::signal::{self, Signal};
use goruntime::sync::{Cond, Mutex, RwLock, Semaphore, WaitGroup};
use goruntime::{Builder, chan, future, go, goroutines, process, select, time};
use goruntime_tests::{apart, eventually};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

fn named(name: &str, f: impl FnOnce() + Send + 'static) {
    drop(Builder::new().name(name).spawn(f).unwrap());
}

/// Runs the test of this name in a process of its own: what other tests leave in memory that is not initialised would look like ways to what is waited for.
fn alone(name: &str) -> bool {
    apart(name, &[])
}

/// Starts goroutines from one that ends: so no stale word of the caller's is left.
fn started_by_another(f: impl FnOnce() + Send + 'static) {
    go(f).join().unwrap();
}

/// Waits until this many goroutines whose names begin so are parked.
fn parked(prefix: &str, count: usize) {
    eventually("goroutines to wait", Duration::from_secs(30), || {
        let all = goroutines::all().unwrap();
        let mut waiting = all.iter().filter(|g| {
            let name = g.name().unwrap_or_default();
            name.starts_with(prefix) && !["running", "runnable"].contains(&&*g.state())
        });
        waiting.by_ref().count() == count
    });
}

fn leaked(prefix: &str) -> BTreeSet<String> {
    let leaked = goroutines::leaked().unwrap();
    let names = leaked.iter().filter_map(|g| g.name());
    names
        .filter(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

/// Of each kind several, and looked for several times: a stale word may make one look as if it could be woken.
const EACH: usize = 8;

fn assert_most_leaked(prefix: &str, kinds: &[&str]) {
    let mut found = BTreeSet::new();
    let has_most = |found: &BTreeSet<String>, kind: &str| {
        let of_kind = format!("{prefix}{kind} ");
        found
            .iter()
            .filter(|name| name.starts_with(&of_kind))
            .count()
            >= EACH / 2
    };
    eventually("the leaks to be found", Duration::from_secs(30), || {
        found.append(&mut leaked(prefix));
        kinds.iter().all(|kind| has_most(&found, kind))
    });
}

#[derive(Trace)]
struct Holder {
    sender: Box<chan::Sender<()>>,
}

#[test]
fn those_that_nobody_can_wake_are_found() {
    if !alone("those_that_nobody_can_wake_are_found") {
        return;
    }
    const KINDS: &[&str] = &[
        "receive",
        "send",
        "select",
        "nothing",
        "mutex",
        "read",
        "write",
        "cond",
        "group",
        "semaphore",
        "join",
        "each other",
        "collected",
        "context",
    ];
    started_by_another(|| {
        for n in 0..EACH {
            let named =
                |kind: &str, f: Box<dyn FnOnce() + Send>| named(&format!("leak {kind} {n}"), f);
            named(
                "receive",
                Box::new(|| {
                    let (_sender, receiver) = chan::unbuffered::<u8>();
                    let _ = receiver.recv();
                }),
            );
            named(
                "send",
                Box::new(|| {
                    let (sender, _receiver) = chan::unbuffered();
                    let _ = sender.send([1u64; 30]);
                }),
            );
            named(
                "select",
                Box::new(|| {
                    let (_s, a) = chan::unbuffered::<u8>();
                    let (_t, b) = chan::unbuffered::<u8>();
                    select! {
                        recv(a) -> _ => {},
                        recv(b) -> _ => {},
                    }
                }),
            );
            named(
                "nothing",
                Box::new(|| {
                    _ = goruntime::chan::select::select(&[], goruntime::chan::select::Wait::Forever)
                }),
            );
            named(
                "mutex",
                Box::new(|| {
                    let mutex = Arc::new(Mutex::new(1));
                    std::mem::forget(mutex.lock());
                    *mutex.lock() = 2;
                }),
            );
            named(
                "read",
                Box::new(|| {
                    let lock = Arc::new(RwLock::new(1));
                    std::mem::forget(lock.write());
                    drop(lock.read());
                }),
            );
            named(
                "write",
                Box::new(|| {
                    let lock = Arc::new(RwLock::new(1));
                    std::mem::forget(lock.read());
                    *lock.write() = 2;
                }),
            );
            named(
                "cond",
                Box::new(|| {
                    let pair = Arc::new((Mutex::new(1), Cond::new()));
                    drop(pair.1.wait(pair.0.lock()));
                }),
            );
            named(
                "group",
                Box::new(|| {
                    let group = Arc::new(WaitGroup::new());
                    group.add(1);
                    group.wait();
                }),
            );
            named(
                "semaphore",
                Box::new(|| Arc::new(Semaphore::new(0)).acquire(1)),
            );
            named(
                "join",
                Box::new(move || {
                    let (_sender, receiver) = chan::unbuffered::<u8>();
                    let inner = Builder::new().name(format!("leak receive joined {n}"));
                    drop(inner.spawn(move || receiver.recv().is_ok()).unwrap().join());
                    drop(_sender);
                }),
            );
            // Each has what the other waits for.
            let (one, first) = chan::unbuffered::<u8>();
            let (other, second) = chan::unbuffered::<u8>();
            let wait = |_kept: chan::Sender<u8>, receiver: chan::Receiver<u8>| {
                move || _ = receiver.recv().map(|_| _kept.close())
            };
            named("each other", Box::new(wait(other, first)));
            crate::named(&format!("leak other {n}"), wait(one, second));
            named(
                "collected",
                Box::new(|| {
                    let (sender, receiver) = chan::unbuffered::<()>();
                    let holder = Gc::new(Holder {
                        sender: Box::new(sender),
                    });
                    let _ = receiver.recv();
                    goruntime::gc::keep_alive(holder);
                }),
            );
            named(
                "context",
                Box::new(|| {
                    let (context, _cancel) = Context::background().with_cancel();
                    context.done().recv();
                }),
            );
        }
    });
    parked("leak ", (KINDS.len() + 2) * EACH);
    assert_most_leaked("leak ", KINDS);
    let mut report = Vec::new();
    let is_receive = |g: &goroutines::GoroutineStack| {
        let name = g.name().unwrap_or_default();
        name.starts_with("leak receive")
    };
    eventually("a receiver", Duration::from_secs(30), || {
        report = goroutines::leaked().unwrap();
        report.iter().any(is_receive)
    });
    let one = report.iter().find(|g| is_receive(g)).unwrap();
    let text = one.to_string();
    assert!(
        text.contains("[chan receive") && text.contains("leaks.rs"),
        "{text}"
    );
    assert!(
        one.created_at()
            .is_some_and(|site| site.file().ends_with("leaks.rs"))
    );
}

#[test]
fn those_that_may_still_be_woken_are_not() {
    type Kept = (Mutex<Vec<chan::Sender<u8>>>, Cond, WaitGroup);
    static KEPT: OnceLock<Arc<Kept>> = OnceLock::new();
    let kept = KEPT.get_or_init(|| {
        let group = WaitGroup::new();
        group.add(1);
        Arc::new((Mutex::new(Vec::new()), Cond::new(), group))
    });
    let (on_stack, receiver) = chan::unbuffered::<u8>();
    named("live held by a stack", move || _ = receiver.recv());
    let (sender, receiver) = chan::unbuffered::<u8>();
    kept.0.lock().push(sender);
    named("live held by a static", move || _ = receiver.recv());
    named("live condition", || {
        drop(KEPT.wait().1.wait(KEPT.wait().0.lock()))
    });
    named("live group", || KEPT.wait().2.wait());
    // A chain: who waits for a goroutine that waits for a channel that somebody has.
    let (chain, receiver) = chan::unbuffered::<u8>();
    named("live chain", move || {
        let (held, waits) = chan::unbuffered::<u8>();
        named("live end of the chain", move || _ = waits.recv());
        let _ = receiver.recv();
        drop(held);
    });
    // Held by a collected object, and that by an object.
    let (sender, receiver) = chan::unbuffered::<()>();
    let holder = Gc::new(Gc::new(Holder {
        sender: Box::new(sender),
    }));
    named("live collected", move || _ = receiver.recv());
    // Nobody has the other ends, but these ends come by themselves.
    named("live sleep", || time::sleep(Duration::from_secs(3600)));
    named("live deadline", || {
        let (_sender, receiver) = chan::unbuffered::<u8>();
        let _ = receiver.recv_until(time::now() + Duration::from_secs(3600));
    });
    let listener = goruntime::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    named("live accept", move || drop(listener.accept()));
    let quiet = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let quiet_address = quiet.local_addr().unwrap();
    named("live read", move || {
        let mut stream = goruntime::net::TcpStream::connect(quiet_address).unwrap();
        let _ = stream.read(&mut [0]);
    });
    // On a lock that lies on a stack, which the holder has a reference to.
    named("live scope", || {
        let group = WaitGroup::new();
        group.add(1);
        group.wait();
    });
    let thread = std::thread::spawn({
        let (sender, receiver) = chan::unbuffered::<u8>();
        named("live held by a thread", move || _ = receiver.recv());
        move || {
            std::thread::park();
            drop(sender);
        }
    });
    parked("live ", 13);
    for _ in 0..3 {
        assert_eq!(leaked("live "), BTreeSet::new());
    }
    thread.thread().unpark();
    thread.join().unwrap();
    let _ = (address, on_stack.close(), chain.close(), quiet);
    goruntime::gc::keep_alive(holder);
}

/// Whoever is woken by a clock, the kernel, a thread or a future is not asked who could wake it; and the runtime's own goroutines have not leaked.
#[test]
fn what_comes_from_outside_is_waited_for() {
    const HOUR: Duration = Duration::from_secs(3600);
    if !alone("what_comes_from_outside_is_waited_for") {
        return;
    }
    let waits = AtomicUsize::new(0);
    let waits_for = |what: &str, f: Box<dyn FnOnce() + Send>| {
        waits.fetch_add(1, Relaxed);
        named(&format!("outside {what}"), f);
    };
    waits_for("timer", Box::new(|| _ = time::after(HOUR).recv()));
    waits_for(
        "ticker",
        Box::new(|| {
            let (_sender, receiver) = chan::unbuffered::<u8>();
            let ticker = time::Ticker::new(HOUR);
            select! {
                recv(receiver) -> _ => {},
                recv(ticker) -> _ => {},
            }
        }),
    );
    waits_for(
        "default",
        Box::new(|| {
            let (_sender, receiver) = chan::unbuffered::<u8>();
            select! {
                recv(receiver) -> _ => {},
                default(HOUR) => {},
            }
        }),
    );
    waits_for(
        "deadline",
        Box::new(|| {
            let (parent, _cancel) = Context::background().with_timeout(HOUR);
            let (context, _cancel) = parent.with_cancel();
            context.done().recv();
        }),
    );
    let (sender, receiver) = chan::unbuffered::<u8>();
    time::after_func(HOUR, move || _ = sender.send(1));
    waits_for("function at a time", Box::new(move || _ = receiver.recv()));
    let signals = signal::notify([Signal::USER1]).unwrap();
    waits_for("signal", Box::new(move || _ = signals.recv()));
    waits_for(
        "child",
        Box::new(|| {
            // Ends with this process.
            let mut command = process::Command::new("cat");
            let child = command.stdin(process::Stdio::piped()).spawn().unwrap();
            child.process().wait().unwrap();
        }),
    );
    let (mut read_end, write_end) = goruntime::io::pipe().unwrap();
    waits_for("pipe", Box::new(move || _ = read_end.read(&mut [0])));
    // The waker is all that there is of who could wake, and it lies where a plain thread keeps it.
    let (tell, told) = std::sync::mpsc::channel::<Waker>();
    waits_for(
        "future",
        Box::new(move || {
            future::block_on(std::future::poll_fn(|context| {
                let _ = tell.send(context.waker().clone());
                Poll::<()>::Pending
            }));
        }),
    );
    let (sender, receiver) = chan::unbuffered::<u8>();
    waits_for("thread-local", Box::new(move || _ = receiver.recv()));
    let thread = std::thread::spawn(move || {
        thread_local!(static KEPT: RefCell<Vec<chan::Sender<u8>>> = const { RefCell::new(Vec::new()) });
        KEPT.with_borrow_mut(|kept| kept.push(sender));
        let waker = told.recv().unwrap();
        std::thread::park();
        drop(waker);
    });
    // Who could send has not even begun to run, or is in a system call.
    let (sender, receiver) = chan::unbuffered::<u8>();
    waits_for("sleeping thread", Box::new(move || _ = receiver.recv()));
    go(move || {
        goruntime::blocking(|| std::thread::sleep(HOUR));
        sender.send(1)
    });
    // A message in a channel holds the other end, and that channel's receiver is alive.
    let (sender, receiver) = chan::unbuffered::<u8>();
    let (post, letters) = chan::bounded::<Box<chan::Sender<u8>>>(1);
    post.send(Box::new(sender)).unwrap();
    waits_for("letter", Box::new(move || _ = receiver.recv()));
    let server = goruntime::debug::serve("127.0.0.1:0").unwrap();
    goruntime::gc::collect();
    parked("outside ", waits.load(Relaxed));
    for _ in 0..3 {
        let leaked = goroutines::leaked().unwrap();
        assert!(leaked.is_empty(), "{leaked:#?}");
    }
    let _ = (letters.recv(), &server, &write_end);
    thread.thread().unpark();
    std::process::exit(0);
}

/// Goroutines that are at it all the time, waking and being woken, are never caught in between and taken for leaked.
#[test]
fn goroutines_at_work_are_never_taken_for_leaked() {
    const RING: usize = 20;
    let over = Arc::new(AtomicBool::new(false));
    let laps = Arc::new(AtomicUsize::new(0));
    let mut ends: Vec<_> = (0..RING).map(|_| chan::unbuffered::<u64>()).collect();
    let first = ends[0].0.clone();
    let mut next = first.clone();
    while let Some((sender, receiver)) = ends.pop() {
        named("busy ring", move || {
            while let Ok(n) = receiver.recv() {
                if next.send(n + 1).is_err() {
                    break;
                }
            }
            next.close();
        });
        next = sender;
    }
    named("busy first", move || _ = first.send(0));
    let mutex = Arc::new(Mutex::new(0u64));
    for _ in 0..4 {
        let (over, mutex) = (over.clone(), mutex.clone());
        named("busy lock", move || {
            while !over.load(Relaxed) {
                let mut held = mutex.lock();
                goruntime::yield_now();
                *held += 1;
            }
        });
    }
    // The one who could wake is always younger than the one who waits.
    for _ in 0..4 {
        let (over, laps) = (over.clone(), laps.clone());
        named("busy parent", move || {
            while !over.load(Relaxed) {
                let (sender, receiver) = chan::unbuffered();
                let group = Arc::new(WaitGroup::new());
                group.add(1);
                let done = group.clone();
                named("busy child", move || {
                    let _ = sender.send(Box::new(1));
                    done.done();
                });
                select! {
                    recv(receiver) -> one => assert_eq!(*one.unwrap(), 1),
                    recv(receiver) -> _ => {},
                }
                group.wait();
                let joined = Builder::new()
                    .name("busy joined")
                    .spawn(goruntime::yield_now);
                joined.unwrap().join().unwrap();
                laps.fetch_add(1, Relaxed);
            }
        });
    }
    for _ in 0..20 {
        let before = laps.load(Relaxed);
        assert_eq!(leaked("busy "), BTreeSet::new());
        eventually("work", Duration::from_secs(30), || {
            laps.load(Relaxed) > before
        });
    }
    over.store(true, Relaxed);
}

#[test]
fn goroutines_whose_last_waker_goes_are_found_then() {
    if !alone("goroutines_whose_last_waker_goes_are_found_then") {
        return;
    }
    static KEPT: std::sync::Mutex<Vec<chan::Sender<u8>>> = std::sync::Mutex::new(Vec::new());
    started_by_another(|| {
        for n in 0..EACH {
            let (sender, receiver) = chan::unbuffered::<u8>();
            let own = sender.clone();
            named(&format!("late receive {n}"), move || {
                let _ = receiver.recv();
                drop(own);
            });
            KEPT.lock().unwrap().push(sender);
        }
    });
    parked("late ", EACH);
    assert_eq!(leaked("late "), BTreeSet::new());
    started_by_another(|| *KEPT.lock().unwrap() = Vec::new());
    let found = || leaked("late ").len() >= EACH / 2;
    eventually("the leaks to be found", Duration::from_secs(20), found);
}
