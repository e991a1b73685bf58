//! Goroutines that nobody can wake any more are found, and no others.

#![cfg(not(any(feature = "system-allocator", feature = "thread-engine")))]

use goruntime::gc::{Gc, Trace};
use goruntime::sync::{Cond, Mutex, RwLock, Semaphore, WaitGroup};
use goruntime::{Builder, chan, go, goroutines, select, time};
use goruntime_tests::eventually;
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

fn named(name: &str, f: impl FnOnce() + Send + 'static) {
    drop(Builder::new().name(name).spawn(f).unwrap());
}

/// Starts goroutines from one that ends: so no stale word of the caller's is left.
fn apart(f: impl FnOnce() + Send + 'static) {
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

/// Of each kind several, for a stale word may make one look as if it could be woken.
const EACH: usize = 8;

fn assert_most_leaked(prefix: &str, kinds: &[&str]) {
    let found = leaked(prefix);
    for kind in kinds {
        let of_kind = found
            .iter()
            .filter(|name| name.starts_with(&format!("{prefix}{kind} ")))
            .count();
        assert!(of_kind >= EACH / 2, "{kind}: {found:?}");
    }
}

#[derive(Trace)]
struct Holder {
    sender: Box<chan::Sender<()>>,
}

#[test]
fn those_that_nobody_can_wake_are_found() {
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
    ];
    apart(|| {
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
        }
    });
    parked("leak ", (KINDS.len() + 2) * EACH);
    assert_most_leaked("leak ", KINDS);
    let report = goroutines::leaked().unwrap();
    let one = report
        .iter()
        .find(|g| g.name().is_some_and(|n| n.starts_with("leak receive")))
        .unwrap();
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

#[test]
fn goroutines_whose_last_waker_goes_are_found_then() {
    static KEPT: std::sync::Mutex<Vec<chan::Sender<u8>>> = std::sync::Mutex::new(Vec::new());
    apart(|| {
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
    apart(|| *KEPT.lock().unwrap() = Vec::new());
    let found = || leaked("late ").len() >= EACH / 2;
    eventually("the leaks to be found", Duration::from_secs(20), found);
}
