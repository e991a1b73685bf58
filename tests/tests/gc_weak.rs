//! Weak pointers and cleanups: what they say of the living, of the dead, and when.

#![cfg(not(feature = "system-allocator"))]

use goruntime::gc::{self, Array, Gc, GcCell, GcPtr, Trace, Weak};
use goruntime::{chan, go, yield_now};
use goruntime_tests::dying::{self, MANY, MOST};
use goruntime_tests::{child, is_child};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError};

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

#[derive(Trace)]
struct Node {
    number: usize,
    next: GcPtr<Node>,
}

fn node(number: usize) -> Gc<Node> {
    Gc::new(Node {
        number,
        next: GcPtr::null(),
    })
}

/// Runs `make` where it leaves no trace on the caller's stack.
fn apart<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> T {
    go(make).join().unwrap()
}

/// Collects until the condition holds.
fn collect_until(what: &str, holds: impl FnMut() -> bool) {
    dying::collect_until(what, |_| node(usize::MAX), holds);
}

fn count(n: &AtomicUsize) {
    n.fetch_add(1, SeqCst);
}

fn dead(weak: &[Weak<Node>]) -> usize {
    weak.iter().filter(|weak| weak.upgrade().is_none()).count()
}

#[test]
fn the_living_are_found_and_the_dead_are_not() {
    let kept = apart(|| (0..MANY).map(node).collect::<Vec<_>>());
    let to_kept: Vec<_> = kept.iter().map(|node| node.downgrade()).collect();
    let to_dropped = apart(|| (0..MANY).map(|n| node(n).downgrade()).collect::<Vec<_>>());
    collect_until("objects that only weak pointers lead to to die", || {
        dead(&to_dropped) >= MOST
    });
    for (n, weak) in to_kept.iter().enumerate() {
        assert_eq!(weak.upgrade().unwrap().number, n);
    }
    for (n, weak) in to_dropped.iter().enumerate() {
        assert!(weak.upgrade().is_none_or(|node| node.number == n));
    }
    gc::keep_alive(kept[0]);
}

#[test]
fn they_are_equal_just_if_their_objects_are_the_same_dead_or_alive() {
    let (map, again) = apart(|| {
        let nodes: Vec<_> = (0..MANY).map(node).collect();
        let map: HashMap<_, _> = nodes
            .iter()
            .map(|node| (node.downgrade(), node.number))
            .collect();
        let again: Vec<_> = nodes.iter().map(|node| node.downgrade()).collect();
        (map, again)
    });
    assert_eq!(map.len(), MANY);
    collect_until("the objects to die", || dead(&again) >= MOST);
    let fresh = apart(|| (0..MANY).map(node).collect::<Vec<_>>());
    for (n, weak) in again.iter().enumerate() {
        assert_eq!(map[weak], n);
        assert!(fresh.iter().all(|other| other.downgrade() != *weak));
    }
    assert_eq!(Weak::<Node>::new(), Weak::default());
    assert!(Weak::<Node>::new().upgrade().is_none());
    assert_ne!(Weak::new(), again[0]);
}

/// A weak pointer is a pointer to be found like any other, and finds nothing for its object.
#[test]
fn they_may_be_kept_anywhere() {
    #[derive(Trace)]
    struct Holder {
        weak: Weak<Node>,
        boxed: Box<Weak<Node>>,
    }
    static STATIC: Mutex<Vec<Weak<Node>>> = Mutex::new(Vec::new());
    // Each in one place only.
    let holders = apart(|| {
        let mut kept = STATIC.lock().unwrap();
        kept.extend((0..MANY).map(|n| node(n).downgrade()));
        let holder = |n| {
            let boxed = Box::new(node(n).downgrade());
            let weak = node(n).downgrade();
            Gc::new(Holder { weak, boxed })
        };
        (0..MANY).map(holder).collect::<Vec<_>>()
    });
    let cells: Vec<_> = (0..MANY)
        .map(|_| Gc::new(GcCell::new(Weak::new())))
        .collect();
    for (n, cell) in cells.iter().enumerate() {
        cell.set(apart(move || node(n).downgrade()));
    }
    let each =
        |f: fn(&Holder) -> Weak<Node>| holders.iter().map(|holder| f(holder)).collect::<Vec<_>>();
    collect_until("the objects to die", || {
        let kept = STATIC
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let cells = cells.iter().map(|cell| cell.get()).collect();
        [kept, each(|h| h.weak), each(|h| *h.boxed), cells]
            .iter()
            .all(|weak| dead(weak) >= MOST)
    });
}

#[test]
fn of_arrays_too() {
    let kept = Gc::array(1000, |n| n);
    let weak = kept.downgrade();
    let dropped = apart(|| {
        let arrays = (0..MANY).map(|n| Gc::array(n, |_| GcPtr::<Node>::null()).downgrade());
        arrays.collect::<Vec<Weak<Array<GcPtr<Node>>>>>()
    });
    collect_until("the arrays to die", || {
        dropped
            .iter()
            .filter(|weak| weak.upgrade().is_none())
            .count()
            >= MOST
    });
    assert_eq!(weak.upgrade().unwrap()[999], 999);
    gc::keep_alive(kept);
}

/// An object whose fields are still to be dropped is dead already to weak pointers, and so it is to those in what it owns.
#[test]
fn before_drop_glue_runs_they_lead_nowhere() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    struct Probe(Mutex<Weak<Owner>>);
    impl Drop for Probe {
        fn drop(&mut self) {
            SEEN.fetch_add(
                usize::from(self.0.get_mut().unwrap().upgrade().is_some()),
                SeqCst,
            );
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    #[derive(Trace)]
    struct Owner {
        probe: Box<Probe>,
    }
    apart(|| {
        for _ in 0..MANY {
            let owner = Gc::new(Owner {
                probe: Box::new(Probe(Mutex::new(Weak::new()))),
            });
            *owner.probe.0.lock().unwrap() = owner.downgrade();
        }
    });
    collect_until("the drop glue to run", || DROPPED.load(SeqCst) >= MOST);
    assert_eq!(SEEN.load(SeqCst), 0, "a destructor has reached its object");
}

#[test]
fn cleanups_run_once_after_the_death_of_each_object_of_a_cycle() {
    static RUNS: [AtomicUsize; MANY] = [const { AtomicUsize::new(0) }; MANY];
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let clean = |(n, weak): (usize, Weak<Node>)| {
        SEEN.fetch_add(usize::from(weak.upgrade().is_some()), SeqCst);
        RUNS[n].fetch_add(1, SeqCst);
    };
    let kept = node(0);
    gc::add_cleanup(kept, clean, (0, kept.downgrade()));
    apart(move || {
        // Cycles of two, and several cleanups for each object.
        for n in (2..MANY).step_by(2) {
            let (a, b) = (node(n), node(n + 1));
            a.next.store(Some(b));
            b.next.store(Some(a));
            for node in [a, b, a, b] {
                gc::add_cleanup(node, clean, (node.number, node.downgrade()));
            }
        }
    });
    let ran = || RUNS.iter().map(|n| n.load(SeqCst)).sum::<usize>();
    collect_until("the cleanups to run", || ran() >= 2 * MOST);
    (0..3).for_each(|_| gc::collect());
    assert!(RUNS.iter().all(|n| n.load(SeqCst) <= 2), "one ran twice");
    assert_eq!(RUNS[0].load(SeqCst), 0, "the object is alive");
    assert_eq!(SEEN.load(SeqCst), 0, "a weak pointer led to a dead object");
    gc::keep_alive(kept);
}

#[test]
fn a_cleanup_that_was_stopped_does_not_run() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    let argument = Arc::new(());
    let given = argument.clone();
    let cleanups = apart(move || {
        let add = |n| {
            let node = node(n);
            let wrong = gc::add_cleanup(node, |_: Arc<()>| panic!("it was stopped"), given.clone());
            let right = gc::add_cleanup(node, |()| count(&RAN), ());
            assert!(wrong.stop() && !wrong.stop());
            right
        };
        (0..MANY).map(add).collect::<Vec<_>>()
    });
    assert_eq!(
        Arc::strong_count(&argument),
        1,
        "the arguments are dropped at once"
    );
    collect_until("the others to run", || RAN.load(SeqCst) >= MOST);
    let late = cleanups.iter().filter(|cleanup| !cleanup.stop()).count();
    assert!(late >= MOST, "what has run cannot be stopped");
}

#[test]
fn what_panics_or_blocks_does_not_hold_up_the_others() {
    const STUCK: usize = 10;
    static RAN: AtomicUsize = AtomicUsize::new(0);
    static RESUMED: AtomicUsize = AtomicUsize::new(0);
    let (go_on, wait) = chan::bounded::<()>(STUCK);
    apart(move || {
        for n in 0..MANY {
            let node = node(n);
            if n % (MANY / STUCK) == 0 {
                let block = |wait: chan::Receiver<()>| {
                    let _ = wait.recv();
                    RESUMED.fetch_add(1, SeqCst);
                };
                gc::add_cleanup(node, block, wait.clone());
            }
            gc::add_cleanup(node, |n| assert!(n % 7 != 3, "it panics (on purpose)"), n);
            gc::add_cleanup(node, |()| count(&RAN), ());
        }
    });
    collect_until("those that neither block nor panic to run", || {
        RAN.load(SeqCst) >= MOST
    });
    assert_eq!(RESUMED.load(SeqCst), 0, "they are still blocked");
    drop(go_on);
    collect_until("the others to go on", || RESUMED.load(SeqCst) >= STUCK - 1);
}

#[test]
fn what_leads_to_the_object_is_refused_where_that_can_be_seen() {
    let object = Gc::array(100, |n| n);
    let inner: *const usize = &object[50];
    let refused = |add: &dyn Fn()| {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(add)).unwrap_err();
        let message = panic.downcast::<&str>().unwrap();
        assert!(message.contains("it would never run"), "{message}");
    };
    refused(&|| _ = gc::add_cleanup(object, |_| (), object));
    refused(&|| _ = gc::add_cleanup(object, |_| (), (1u8, Some(object))));
    refused(&|| _ = gc::add_cleanup(object, |_| (), inner.addr()));
    refused(&|| _ = gc::add_cleanup(object, move |()| assert!(!object.is_empty()), ()));
    // Other objects, the address in disguise, and weak pointers are no matter.
    let cleanup = gc::add_cleanup(object, |_| (), (node(1), !inner.addr(), object.downgrade()));
    assert!(cleanup.stop());
}

/// What a finalizer that brings its object back is good for: a pool that gets back what was taken from it when the taker forgets it.
#[test]
fn a_cleanup_and_an_object_within_do_what_finalizers_are_for() {
    static POOL: Mutex<Vec<Gc<Node>>> = Mutex::new(Vec::new());
    #[derive(Trace)]
    struct Lease {
        node: Gc<Node>,
    }
    POOL.lock().unwrap().extend((0..MANY).map(node));
    let take = || {
        let node = POOL.lock().unwrap().pop().unwrap();
        let lease = Gc::new(Lease { node });
        gc::add_cleanup(lease, |node| POOL.lock().unwrap().push(node), node);
        lease
    };
    apart(move || {
        for _ in 0..MANY {
            assert!(take().node.number < MANY);
        }
    });
    assert!(POOL.lock().unwrap().len() <= MANY / 10);
    collect_until("what was taken to come back", || {
        POOL.lock().unwrap().len() >= MOST
    });
    let mut numbers: Vec<_> = POOL
        .lock()
        .unwrap()
        .iter()
        .map(|node| node.number)
        .collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]) && numbers[numbers.len() - 1] < MANY);
}

#[test]
fn the_cleanups_of_a_thread_that_has_ended_run() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    let thread = std::thread::spawn(|| {
        for n in 0..MANY {
            gc::add_cleanup(node(n), |()| count(&RAN), ());
        }
    });
    thread.join().unwrap();
    collect_until("its cleanups to run", || RAN.load(SeqCst) >= MOST);
}

#[test]
fn the_end_of_the_program_runs_no_cleanup() {
    const NAME: &str = "the_end_of_the_program_runs_no_cleanup";
    if is_child() {
        apart(|| {
            for n in 0..MANY {
                gc::add_cleanup(node(n), |()| println!("a cleanup ran"), ());
            }
        });
        println!("the end");
        return;
    }
    let out = child(NAME, &[("GOGC", "off")]);
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("the end"), "{text}");
    assert!(!text.contains("a cleanup ran"), "{text}");
}

/// While objects are being marked, goroutines take the only strong pointers to objects away and get them back through weak ones.
#[test]
fn upgraded_while_objects_are_marked() {
    const GOROUTINES: usize = 8;
    let until = Arc::new(AtomicBool::new(false));
    let goroutines: Vec<_> = (0..GOROUTINES)
        .map(|g| {
            let until = until.clone();
            go(move || {
                let (mut found, mut number) = (0, g);
                let cell = Gc::new(GcPtr::new(Some(node(number))));
                while !until.load(Relaxed) {
                    let weak = cell.load().unwrap().downgrade();
                    cell.store(None);
                    for _ in 0..number % 50 {
                        std::hint::black_box(node(usize::MAX));
                    }
                    yield_now();
                    if let Some(node) = weak.upgrade() {
                        assert_eq!(node.number, number);
                        assert_eq!(weak, node.downgrade());
                        cell.store(Some(node));
                        found += 1;
                    } else {
                        number += GOROUTINES;
                        cell.store(Some(node(number)));
                    }
                }
                found
            })
        })
        .collect();
    for _ in 0..30 {
        gc::collect();
    }
    until.store(true, Relaxed);
    let found: usize = goroutines.into_iter().map(|g| g.join().unwrap()).sum();
    assert!(found > GOROUTINES);
}
