//! `pause`: how late a thread is that only looks at the clock, while another allocates.
//!
//! The mutator makes nodes at a fixed rate, a burst each millisecond, and puts each into a random place of a live table. The ticker has
//! something to do every [`TICK`]; until then it lets others run, so that it is late when it is stopped or not let run, and not
//! because a timer is coarse. All that fell due while it was stopped is late, not only the first.

use super::heap::Shared;
use super::{micros, web};
use crate::Arguments;
use crate::workloads::random::Random;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant};

/// How often the ticker has something to do.
const TICK: Duration = Duration::from_micros(100);
/// How often the mutator allocates.
const BURST: Duration = Duration::from_millis(1);

pub(super) fn run<H: Shared>(heap: &mut H, arguments: &Arguments) -> Result<(), String> {
    let nodes = arguments.scaled("nodes", 2_000_000);
    let rate = arguments.number("rate", 10_000);
    let bursts = arguments.scaled("milliseconds", 1_000) as u32;
    let table = web::build(heap, nodes);
    heap.collect();
    let over = Arc::new(AtomicBool::new(false));
    let until = over.clone();
    let ticker = H::start(move |_: &mut H| {
        let mut late = Vec::with_capacity(1 << 20);
        tick::<H>(&until, |time| late.push(time));
        late
    });
    allocate(heap, table, nodes, bursts, rate, &over);
    let mut late = H::join(ticker);
    late.sort_unstable();
    let (Some(&p99), Some(&max)) = (late.get(late.len() * 99 / 100), late.last()) else {
        return Err("the ticker never ran; give it more milliseconds".into());
    };
    crate::figure("p99", micros(p99), "us");
    crate::figure("max", micros(max), "us");
    if let Some(longest) = H::longest_pause() {
        crate::figure("longest_pause", micros(longest), "us");
    }
    verify(heap, table, nodes)
}

/// Ticks until `over`; tells `record` how late each tick was, and each that was missed.
fn tick<H: Shared>(over: &AtomicBool, mut record: impl FnMut(Duration)) {
    let mut due = Instant::now() + TICK;
    while !over.load(Acquire) {
        let now = Instant::now();
        if now < due {
            H::yield_now();
        }
        while due <= now {
            record(now - due);
            due += TICK;
        }
    }
}

/// Allocates for `bursts` milliseconds, `rate` nodes in each. Says `over` at the end.
fn allocate<H: Shared>(
    heap: &mut H,
    table: H::Table,
    len: usize,
    bursts: u32,
    rate: usize,
    over: &AtomicBool,
) {
    let mut random = Random::new(6);
    let start = Instant::now();
    for burst in 1..=bursts {
        for _ in 0..rate {
            let place = random.below(len);
            let node = heap.node(None, None, place as u64);
            heap.set_entry(table, place, Some(node));
        }
        let due = start + BURST * burst;
        H::sleep(due.saturating_duration_since(Instant::now()));
    }
    over.store(true, Release);
}

/// Checks that every place of the table holds a node with its number.
fn verify<H: Shared>(heap: &H, table: H::Table, len: usize) -> Result<(), String> {
    for place in 0..len {
        let found = heap.entry(table, place).map(|node| heap.word(node));
        if found != Some(place as u64) {
            return Err(format!("place {place} holds node {found:?}"));
        }
    }
    Ok(())
}
