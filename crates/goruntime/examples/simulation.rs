//! A bug that hardly ever shows, found by seed and shown again: `cargo run --example simulation`.
//!
//! A cache asks a slow service once for each key, or is meant to: two that miss at the same time both ask. With `GOSEED` set to the seed that it
//! prints, it runs that schedule only.

use goruntime::sync::Mutex;
use goruntime::{chan, go, select, simulation, time};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// Answers by key, and how often the service was asked.
#[derive(Default)]
struct Cache {
    known: Mutex<BTreeMap<u32, u32>>,
    asked: AtomicU32,
}

impl Cache {
    fn get(&self, key: u32) -> u32 {
        if let Some(answer) = self.known.lock().get(&key) {
            return *answer;
        }
        // The lock is not held here: somebody else may miss, too.
        let answer = self.ask(key);
        self.known.lock().insert(key, answer);
        answer
    }

    /// Takes two seconds, which a simulation does not wait for.
    fn ask(&self, key: u32) -> u32 {
        self.asked.fetch_add(1, Ordering::Relaxed);
        time::sleep(Duration::from_secs(2));
        key * key
    }
}

/// Clients that come at different times, and a patience of a minute.
fn program() {
    let cache = Arc::new(Cache::default());
    let (done, all_done) = chan::bounded(3);
    for client in 0..3 {
        let (cache, done) = (cache.clone(), done.clone());
        go(move || {
            time::sleep(Duration::from_secs(client));
            assert_eq!(cache.get(7), 49);
            done.send(client).unwrap();
        });
    }
    for _ in 0..3 {
        select! {
            recv(all_done) -> client => drop(client.unwrap()),
            default(Duration::from_secs(60)) => panic!("a client waits for ever"),
        }
    }
    assert_eq!(
        cache.asked.load(Ordering::Relaxed),
        1,
        "asked more than once"
    );
}

fn main() {
    match simulation::search(simulation::seeds(1000), program) {
        Ok(runs) => println!("{runs} runs, and nothing found"),
        Err(failed) => {
            println!("{failed}\n");
            let again = simulation::search([failed.seed], program).unwrap_err();
            assert_eq!(again.to_string(), failed.to_string());
            println!("and the same again.");
        }
    }
}
