//! Goroutines whose frames lie in the C library's reserve for thread-locals of later libraries (`GODEBUG=latestatictls=0`): one page each, and nothing lost.
//! `thread_locals.rs` and `fatal.rs` run under this setting as well.

#![cfg(not(any(feature = "thread-engine", feature = "system-allocator")))]

use goruntime::gc::{self, Gc};
use goruntime::{chan, go};
use goruntime_tests::apart;
use std::cell::Cell;
use std::hint::black_box;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

const SETTING: (&str, &str) = ("GODEBUG", "latestatictls=0,clobberfree=1");

thread_local!(static MINE: Cell<usize> = const { Cell::new(7) });

/// Bytes in memory and of page tables.
fn memory() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.unwrap().parse::<usize>().unwrap() * 1024
    };
    (line("VmRSS:"), line("VmPTE:"))
}

#[test]
fn parked_goroutines_are_a_page_each_and_keep_what_they_hold() {
    const COUNT: usize = 20_000;
    if !apart(
        "parked_goroutines_are_a_page_each_and_keep_what_they_hold",
        &[SETTING],
    ) {
        return;
    }
    let (go_on, wait) = chan::bounded::<()>(0);
    go(|| ()).join().unwrap();
    let before = memory();
    let handles: Vec<_> = (0..COUNT)
        .map(|number| {
            let wait = wait.clone();
            go(move || {
                assert_eq!(MINE.replace(number), 7);
                let object = Gc::new(number);
                let frame = black_box([number; 4]);
                let _ = wait.recv();
                assert_eq!((*object, MINE.get()), (number, number));
                assert_eq!(black_box(frame), [number; 4]);
            })
        })
        .collect();
    for _ in 0..100 {
        goruntime::yield_now();
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    let after = memory();
    let each = (after.0 - before.0) / COUNT;
    // A page, and half of another for all that it has elsewhere.
    assert!(each < 6000, "{each} bytes");
    for _ in 0..2 {
        gc::collect();
    }
    drop(go_on);
    for handle in handles {
        handle.join().unwrap();
    }
}
