//! A program whose only goroutine waits for ever; with the argument `locked`, two that are locked to their threads.

use goruntime::{Builder, chan, lock_os_thread};

#[goruntime::main]
fn main() {
    let (tx, rx) = chan::unbuffered::<()>();
    if std::env::args().nth(1).as_deref() == Some("locked") {
        let rx = rx.clone();
        let other = Builder::new().locked().spawn(move || rx.recv());
        let _locked = lock_os_thread();
        let _ = other.map(|other| other.join());
    }
    rx.recv().ok();
    drop(tx);
}
