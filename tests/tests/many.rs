//! A hundred thousand goroutines alive at once: more than `vm.max_map_count` allows with a mapping for each guard.

use goruntime::{chan, go, sync::WaitGroup};
use std::sync::Arc;

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

#[test]
fn a_hundred_thousand_at_once() {
    let n = if cfg!(feature = "thread-engine") {
        1_000
    } else {
        100_000
    };
    let (tx, rx) = chan::unbuffered::<()>();
    let started = Arc::new(WaitGroup::new());
    let wg = Arc::new(WaitGroup::new());
    for _ in 0..n {
        let (rx, started, wg) = (rx.clone(), started.clone(), wg.clone());
        started.add(1);
        wg.add(1);
        go(move || {
            started.done();
            assert!(rx.recv().is_err());
            wg.done();
        });
    }
    started.wait();
    assert!(goruntime::metrics::snapshot().goroutines >= n);
    drop(tx);
    wg.wait();
}
