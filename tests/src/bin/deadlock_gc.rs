//! A program with a collector whose only goroutine waits for ever; or, with the argument `dropped`, for the drop glue of a dead object,
//! which the collector's thread is about to have run.

use goruntime::gc::{self, Gc, Root};
use goruntime::{chan, go};
use std::collections::HashMap;

#[goruntime::main]
fn main() {
    let (tx, rx) = chan::unbuffered::<()>();
    // On a goroutine of its own, so that no stale word on this one's stack keeps the object alive.
    let held = go(move || {
        let owner = Gc::new(HashMap::from([(0, tx)]));
        let stays = std::env::args().nth(1).is_none();
        stays.then(|| Root::new(owner))
    });
    let root = held.join();
    gc::collect();
    assert!(rx.recv().is_err(), "nobody sends");
    drop(root);
}
