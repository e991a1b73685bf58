//! The ring of events under the schedule explorer: a writer that overwrites what a reader copies.

use super::*;
use goexplore::{Exploration, Plant, Site, thread};
use std::sync::Arc;

/// A ring of two slots, in which every event is soon overwritten, and a reader.
fn a_writer_and_a_reader() {
    let ring = Arc::new(Ring::new(slots(2)));
    let writing = ring.clone();
    ring.push([1; WORDS]);
    let writer = thread::spawn(move || {
        for n in 2..=4 {
            writing.push([n; WORDS]);
        }
    });
    let mut seen = 0;
    let read = ring.read(0, |words| {
        assert!(words.iter().all(|&word| word == words[0]), "{words:?}");
        seen += 1;
    });
    assert_eq!(seen + read.lost, read.next);
    writer.join().unwrap();
}

fn site(snippet: &str) -> Site {
    Site::find(env!("CARGO_MANIFEST_DIR"), "src/events/ring.rs", snippet)
}

#[test]
fn explore_events() {
    let exploration = Exploration::exhaustive().preemptions(2);
    exploration.check("goruntime: events", a_writer_and_a_reader);
    let plants = vec![
        Plant::weaken(site("fence(Release);\n        for")),
        Plant::weaken(site("fence(Acquire);\n            if")),
        Plant::weaken(site("self.head.store(head + 1, Release);")),
    ];
    exploration.catches("goruntime: events", plants, a_writer_and_a_reader);
}
