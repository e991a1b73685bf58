//! The team's gate under the schedule explorer: jobs that are closed while threads are still on their way to them.

use super::*;
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant, Site, thread};
use std::sync::Arc;

/// Two openings, and then the end. What is looked at inside is nobody's but the opener's before and after.
fn two_jobs() {
    let shared = Arc::new((Gate::new(), Guarded::new(0), AtomicU32::new(0)));
    let threads = [(); 2].map(|()| {
        let shared = shared.clone();
        thread::spawn(move || {
            let (gate, data, inside) = &*shared;
            let mut done = 0;
            while gate.enter(&mut done) {
                inside.fetch_add(1, Relaxed);
                // SAFETY: whether nobody changes it is what is explored.
                let seen = unsafe { data.with(|n| *n) };
                assert_eq!(seen % 2, 1, "inside what is closed");
                inside.fetch_sub(1, Relaxed);
                gate.leave();
            }
        })
    });
    let (gate, data, inside) = &*shared;
    for _ in 0..2 {
        // SAFETY: whether nobody looks is what is explored.
        unsafe { data.with_mut(|n| *n += 1) };
        gate.open();
        gate.close();
        assert_eq!(inside.load(Relaxed), 0, "somebody is still inside");
        // SAFETY: as above.
        unsafe { data.with_mut(|n| *n += 1) };
    }
    gate.end();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn site(snippet: &str) -> Site {
    Site::find(env!("CARGO_MANIFEST_DIR"), "src/world/workers.rs", snippet)
}

#[test]
fn explore_two_jobs() {
    let exploration = Exploration::exhaustive().preemptions(2).executions(60_000);
    exploration
        .clone()
        .check("goruntime: two jobs of a team", two_jobs);
    let plants = vec![
        Plant::named("a thread enters what is closed"),
        Plant::weaken(site("self.inside.store(0, Release);")),
        Plant::weaken(site("self.inside.fetch_sub(1, AcqRel)")),
        Plant::remove(site("futex::wake(&self.inside, 1);")),
        Plant::remove(site(
            "futex::wake(&self.round, usize::MAX);\n    }\n\n    /// Waits until",
        )),
    ];
    exploration.catches("goruntime: two jobs of a team", plants, two_jobs);
}
