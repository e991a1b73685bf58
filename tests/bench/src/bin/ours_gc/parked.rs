//! `goroutine_stacks`: whole collections while many goroutines are parked, each with a node that only its stack holds.

use super::heap::Ours;
use bench::Arguments;
use bench::workloads::gc::heap::Heap;
use goruntime::sync::WaitGroup;
use goruntime::{JoinHandle, chan, go};
use std::sync::Arc;
use std::time::Instant;

pub fn run(arguments: &Arguments) -> Result<(), String> {
    let goroutines = arguments.scaled("goroutines", 10_000);
    let collections = arguments.number("collections", 5);
    let parked = Arc::new(WaitGroup::new());
    parked.add(goroutines);
    let (release, released) = chan::unbuffered::<()>();
    let started: Vec<JoinHandle<bool>> = (0..goroutines)
        .map(|number| {
            let (parked, released) = (parked.clone(), released.clone());
            go(move || {
                let node = Ours.node(None, None, number as u64);
                parked.done();
                // Nothing is ever sent: this ends when the channel is closed.
                released.recv().is_err() && Ours.word(node) == number as u64
            })
        })
        .collect();
    parked.wait();
    Ours.collect();
    let start = Instant::now();
    for _ in 0..collections {
        Ours.collect();
    }
    let time = start.elapsed() / collections;
    drop(release);
    let intact = |handle: JoinHandle<bool>| handle.join().is_ok_and(|intact| intact);
    if !started.into_iter().all(intact) {
        return Err("a node that a parked goroutine held was overwritten".into());
    }
    bench::figure("time", time.as_secs_f64() * 1e3, "ms");
    Ok(())
}
