//! A program with a collector whose only goroutine waits for ever; or, with the argument `dropped`, for the drop glue of a dead object,
//! which the collector's thread is about to have run. Ends with [`KEPT`] if the collection has not found it dead: a word that is left in a register of a thread may keep
//! an object for once, and then there is nothing to wait for.

use goruntime::gc::{self, Gc, Root};
use goruntime::{chan, go};
use std::collections::HashMap;

const KEPT: i32 = 4;

#[goruntime::main]
fn main() {
    let (tx, rx) = chan::unbuffered::<()>();
    // On a goroutine of its own, so that no stale word on this one's stack keeps the object alive.
    let held = go(move || {
        let owner = Gc::new(HashMap::from([(0, tx)]));
        let stays = std::env::args().nth(1).is_none();
        (owner.downgrade(), stays.then(|| Root::new(owner)))
    });
    let (weak, root) = held.join().unwrap();
    gc::collect();
    if root.is_none() && weak.upgrade().is_some() {
        std::process::exit(KEPT);
    }
    assert!(rx.recv().is_err(), "nobody sends");
    drop(root);
}
