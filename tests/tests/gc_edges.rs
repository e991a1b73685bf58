//! Outcomes at the edges of collected objects: parts that take no bytes where an object ends, destructors that panic, and panics whose payload panics when it is dropped.

#![cfg(not(feature = "system-allocator"))]

use goruntime::gc::{self, Gc, Trace};
use goruntime::time::{after_func, sleep};
use goruntime::{Panic, go};
use goruntime_tests::dying::{self, MANY, MOST, PATIENCE};
use goruntime_tests::{apart, eventually};
use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::Duration;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// Collects until the condition holds.
fn collect_until(what: &str, holds: impl FnMut() -> bool) {
    dying::collect_until(what, |n| Gc::new([n, n]), holds);
}

/// Makes objects by `make` and has a cleanup tell of their death. Returns their parts, boxed, so that nothing but those leads to them, and where it is told.
fn parts_of<T: 'static, U: ?Sized + Sync + 'static>(
    make: fn(usize) -> Gc<T>,
    part: fn(Gc<T>) -> Gc<U>,
    dead: &'static AtomicUsize,
) -> Vec<Gc<U>>
where
    Gc<T>: Send,
    Gc<U>: Send,
{
    let make_all = move || {
        let make_one = |n| {
            let object = make(n);
            gc::add_cleanup(object, |()| _ = dead.fetch_add(1, SeqCst), ());
            part(object)
        };
        (0..MANY).map(make_one).collect::<Vec<_>>()
    };
    go(make_all).join().unwrap()
}

/// As long as there are the parts the objects live, and no longer.
fn keeps<T: 'static, U: ?Sized + Sync + 'static>(
    what: &str,
    make: fn(usize) -> Gc<T>,
    part: fn(Gc<T>) -> Gc<U>,
    dead: &'static AtomicUsize,
) where
    Gc<T>: Send,
    Gc<U>: Send,
{
    let parts = parts_of(make, part, dead);
    for _ in 0..5 {
        gc::collect();
        sleep(Duration::from_millis(2));
    }
    assert_eq!(dead.load(SeqCst), 0, "{what} did not keep its object");
    go(move || drop(parts)).join().unwrap();
    collect_until(what, || dead.load(SeqCst) >= MOST);
}

#[derive(Trace)]
struct Marked {
    words: [usize; 2],
    /// Where the object ends, for a block has sixteen bytes.
    mark: (),
}

#[test]
fn a_field_of_no_size_at_the_end_keeps_the_object() {
    static DEAD: AtomicUsize = AtomicUsize::new(0);
    let make = |n| {
        Gc::new(Marked {
            words: [n; 2],
            mark: (),
        })
    };
    let object = make(1);
    assert_eq!((object.words, object.mark), ([1; 2], ()));
    keeps(
        "the field",
        make,
        |object| Gc::map(object, |o| &o.mark),
        &DEAD,
    );
}

#[test]
fn an_empty_slice_at_the_end_keeps_the_object() {
    static DEAD: AtomicUsize = AtomicUsize::new(0);
    keeps(
        "the slice",
        |n| Gc::new([n; 2]),
        |object| Gc::map(object, |words| &words[2..]),
        &DEAD,
    );
}

#[test]
fn an_empty_array_is_kept_by_its_elements() {
    static DEAD: AtomicUsize = AtomicUsize::new(0);
    keeps(
        "the empty array",
        // The length and what aligns the elements take sixteen bytes: no more is left of the block.
        |_| Gc::array(0, |n| n as u128),
        Gc::<[u128]>::from,
        &DEAD,
    );
}

#[test]
fn a_value_of_no_size_lives_as_long_as_its_pointer() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    // What has to be dropped has a header, after which this would begin where its block of sixteen bytes ends.
    #[derive(Debug, PartialEq)]
    #[repr(align(16))]
    struct Probe;
    impl Drop for Probe {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    // SAFETY: it has no bytes, and so no pointers.
    unsafe impl Trace for Probe {
        const MAP: gc::PointerMap = gc::PointerMap::EMPTY;
    }
    let probes = go(|| (0..MANY).map(|_| Gc::new(Probe)).collect::<Vec<_>>());
    let probes = probes.join().unwrap();
    (0..5).for_each(|_| gc::collect());
    assert_eq!(DROPPED.load(SeqCst), 0);
    assert!(probes.iter().all(|probe| **probe == Probe));
    assert!(
        Gc::new([0u128; 0]).is_empty(),
        "aligned, or it does not get here"
    );
    go(move || drop(probes)).join().unwrap();
    collect_until("them to be dropped", || DROPPED.load(SeqCst) >= MOST);
}

/// What a pointer to the end of the object would be: one to the next.
#[test]
fn a_part_of_no_size_is_a_part_of_its_own_object() {
    for n in 0..1000usize {
        let object = Gc::new([n; 2]);
        let range = object.as_ptr_range();
        let tail = Gc::map(object, |words| &words[2..]);
        assert!(tail.is_empty() && range.contains(&tail.as_ptr().cast()));
        // So it can be mapped further.
        let none = Gc::map(tail, |tail| &tail[..0]);
        assert!(range.contains(&none.as_ptr().cast()));
        // One that is somewhere within is where the reference says.
        let middle = Gc::map(object, |words| &words[1..1]);
        assert_eq!(middle.as_ptr().cast(), &raw const object[1]);
    }
    let elsewhere = std::panic::catch_unwind(|| Gc::map(Gc::new([1, 2]), |_| &()));
    assert!(elsewhere.is_err(), "it lies in no object");
}

/// What panics when it is dropped, some generations deep.
struct Bomb(usize);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Bomb(self.0 - 1));
        }
    }
}

/// How deep: the first is what a panic is raised with, the next what is raised when that is dropped.
const GENERATIONS: usize = 3;

/// Without the reports of the panics: there are thousands.
fn quietly(name: &str, test: impl FnOnce()) {
    if apart(name, &[]) {
        std::panic::set_hook(Box::new(|_| ()));
        test();
    }
}

#[test]
fn destructors_that_panic_hold_up_nobody() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Fragile(usize);
    impl Drop for Fragile {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
            if self.0.is_multiple_of(3) {
                panic_any(Bomb(GENERATIONS));
            }
        }
    }
    #[derive(Trace)]
    struct Pair {
        first: Box<Fragile>,
        second: Box<Fragile>,
    }
    quietly("destructors_that_panic_hold_up_nobody", || {
        let pair = |n| Pair {
            first: Box::new(Fragile(3 * n)),
            second: Box::new(Fragile(1)),
        };
        go(move || {
            for n in 0..MANY {
                let pair = Gc::new(pair(n));
                assert!(pair.first.0 + pair.second.0 > 0);
            }
        })
        .join()
        .unwrap();
        // A struct's other fields are dropped, as anywhere.
        collect_until("both fields of each", || DROPPED.load(SeqCst) >= 2 * MOST);
        DROPPED.store(0, SeqCst);
        go(move || (0..MANY).for_each(|_| _ = Gc::array(10, pair)))
            .join()
            .unwrap();
        // And an array's other elements, however many of them panic.
        collect_until("all elements", || DROPPED.load(SeqCst) >= 20 * MOST);
        assert!(DROPPED.load(SeqCst) <= 20 * MANY, "one was dropped twice");
    });
}

#[test]
fn cleanups_whose_panics_cannot_be_dropped_hold_up_nobody() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    struct Argument;
    impl Drop for Argument {
        fn drop(&mut self) {
            RAN.fetch_add(1, SeqCst);
            panic_any(Bomb(GENERATIONS));
        }
    }
    quietly(
        "cleanups_whose_panics_cannot_be_dropped_hold_up_nobody",
        || {
            go(|| {
                for n in 0..MANY {
                    let object = Gc::new([n; 2]);
                    gc::add_cleanup(object, |()| panic_any(Bomb(GENERATIONS)), ());
                    gc::add_cleanup(object, drop::<Argument>, Argument);
                    gc::add_cleanup(object, |()| _ = RAN.fetch_add(1, SeqCst), ());
                }
            })
            .join()
            .unwrap();
            collect_until("the cleanups", || RAN.load(SeqCst) >= 2 * MOST);
        },
    );
}

#[test]
fn goroutines_and_timers_whose_panics_cannot_be_dropped_hold_up_nobody() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    quietly(
        "goroutines_and_timers_whose_panics_cannot_be_dropped_hold_up_nobody",
        || {
            for _ in 0..100 {
                // Nobody joins it: what it panicked with, or returned, is dropped by the runtime.
                go(|| panic_any(Bomb(GENERATIONS)));
                go(|| Bomb(GENERATIONS));
                after_func(Duration::from_micros(1), || panic_any(Bomb(GENERATIONS)));
                after_func(Duration::from_micros(9), || _ = RAN.fetch_add(1, SeqCst));
            }
            eventually("the timers", PATIENCE, || RAN.load(SeqCst) == 100);
            assert_eq!(go(|| 7).join().unwrap(), 7);
            Panic::contain(|| panic_any(Bomb(GENERATIONS)));
        },
    );
}
