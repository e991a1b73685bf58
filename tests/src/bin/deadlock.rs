//! A program whose only goroutine waits for ever.

use goruntime::chan;

#[goruntime::main]
fn main() {
    let (tx, rx) = chan::unbuffered::<()>();
    rx.recv().ok();
    drop(tx);
}
