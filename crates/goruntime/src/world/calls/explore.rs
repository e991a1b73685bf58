//! Calls under the schedule explorer.

use super::*;
use crate::atomic::AtomicBool;
use goexplore::{Exploration, Plant, Site, thread};
use std::sync::Arc;

/// Two who look for something to do and sleep if there is nothing, and one who has something. Invariant: nobody sleeps until the time has run out.
fn two_sleepers() {
    let shared = Arc::new((Calls::new(), AtomicBool::new(false)));
    let sleepers = [(); 2].map(|()| {
        let shared = shared.clone();
        thread::spawn(move || {
            let (calls, something) = &*shared;
            let seen = calls.seen();
            if !something.load(SeqCst) {
                assert!(calls.sleep(seen, Duration::from_secs(1)), "a call was lost");
            }
        })
    });
    let (calls, something) = &*shared;
    something.store(true, SeqCst);
    calls.call();
    for sleeper in sleepers {
        sleeper.join().unwrap();
    }
}

fn site(snippet: &str) -> Site {
    Site::find(env!("CARGO_MANIFEST_DIR"), "src/world/calls.rs", snippet)
}

#[test]
fn explore_two_sleepers() {
    let exploration = Exploration::exhaustive().preemptions(3);
    exploration.clone().check("goruntime: calls", two_sleepers);
    let plants = vec![
        Plant::weaken(site("self.asleep.load(SeqCst) != 0")),
        Plant::remove(site("self.word.fetch_add(1, SeqCst);")),
        Plant::remove(site("self.asleep.fetch_add(1, SeqCst);")),
        Plant::remove(site("futex::wake(&self.word, usize::MAX);")),
    ];
    exploration.catches("goruntime: calls", plants, two_sleepers);
}
