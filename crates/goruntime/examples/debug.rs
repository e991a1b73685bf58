//! A program to look into: `cargo run --release --example debug`, then http://127.0.0.1:6060/debug/ in a browser, or
//! `go tool pprof http://127.0.0.1:6060/debug/pprof/profile?seconds=5`.
//!
//! It keeps a tree of collected objects that grows and is thrown away, a cache behind a lock, and workers that are fed through a channel. With a number as its
//! argument it listens on that port.

use goruntime::gc::{Gc, GcCell, Trace};
use goruntime::{chan, go, sync::Mutex, time};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Trace)]
struct Tree {
    left: Option<Gc<Tree>>,
    right: Option<Gc<Tree>>,
    weight: u64,
}

fn grow(depth: u32) -> Gc<Tree> {
    let below = |depth| (depth > 0).then(|| grow(depth - 1));
    let (left, right) = (below(depth), below(depth));
    let weight = 1 + left.map_or(0, |t| t.weight) + right.map_or(0, |t| t.weight);
    Gc::new(Tree {
        left,
        right,
        weight,
    })
}

/// What a request has to be answered with.
fn render(number: u64) -> String {
    let mut text = String::new();
    for n in 0..200 {
        text += &format!("{}-", number.wrapping_mul(n) % 1009);
    }
    text
}

fn answer(cache: &Mutex<HashMap<u64, String>>, number: u64) -> usize {
    let mut cache = cache.lock();
    cache
        .entry(number % 512)
        .or_insert_with(|| render(number))
        .len()
}

#[goruntime::main]
fn main() -> std::io::Result<()> {
    let port = std::env::args()
        .nth(1)
        .map_or(6060, |port| port.parse().expect("a port"));
    goruntime::profile::set_mutex_fraction(5);
    goruntime::profile::set_block_rate(Duration::from_micros(100));
    let server = goruntime::debug::serve(("127.0.0.1", port))?;
    println!("http://{}/debug/", server.local_addr());

    let cache = Arc::new(Mutex::new(HashMap::new()));
    let (requests, to_answer) = chan::bounded::<u64>(64);
    for _ in 0..200 {
        let (to_answer, cache) = (to_answer.clone(), cache.clone());
        go(move || {
            let answered = to_answer.iter().map(|n| answer(&cache, n));
            answered.sum::<usize>()
        });
    }
    go(move || {
        for number in 0.. {
            if requests.send(number).is_err() {
                return;
            }
            if number % 64 == 0 {
                time::sleep(Duration::from_millis(2));
            }
        }
    });
    let trees = GcCell::new(None);
    for round in 0u32.. {
        trees.set(Some(grow(10 + round % 7)));
        if round % 40 == 0 {
            cache.lock().clear();
        }
        time::sleep(Duration::from_millis(30));
    }
    Ok(())
}
