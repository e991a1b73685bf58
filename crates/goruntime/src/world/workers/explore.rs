//! The team under the schedule explorer: jobs that are closed while threads are still on their way to them.

use super::*;
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant, Site, thread};
use std::sync::Arc;

/// Two jobs, each with data of its own that nobody touches before it is opened or after it is over, and then the end. What a job refers to is never given
/// back, so that planted bugs do no more than touch the data.
fn two_jobs() {
    let shared = Arc::new(Shared::new());
    let threads = [(); 2].map(|()| {
        let theirs = shared.clone();
        thread::spawn(move || theirs.serve())
    });
    for _ in 0..2 {
        let (count, data) = &*Box::leak(Box::new((AtomicU32::new(0), Guarded::new(0))));
        // SAFETY: not yet known to anybody.
        unsafe { data.with_mut(|n| *n = 1) };
        let body = || {
            // SAFETY: whether the job is open is what is explored.
            assert_eq!(unsafe { data.with(|n| *n) }, 1);
            count.fetch_add(1, Relaxed);
        };
        shared.run(&*Box::leak(Box::new(body)));
        // SAFETY: whether everybody has left is what is explored.
        unsafe { data.with_mut(|n| *n = 2) };
        assert!((1..=3).contains(&count.load(Relaxed)));
    }
    shared.end();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn site(snippet: &str) -> Site {
    Site::find(env!("CARGO_MANIFEST_DIR"), "src/world/workers.rs", snippet)
}

#[test]
fn explore_two_jobs() {
    let exploration = Exploration::exhaustive().preemptions(2);
    exploration
        .clone()
        .executions(40_000)
        .check("goruntime: two jobs of a team", two_jobs);
    let plants = vec![
        Plant::named("a thread enters a job that is closed"),
        Plant::weaken(site("self.inside.store(0, Release);")),
        Plant::remove(site("futex::wake(&self.inside, 1);")),
        Plant::remove(site("futex::wake(&self.round, usize::MAX);\n    }")),
    ];
    exploration.catches("goruntime: two jobs of a team", plants, two_jobs);
}
