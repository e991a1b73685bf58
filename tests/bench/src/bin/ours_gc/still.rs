//! `still`: how long the world stands still in a large program: a gigabyte that lives, many goroutines of which some are woken in each millisecond, and a Rust heap of
//! 200 MB of which some is written.

use super::heap::Ours;
use bench::Arguments;
use bench::workloads::gc::heap::Heap;
use bench::workloads::random::Random;
use goruntime::sync::WaitGroup;
use goruntime::{chan, go, metrics};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often something is done.
const TICK: Duration = Duration::from_millis(1);
/// Bytes of the buffers that most of the live heap consists of.
const BUFFER: usize = 1024;
/// Nodes that are made in each tick, buffers that are replaced, and goroutines that are woken.
const NODES: usize = 4000;
const BUFFERS: usize = 1000;
const WOKEN: usize = 50;
/// Pieces of the Rust heap, and how many are written in each tick.
const PIECE: usize = 1000;
const WRITTEN: usize = 50;

pub fn run(arguments: &Arguments) -> Result<(), String> {
    let nodes = arguments.scaled("nodes", 8_000_000);
    let buffers = arguments.scaled("buffers", 750_000);
    let goroutines = arguments.scaled("goroutines", 10_000);
    let pieces = arguments.scaled("pieces", 200_000);
    let ticks = arguments.scaled("milliseconds", 10_000) as u32;
    let mut heap = Ours;
    let mut random = Random::new(7);

    let table = heap.table(nodes);
    for place in 0..nodes {
        let other = heap.entry(table, random.below(nodes));
        let node = heap.node(other, None, place as u64);
        heap.set_entry(table, place, Some(node));
    }
    let ring = heap.bytes_table(buffers);
    let contents = [1; BUFFER];
    for place in 0..buffers {
        let buffer = heap.bytes(&contents);
        heap.set_bytes_entry(ring, place, buffer);
    }
    let mut rust: Vec<Box<[u8; PIECE]>> = (0..pieces).map(|_| Box::new([0; PIECE])).collect();

    let ended = Arc::new(WaitGroup::new());
    ended.add(goroutines);
    let wake: Vec<chan::Sender<u64>> = (0..goroutines)
        .map(|number| {
            let (wake, woken) = chan::bounded(1);
            let ended = ended.clone();
            go(move || {
                let mut node = Ours.node(None, None, number as u64);
                while let Ok(word) = woken.recv() {
                    node = Ours.node(Some(node), None, word);
                    Ours.set_left(node, None);
                }
                std::hint::black_box(Ours.word(node));
                ended.done();
            });
            wake
        })
        .collect();
    heap.collect();

    let (before, cycles) = (pauses(), metrics::snapshot().gc_cycles);
    let start = Instant::now();
    for tick in 1..=ticks {
        for _ in 0..NODES {
            let place = random.below(nodes);
            let node = heap.node(None, None, place as u64);
            heap.set_entry(table, place, Some(node));
        }
        for _ in 0..BUFFERS {
            let buffer = heap.bytes(&contents);
            heap.set_bytes_entry(ring, random.below(buffers), buffer);
        }
        for _ in 0..WOKEN {
            // Whoever has not got the last one yet gets none.
            let _ = wake[random.below(goroutines)].try_send(u64::from(tick));
        }
        for _ in 0..WRITTEN {
            rust[random.below(pieces)][0] += 1;
        }
        goruntime::time::sleep((start + TICK * tick).saturating_duration_since(Instant::now()));
    }
    let after = pauses();
    let cycles = metrics::snapshot().gc_cycles - cycles;
    drop(wake);
    ended.wait();
    if cycles == 0 {
        return Err("nothing was collected; give it more milliseconds".into());
    }
    let counts = before.counts.iter().zip(&after.counts);
    let during = metrics::Histogram {
        counts: counts.map(|(before, after)| after - before).collect(),
        buckets: after.buckets,
    };
    bench::figure("p99", during.quantile(0.99) * 1e6, "us");
    bench::figure("longest", during.quantile(1.0) * 1e6, "us");
    bench::figure("cycles", cycles as f64, "cycles");
    for place in 0..nodes {
        let found = heap.entry(table, place).map(|node| heap.word(node));
        if found != Some(place as u64) {
            return Err(format!("place {place} holds node {found:?}"));
        }
    }
    Ok(())
}

/// All stops of the world for the collector so far, by their length in seconds.
fn pauses() -> metrics::Histogram {
    match metrics::read(&["/sched/pauses/total/gc:seconds"]).pop() {
        Some(Some(metrics::Value::Histogram(histogram))) => histogram,
        other => unreachable!("the runtime has them as a histogram: {other:?}"),
    }
}
